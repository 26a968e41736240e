"""The HTML report: it stands alone, and no name in it is ever a tag."""

import base64
import copy
import dataclasses
import html.parser
import re

import cv2
import numpy as np
import pytest

from emorec.answers import Summary
from emorec.errors import UsageError
from emorec.evaluation import clip_report
from emorec.labels import LabelSet
from emorec.results import Answer, Calibration, Result
from emorec.training import bundle
from emorec.video.clip import Clip, encode_jpeg
from emorec.video.faces import FaceDetector

LABELS = LabelSet("auto", ("calm", "<b>glad</b>", "upset"))
HOSTILE = "<script>alert(1)</script>\" onload='x' & {{ 7 * 7 }}.mp4"


class Page(html.parser.HTMLParser):
    """Collects what a browser would make of a page."""

    VOID = ("meta", "img", "br", "rect", "line", "path")

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


@pytest.fixture(scope="module")
def described(model_dir):
    return bundle.load(model_dir).describe()


@pytest.fixture
def description(described):
    """A model's, which a test may change; without a calibration."""
    own = copy.deepcopy(described)
    own["info"].pop("calibration", None)
    return own


def result(
    jpeg, video="a.mp4", steps=3, track=0, attention=True, start=2.0, **changes
):
    clip = Clip(
        track=track,
        window=0,
        start=start,
        end=start + steps / 8,
        times=start + np.arange(steps, dtype=np.float32) / 8,
        boxes=np.zeros((steps, 4), np.float32),
        face=(jpeg,) * steps,
        context=(jpeg,) * steps,
        frames_total=steps + 2,
        frame_size=(64, 48),
    )
    weights = np.full((steps, steps), 1 / steps, np.float32)
    answer = Answer(
        np.array([0.125, 0.25, 0.625], np.float32),
        weights if attention else None,
    )
    values = {"clip": clip, "answer": answer, "labels": LABELS, **changes}
    return Result(video, **values)


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
    return Result("empty.mp4", clip, None, LABELS)


def written(tmp_path, description, results, **how) -> tuple[str, Page]:
    report = clip_report.ClipReport(description, **how)
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
    # Its own pattern aside, nothing is referred to.
    assert not re.search(r"https?:|@import|url\((?!#unsure)|//[a-z]", text)
    assert not [k for _, k, _ in page.attributes if k.startswith("on")]
    pictures = page.of("img", "src")
    # Three frames of both streams; and of the map three rows of 1 + 3.
    assert len(pictures) == 6 + 12
    for source in pictures:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        assert base64.b64decode(data).startswith(b"\xff\xd8")
    assert len(page.of("img", "alt")) == len(pictures)
    assert page.of("meta", "charset") == ["utf-8"]
    assert page.of("html", "lang") == ["en"]


def test_what_it_says(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, track=4)])
    text = " ".join(page.text)
    assert "Person 4: upset" in text
    assert "2.0 to 2.4 s: upset" in text
    assert "Confidence 62.5 %. A face in 3 of 5 sampled frames." in text
    assert "The answer rests on 3 of 5 frames." in text
    assert "this model was not calibrated" in text
    # The most probable first.
    assert re.search("upset 62.5 % <b>glad</b> 25.0 % calm 12.5 %", text)
    widths = [s for s in page.of("b", "style") if s.startswith("width")]
    coverage, *widths = widths
    assert coverage == "width: 60%"
    assert widths == ["width: 62.5%", "width: 25.0%", "width: 12.5%"]
    assert text.count("attention 33 %") == 3
    assert "not a fact about what a person feels" in text
    assert "caca_rnn_a" in text
    assert "under MIT from" in text


def test_hostile_names_are_text(tmp_path, description, jpeg):
    _, page = written(
        tmp_path,
        description,
        [
            result(jpeg, HOSTILE),
            Result("b.mp4", None, None, LABELS, f"{HOSTILE}: is bad"),
        ],
    )
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 2  # The summary, the heading.
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
        [no_face(), Result("x.mp4", None, None, LABELS, "x.mp4: bad")],
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
    assert page.tags.count("details") == most
    pictures = clip_report.THUMBNAILS * 2 + 6 * 4
    assert len(page.of("img", "src")) == most * pictures
    text = " ".join(page.text)
    assert "3 more clips are in the output file and not shown here" in text
    assert text.count("1 more clips of this person are in the output") == 3
    # The first and the last frame are among the pictures.
    assert "2.00 s" in page.text
    assert "4.38 s" in page.text


def test_a_long_clips_map_is_bounded(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, steps=200)])
    assert 0 < page.of("rect", "opacity").count("1.0") <= 64**2
    assert len(page.of("rect", "opacity")) == 64**2


