"""Resizing in a graph against OpenCV: the same pixels."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from emorec.video import graph_resize
from emorec.video.clip import context_crop, face_crop


@pytest.fixture(scope="module")
def functions():
    """The functions as a graph runs them, for any size."""
    picture = tf.TensorSpec((None, None, 3), tf.uint8)
    number = tf.TensorSpec((), tf.int32)

    @tf.function(input_signature=[picture, number, number])
    def shrink(image, height, width):
        return graph_resize.shrink(image, height, width)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None, 3), tf.uint8),
            number,
            number,
        ]
    )
    def mean(images, height, width):
        return graph_resize.area_mean(
            graph_resize.columns(images), tf.shape(images), height, width
        )

    @tf.function(input_signature=[picture, number, number, number])
    def square(image, left, top, side):
        return graph_resize.square(image, left, top, side, 64)

    return {"shrink": shrink, "mean": mean, "square": square}


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def by_opencv(image, height, width) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


# Ratios: none, halves (a path of its own in OpenCV), whole, whole along one
# side only, 10/7 (many means end in .5), crooked ones, and 2.001, of
# whose .001 OpenCV takes no notice.
SIZES = [
    ((48, 64), (48, 64)),
    ((48, 64), (24, 32)),
    ((90, 120), (30, 40)),
    ((96, 60), (24, 30)),
    ((96, 128), (24, 50)),
    ((160, 160), (112, 112)),
    ((180, 320), (67, 120)),
    ((97, 211), (13, 12)),
    ((31, 33), (31, 32)),
    ((5, 7), (1, 1)),
    ((5, 2001), (4, 1000)),
]


@pytest.mark.parametrize("before, after", SIZES)
def test_shrinking_gives_opencv_s_pixels(functions, before, after):
    image = noise(*before, 3)
    made = functions["shrink"](image, *after)
    assert made.dtype == tf.uint8
    np.testing.assert_array_equal(made, by_opencv(image, *after))


@pytest.mark.parametrize("before, after", SIZES)
def test_means_of_areas_are_opencv_s_floats(functions, before, after):
    images = noise(3, *before, 3, seed=1)
    made = functions["mean"](images, *after)
    expected = [by_opencv(i.astype(np.float32), *after) for i in images]
    np.testing.assert_array_equal(made, np.stack(expected))


def test_a_mean_of_halves_by_hand(functions):
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 0] = 1
    image[0, 2:], image[1, 2:] = 1, 2
    # 2x2 pixels: 0.5 and 1.5 go up.
    made = functions["shrink"](image, 1, 2).numpy()
    assert made[0, :, 0].tolist() == [1, 2]
    # 4x4 pixels: halves go to the even side.
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:2, :4], wide[:, 4:] = 1, 1
    wide[2:, 4:] = 2
    made = functions["shrink"](wide, 1, 2).numpy()
    assert made[0, :, 0].tolist() == [0, 2]


# Inside, over each border, over all of them; smaller than 64, as large, larger.
BOXES = [
    (20, 30, 60, 75),
    (-0.0, 5, 40, 31),
    (100.2, 60.7, 150, 119.9),
    (0, 0, 150, 120),
    (30.5, 20.5, 94.5, 84.5),
    (10, 10, 120, 119),
    (149, 119, 150, 120),
    (70.5, 33.5, 71.5, 35.5),
]


@pytest.mark.parametrize("margin", [0.0, 0.4])
@pytest.mark.parametrize("box", BOXES)
def test_squares_are_the_clip_s_face_crops(functions, box, margin):
    image = noise(120, 150, 3, seed=2)
    x0, y0, x1, y1 = box
    side = max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * margin)))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    made = functions["square"](image, left, top, side)
    expected = face_crop(image, np.array(box), 64, margin)
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("shape", [(40, 50), (64, 64), (90, 70), (101, 300)])
def test_squares_are_the_clip_s_context_crops(functions, shape):
    image = noise(*shape, 3, seed=3)
    side = min(shape)
    made = functions["square"](
        image, (shape[1] - side) // 2, (shape[0] - side) // 2, side
    )
    np.testing.assert_array_equal(made, context_crop(image, 64))
