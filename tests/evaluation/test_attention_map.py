"""The attention map as data: which frames were looked at, with pictures."""

import base64

import cv2
import numpy as np
import pytest
import skimage.data

from emorec.evaluation import attention_map
from emorec.evaluation.thumbnails import SIDE
from emorec.labels import LabelSet
from emorec.results import Answer, Result
from emorec.video.blur import FaceHider
from emorec.video.clip import Clip, encode_jpeg
from emorec.video.faces import FaceDetector

LABELS = LabelSet("auto", ("calm", "glad"))


def result(weights, face=None, context=None, box=(0, 0, 8, 8), size=(64, 48)):
    n = len(weights)
    grey = [
        encode_jpeg(np.full((32, 32, 3), 5 * i, np.uint8), 95) for i in range(n)
    ]
    clip = Clip(
        track=3,
        window=0,
        start=2.0,
        end=2.0 + n / 8,
        times=2 + np.arange(n, dtype=np.float32) / 8,
        boxes=np.tile(np.float32(box), (n, 1)),
        face=tuple(face or grey),
        context=tuple(context or grey),
        frames_total=n,
        frame_size=size,
    )
    answer = Answer(
        np.array([0.25, 0.75], np.float32), np.array(weights, np.float32)
    )
    return Result("a.mp4", clip, answer, LABELS)


def picture(address):
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    values = np.frombuffer(base64.b64decode(data), np.uint8)
    return cv2.imdecode(values, cv2.IMREAD_COLOR)


def test_each_row_names_what_was_looked_at_most():
    weights = np.full((4, 4), 0.1)
    for face, context in enumerate((2, 0, 3, 1)):
        weights[face, context] = 0.7
    made = attention_map.summary(result(weights), rows=4, top=2)
    assert made["track"] == 3
    assert made["label"] == "glad"
    assert made["frames"] == 4
    np.testing.assert_allclose(made["times"], 2 + np.arange(4) / 8)
    np.testing.assert_allclose(made["matrix"], weights, atol=1e-6)
    np.testing.assert_allclose(made["mean"], [0.25] * 4, atol=1e-6)
    assert made["peak"] == pytest.approx(0.7)
    assert not made["even"]
    firsts = [row["looked_at"][0] for row in made["rows"]]
    assert [at["time"] for at in firsts] == [2.25, 2.0, 2.375, 2.125]
    assert [at["weight"] for at in firsts] == pytest.approx([0.7] * 4)
    assert [len(row["looked_at"]) for row in made["rows"]] == [2] * 4
    # The pictures are those of the frames.
    for row, step in zip(made["rows"], (2, 0, 3, 1)):
        shown = picture(row["looked_at"][0]["picture"])
        assert shown.shape == (SIDE, SIDE, 3)
        assert abs(float(shown.mean()) - 5 * step) < 1.5
    assert abs(float(picture(made["rows"][3]["face"]).mean()) - 15) < 1.5


def test_without_thumbnails_there_is_no_picture():
    made = attention_map.summary(
        result(np.full((3, 3), 1 / 3)), thumbnails=False
    )
    assert "data:" not in repr(made)
    assert made["even"]


@pytest.mark.parametrize("n", [0, 1])
def test_one_frame_has_no_map(n):
    assert attention_map.summary(result(np.ones((n, n)))) is None


def test_a_long_clips_map_is_bounded_and_its_rows_sum_to_one():
    rng = np.random.default_rng(0)
    weights = rng.random((200, 200))
    weights /= weights.sum(axis=1, keepdims=True)
    reduced = attention_map.reduced(weights)
    assert reduced.shape == (attention_map.MAP_CELLS,) * 2
    np.testing.assert_allclose(reduced.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(
        attention_map.reduced(weights[:8, :8]), weights[:8, :8]
    )
    made = attention_map.summary(result(weights), thumbnails=False)
    assert len(made["times"]) == len(made["matrix"]) == attention_map.MAP_CELLS
    assert len(made["rows"]) == 6
    # The first and the last frame are among them.
    assert made["rows"][0]["time"] == 2.0
    assert made["rows"][-1]["time"] == pytest.approx(2 + 199 / 8)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def test_hidden_pictures_show_no_face(detector):
    astronaut = skimage.data.astronaut()
    (found,) = detector.detect([astronaut])
    box = found.boxes[0]
    x0, y0, x1, y1 = box.round().astype(int)
    face = encode_jpeg(cv2.resize(astronaut[y0:y1, x0:x1], (224, 224)), 95)
    context = encode_jpeg(cv2.resize(astronaut, (224, 224)), 95)
    shown = result(
        np.full((2, 2), 0.5), [face] * 2, [context] * 2, box, (512, 512)
    )
    seen = {}
    for hider in (None, FaceHider(detector)):
        made = attention_map.summary(shown, hider=hider)
        row = made["rows"][0]
        pictures = [picture(row["face"])]
        pictures += [picture(at["picture"]) for at in row["looked_at"]]
        enlarged = [
            np.ascontiguousarray(cv2.resize(p, (512, 512))[..., ::-1])
            for p in pictures
        ]
        seen[hider is None] = [len(f) for f in detector.detect(enlarged)]
    assert seen[True] == [1, 1, 1]
    assert seen[False] == [0, 0, 0]