def test_a_system_without_attention_has_no_map(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, attention=False)])
    assert page.of("svg", "aria-label") == ["probability over time"]
    assert "attention" not in " ".join(page.text)
    assert "Looked at" not in " ".join(page.text)


def test_one_frame_has_no_map(tmp_path, description, jpeg):
    _, page = written(tmp_path, description, [result(jpeg, steps=1)])
    assert "attention map" not in page.of("svg", "aria-label")
    assert page.tags.count("img") == 2
    assert "The answer rests on 1 of 3 frames." in page.text


def test_what_was_looked_at_is_shown_beside_each_face_frame(
    tmp_path, description, jpeg
):
    weights = np.full((4, 4), 0.1, np.float32)
    weights[[0, 1, 2, 3], [2, 0, 3, 1]] = 0.7
    answer = Answer(np.array([0.1, 0.2, 0.7], np.float32), weights)
    _, page = written(
        tmp_path, description, [result(jpeg, steps=4, answer=answer)]
    )
    text = " ".join(page.text)
    assert "Looked at before each face frame" in text
    for face, context in (("2.00", "2.25"), ("2.12", "2.00")):
        assert f"face at {face} s ← {context} s 70.0 %" in text
    assert "nearly even" not in text
    _, page = written(tmp_path, description, [result(jpeg)])
    assert "The weights are nearly even" in " ".join(page.text)


def test_no_thumbnails_means_no_picture_at_all(tmp_path, description, jpeg):
    text, page = written(
        tmp_path, description, [result(jpeg)], thumbnails=False
    )
    assert "img" not in page.tags
    assert "data:" not in text
    said = " ".join(page.text)
    assert "Without pictures, as was asked for." in said
    assert "face at 2.00 s ← 2.00 s 33.3 %" in said


def test_hidden_faces_are_no_crops_of_anybody(tmp_path, description):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (224, 224, 3), np.uint8)
    crop = encode_jpeg(noise, 95)
    asked = []

    def detector():
        asked.append(FaceDetector())
        return asked[0]

    report = clip_report.ClipReport(description, blur=True, detector=detector)
    report.add(result(crop))
    assert not asked, "it may be in use until the page is written"
    report.write(tmp_path / "r.html")
    assert len(asked) == 1
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "The faces that were found in the pictures are hidden." in " ".join(
        page.text
    )
    pairs = zip(page.of("img", "src"), page.of("img", "alt"), strict=True)
    for source, what in pairs:
        data = np.frombuffer(base64.b64decode(source.partition(",")[2]), "u1")
        image = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(int)
        step = np.abs(np.diff(image, axis=1)).mean()
        assert step < 3 if what == "face" else step > 3


def test_a_person_over_time_and_the_whole_video(tmp_path, description, jpeg):
    summary = Summary(0, 0.0, 4.0, 40, 32, 2, (64, 48))
    whole = Result(
        "a.mp4",
        None,
        Answer(np.array([0.6, 0.3, 0.1], np.float32), None),
        LABELS,
        summary=summary,
    )
    windows = [result(jpeg, steps=16, start=t) for t in (0.0, 2.0)]
    _, page = written(tmp_path, description, [*windows, whole], smooth=1.0)
    text = " ".join(page.text)
    assert "a.mp4 0 calm 60.0 % 0.0 to 4.0 s 32 of 40" in text
    assert "1 video 1 person 0 with an uncertain answer 2 clips" in text
    assert "Person 0: calm" in text
    assert "smoothed: each point is the mean over 1 s around it" in text
    assert page.tags.count("details") == 2
    assert page.tags.count("path") >= 3


def test_low_coverage_and_uncertain_answers_are_told(
    tmp_path, description, jpeg
):
    few = result(jpeg, steps=6, calibration=Calibration(threshold=0.9))
    few = dataclasses.replace(
        few, clip=dataclasses.replace(few.clip, frames_total=20)
    )
    description["info"]["calibration"] = {
        "temperature": 1.5, "clips": 12, "split": "val"
    }  # fmt: skip
    _, page = written(tmp_path, description, [few])
    text = " ".join(page.text)
    assert "The face was seen in 6 of 20 frames: of the rest" in text
    assert "Person 0: upset uncertain" in text
    assert "a temperature was fitted on 12 clips of the val split" in text


def test_clips_without_crops_are_told_without_pictures(tmp_path, description):
    _, page = written(tmp_path, description, [result(b"", attention=False)])
    assert "img" not in page.tags
    assert "Person 0: upset" in " ".join(page.text)


def test_a_span_of_smoothing_is_checked_at_once(description):
    with pytest.raises(UsageError, match="smoothing must be by 0 to 3600"):
        clip_report.ClipReport(description, smooth=-1.0)


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
