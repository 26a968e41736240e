"""Hidden faces: nothing of a person is left, the rest of a picture is."""

import numpy as np
import pytest
import skimage.data

from emorec.video import blur
from emorec.video.faces import FaceDetector


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture
def astronaut():
    return skimage.data.astronaut().copy()


def test_a_hidden_face_is_not_found_again(detector, astronaut):
    hider = blur.FaceHider(detector)
    (found,) = hider.find([astronaut])
    assert len(found) == 1
    before = astronaut.copy()
    hider.faceless([astronaut], [np.zeros((0, 4))])
    assert not len(hider.find([astronaut])[0])
    x0, y0, x1, y1 = found[0].round().astype(int)
    face = astronaut[y0:y1, x0:x1].astype(float)
    # Patches: neighbours hardly differ.
    assert np.abs(np.diff(face, axis=1)).max() < 10
    # What is far from the face is as it was.
    np.testing.assert_array_equal(astronaut[:, :100], before[:, :100])
    np.testing.assert_array_equal(astronaut[350:], before[350:])


def test_a_small_picture_is_searched_enlarged(detector, astronaut):
    small = astronaut[:224, 112:336][::2, ::2].copy()
    (found,) = blur.FaceHider(lambda: detector).find([small])
    x0, y0, x1, y1 = found[0]
    assert 35 < x0 < x1 < 85
    assert 20 < y0 < y1 < 100


def test_known_boxes_are_hidden_too(detector):
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    before = image.copy()
    blur.FaceHider(detector).faceless([image], [[[30, 30, 60, 66]]])
    inside = image[40:56, 38:52].astype(int)
    assert np.ptp(inside, axis=(0, 1)).max() < 120
    assert np.ptp(before[40:56, 38:52].astype(int), axis=(0, 1)).min() > 200
    np.testing.assert_array_equal(image[:, :20], before[:, :20])


@pytest.mark.parametrize(
    "box", [[-50, -50, 10, 10], [60, 60, 300, 300], [200, 200, 300, 300]]
)
def test_boxes_may_lie_outside(box):
    image = np.zeros((80, 80, 3), np.uint8)
    image[::2] = 255
    blur.hide(image, [box])
    assert image.shape == (80, 80, 3)


def test_no_box_changes_nothing():
    image = np.full((8, 8, 3), 7, np.uint8)
    blur.hide(image, np.zeros((0, 4)))
    assert (image == 7).all()


def test_a_crop_is_hidden_as_a_whole(astronaut):
    crop = blur.hidden(astronaut[50:250, 130:330])
    assert crop.shape == (200, 200, 3)
    assert np.abs(np.diff(crop.astype(int), axis=0)).max() < 10
