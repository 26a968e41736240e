"""The HTML report: it stands alone, and no name in it is ever a tag."""

import base64
import html.parser
import re

import numpy as np
import pytest

from emorec import predict
from emorec.evaluation import clip_report
from emorec.labels import LabelSet
from emorec.training import bundle
from emorec.video.clip import Clip, encode_jpeg

LABELS = LabelSet("auto", ("calm", "<b>glad</b>", "upset"))
HOSTILE = "<script>alert(1)</script>\" onload='x' & {{ 7 * 7 }}.mp4"


class Page(html.parser.HTMLParser):
    """Collects what a browser would make of a page."""

    VOID = ("meta", "img", "br", "rect")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, text):
        if text.strip():
            self.text.append(" ".join(text.split()))

    def of(self, tag, key):
        return [v for t, k, v in self.attributes if (t, k) == (tag, key)]


@pytest.fixture(scope="module")
def jpeg():
    return encode_jpeg(np.full((32, 32, 3), 90, np.uint8), 95)


@pytest.fixture
def description(model_dir):
    return bundle.load(model_dir).describe()


def result(jpeg, video="a.mp4", steps=3, track=0, attention=True, **changes):
    clip = Clip(
        track=track,
        window=0,
        start=2.0,
        end=2.0 + steps / 8,
        times=2 + np.arange(steps, dtype=np.float32) / 8,
        boxes=np.zeros((steps, 4), np.float32),
        face=(jpeg,) * steps,
        context=(jpeg,) * steps,
        frames_total=steps + 2,
        frame_size=(64, 48),
    )
    weights = np.full((steps, steps), 1 / steps, np.float32)
    answer = predict.Answer(
        np.array([0.125, 0.25, 0.625], np.float32),
        weights if attention else None,
    )
    values = {"clip": clip, "answer": answer, "labels": LABELS, **changes}
    return predict.Result(video, **values)


def no_face():
    clip = Clip(
        track=-1,
        window=0,
        start=0.0,
        end=1.0,
        times=np.zeros(0, np.float32),
        boxes=np.zeros((0, 4), np.float32),
        face=(),
        context=(),
        frames_total=8,
        frame_size=(64, 48),
    )
    return predict.Result("empty.mp4", clip, None, LABELS)


def written(tmp_path, description, results) -> tuple[str, Page]:
    report = clip_report.ClipReport(description)
    for each in results:
        report.add(each)
    path = tmp_path / "report.html"
    report.write(path)
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_stands_alone(tmp_path, description, jpeg):
    text, page = written(tmp_path, description, [result(jpeg)])
    assert not {"script", "link", "iframe", "object", "a", "base"} & {
        *page.tags
    }
    assert not re.search(r"https?:|@import|url\(|//[a-z]", text)
    assert not [k for _, k, _ in page.attributes if k.startswith("on")]
    pictures = page.of("img", "src")
    assert len(pictures) == 6
    for source in pictures:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        assert base64.b64decode(data) == jpeg
    assert len(page.of("img", "alt")) == 6
    assert page.of("meta", "charset") == ["utf-8"]
    assert page.of("html", "lang") == ["en"]


def test_what_it_says(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, track=4)])
    text = " ".join(page.text)
    assert "Person 4, 2.0 to 2.4 s: upset" in text
    assert "A face in 3 of 5 sampled frames." in text
    # The most probable first.
    assert re.search("upset 62.5 % <b>glad</b> 25.0 % calm 12.5 %", text)
    widths = [s for s in page.of("b", "style") if s.startswith("width")]
    assert widths == ["width: 62.5%", "width: 25.0%", "width: 12.5%"]
    assert text.count("attention 33.3 %") == 3
    assert "not a fact about what a person feels" in text
    assert "caca_rnn_a" in text
    assert "under MIT from" in text


def test_hostile_names_are_text(tmp_path, description, jpeg):
    _, page = written(
        tmp_path,
        description,
        [
            result(jpeg, HOSTILE),
            predict.Result("b.mp4", None, None, LABELS, f"{HOSTILE}: is bad"),
        ],
    )
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert f"{HOSTILE}: is bad" in page.text
    assert not [k for _, k, _ in page.attributes if k == "onload"]


def test_hostile_words_of_a_foreign_model_are_text(tmp_path, description, jpeg):
    bad = "<script>alert(1)</script>"
    description["system"] = bad
    description["info"]["data"]["sources"] = {bad: 3}
    description["encoders"]["face"].update(id=bad, origin=bad, licence=bad)
    _, page = written(tmp_path, description, [result(jpeg)])
    assert "script" not in page.tags
    assert " ".join(page.text).count(bad) >= 5


def test_a_name_that_is_not_utf8(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, "caf\udce9\n.mp4")])
    assert "'caf\\udce9\\n.mp4'" in page.text


def test_no_face_and_errors_are_told(tmp_path, description, jpeg):
    _, page = written(
        tmp_path,
        description,
        [no_face(), predict.Result("x.mp4", None, None, LABELS, "x.mp4: bad")],
    )
    text = " ".join(page.text)
    assert "empty.mp4 No face found in 8 sampled frames" in text
    assert "x.mp4 x.mp4: bad" in text
    assert "img" not in page.tags


def test_clips_and_pictures_are_bounded(tmp_path, description, jpeg):
    most = clip_report.MAX_CLIPS
    _, page = written(
        tmp_path,
        description,
        [result(jpeg, f"{i}.mp4", steps=20) for i in range(most + 3)],
    )
    assert page.tags.count("h3") == most
    assert len(page.of("img", "src")) == most * clip_report.THUMBNAILS * 2
    assert "3 more clips are in the output file and not shown here." in (
        page.text
    )
    # The first and the last frame are among the pictures.
    assert "2.00 s" in page.text
    assert "4.38 s" in page.text


def test_a_long_clips_map_is_bounded_and_its_rows_sum_to_one(
    tmp_path, description, jpeg
):
    rng = np.random.default_rng(0)
    weights = rng.random((200, 200))
    weights /= weights.sum(axis=1, keepdims=True)
    reduced = clip_report._reduced(weights)
    assert reduced.shape == (clip_report.MAP_CELLS,) * 2
    np.testing.assert_allclose(reduced.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(
        clip_report._reduced(weights[:8, :8]), weights[:8, :8]
    )
    _, page = written(tmp_path, description, [result(jpeg, steps=200)])
    assert page.tags.count("rect") <= clip_report.MAP_CELLS**2 + 1


def test_a_system_without_attention_has_no_map(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, attention=False)])
    assert "svg" not in page.tags
    assert "attention" not in " ".join(page.text)


def test_one_frame_has_no_map(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, steps=1)])
    assert "svg" not in page.tags
    assert page.tags.count("img") == 2


SAMPLE = "This model was trained on the generated sample set"


def test_it_warns_of_the_sample_set_and_of_random_weights(
    tmp_path, description, jpeg
):
    _, page = written(tmp_path, description, [result(jpeg)])
    text = " ".join(page.text)
    assert SAMPLE in text
    assert "The context encoder has random frozen weights" in text
    assert "context encoder squeezenet, random weights" in text
    description["info"]["data"]["sources"] = {"studio": 3, "": 1}
    description["random_weights"] = []
    _, page = written(tmp_path, description, [result(jpeg)])
    text = " ".join(page.text)
    assert SAMPLE not in text
    assert "frozen weights" not in text
    assert "videos; the data set holds 3 of studio, 1 of an unnamed" in text
