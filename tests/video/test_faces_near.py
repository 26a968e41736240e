"""`FaceDetector.detect_near`: the faces of a whole search, near known ones."""

import dataclasses
import re

import cv2
import numpy as np
import pytest
import skimage.data

from emorec.config import DetectorConfig
from emorec.errors import VideoError
from emorec.video.faces import FaceDetector

NONE = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(DetectorConfig(input_width=0))


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


def other(detector, **changes) -> FaceDetector:
    """Returns a detector of other settings."""
    config = dataclasses.replace(detector.config, **changes)
    return FaceDetector(config, detector.engine)


def best(detector, frames):
    """Returns the box of the best face of each frame, f32 [1, 4]."""
    return [found.boxes[:1] for found in detector.detect(frames)]


@pytest.mark.parametrize("size", [511, 900])
@pytest.mark.parametrize("shift", [(0, 0), (0.2, -0.2), (-0.2, 0.1)])
def test_the_same_faces_as_in_the_whole(detector, astronaut, size, shift):
    # Levels of odd and even sides; the face in the middle and at two edges.
    image = cv2.resize(astronaut, (size, size - 21))
    top, left = round(0.12 * size), round(0.35 * size)
    frames = [
        image,
        np.roll(image, -top, axis=0),
        np.roll(image, -left, axis=1),
    ]
    whole = best(detector, frames)
    assert [len(boxes) for boxes in whole] == [1] * 3
    near = [
        boxes + np.float32(np.tile(shift, 2) * (boxes[0, 2] - boxes[0, 0]))
        for boxes in whole
    ]
    for found, boxes in zip(detector.detect_near(frames, near), whole):
        np.testing.assert_allclose(found.boxes[:1], boxes, atol=0.02)


def test_not_elsewhere_and_in_any_batch(detector, astronaut):
    wide = np.pad(astronaut, [(0, 0), (0, 1000), (0, 0)])
    (box,) = best(detector, [wide])
    away = box + np.float32([1100, 300, 1100, 300])
    frames = [wide, np.zeros_like(wide), wide, wide]
    near = [box, box, NONE, away]
    found = detector.detect_near(frames, near)
    assert [len(faces) > 0 for faces in found] == [True, False, False, False]
    np.testing.assert_allclose(found[0].boxes[:1], box, atol=0.02)
    alone = other(detector, batch_frames=1).detect_near(frames, near)
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)


def test_pixels_of_the_original(detector, astronaut):
    wide = cv2.resize(astronaut, (1500, 1100), interpolation=cv2.INTER_CUBIC)
    reduced = other(detector, input_width=400)
    (box,) = best(reduced, [wide])
    (found,) = reduced.detect_near([wide], [box])
    np.testing.assert_allclose(found.boxes[:1], box, atol=0.1)


def test_none_where_boxes_fill_the_frame(detector, astronaut):
    boxes = np.float32(
        [[x, y, x + 40, y + 40] for x in range(0, 512, 64) for y in (9, 200)]
    )
    assert detector.detect_near([astronaut], [boxes]) == [None]


def test_nothing_and_what_is_too_small(detector, astronaut):
    assert detector.detect_near([], []) == []
    tiny = np.zeros((11, 40, 3), np.uint8)
    (found,) = detector.detect_near([tiny], [np.float32([[0, 0, 9, 9]])])
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)
    with pytest.raises(VideoError, match=re.escape("uint8 [H, W, 3]")):
        detector.detect_near([None], [NONE])
