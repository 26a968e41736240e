"""`FaceDetector.refine`: boxes moved onto faces by the last network alone."""

import dataclasses
import re

import cv2
import numpy as np
import pytest
import skimage.data

from emorec.config import DetectorConfig
from emorec.errors import VideoError
from emorec.video.faces import FaceDetector
from emorec.video.tracks import iou_matrix


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(DetectorConfig(input_width=0, min_face_size=20))


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


def other(detector, **changes) -> FaceDetector:
    """Returns a detector of other settings."""
    config = dataclasses.replace(detector.config, **changes)
    return FaceDetector(config, detector.engine)


def test_refine_moves_boxes_onto_the_face(detector, astronaut):
    (found,) = detector.detect([astronaut])
    frames = [astronaut, np.zeros_like(astronaut), astronaut]
    near = found.boxes[0] + [16, -12, 16, -12]
    boxes = np.array([near, near, near, [400, 400, 440, 440]], np.float32)
    index = np.array([2, 1, 0, 0], np.int32)
    moved, scores = detector.refine(frames, boxes, index)
    assert moved.shape == (4, 4) and scores.shape == (4,)
    assert moved.dtype == scores.dtype == np.float32
    assert iou_matrix(boxes[:1], found.boxes)[0, 0] < 0.7
    assert iou_matrix(moved[[0, 2]], found.boxes).min() > 0.8
    assert scores[[0, 2]].min() > 0.99
    assert scores[[1, 3]].max() < 0.5
    # In whatever batches.
    one = other(detector, batch_frames=1).refine(frames, boxes, index)
    np.testing.assert_allclose(one[0], moved, atol=1e-3)
    np.testing.assert_allclose(one[1], scores, atol=1e-4)
    # The detector's own box hardly moves: ONet has seen it, or its like.
    still, _ = detector.refine([astronaut], found.boxes, np.zeros(1, np.int32))
    assert iou_matrix(still, found.boxes)[0, 0] > 0.85


def test_refine_takes_and_gives_pixels_of_the_original(detector, astronaut):
    wide = cv2.resize(astronaut, (1500, 1100), interpolation=cv2.INTER_CUBIC)
    (found,) = detector.detect([astronaut])
    expected = found.boxes * np.array([1500, 1100] * 2) / 512
    reduced = other(detector, input_width=400)
    moved, scores = reduced.refine(
        [wide], expected.astype(np.float32), np.zeros(1, np.int32)
    )
    assert iou_matrix(expected, moved)[0, 0] > 0.8
    assert scores[0] > 0.99
    corner = np.array([[1450, 1050, 1600, 1200]], np.float32)
    moved, _ = reduced.refine([wide], corner, np.zeros(1, np.int32))
    assert (moved[0, 2:] <= [1500, 1100]).all() and moved.min() >= 0


def test_refine_of_nothing(detector, astronaut):
    none = np.zeros((0, 4), np.float32)
    for frames in ([], [astronaut]):
        boxes, scores = detector.refine(frames, none, np.zeros(0, np.int32))
        assert boxes.shape == (0, 4) and scores.shape == (0,)
    with pytest.raises(VideoError, match=re.escape("uint8 [H, W, 3]")):
        detector.refine([None], none, np.zeros(0, np.int32))
