"""`emorec.video.pyramid` against OpenCV's own averages of areas."""

import cv2
import numpy as np
import pytest

from emorec.video.pyramid import Pyramid


def levels_of(frame, sizes):
    made = Pyramid(*frame.shape[:2], sizes)
    levels = [np.full((h, w, 3), np.nan, np.float32) for h, w in sizes]
    made.write(frame, levels)
    return levels


@pytest.mark.parametrize(
    "height, width, sizes",
    [
        (360, 640, [(216, 384), (135, 240), (95, 170), (12, 21)]),
        # No multiple of a block, portrait, a level as large as the frame.
        (101, 67, [(101, 67), (99, 66), (20, 13), (12, 12)]),
        (12, 200, [(12, 120)]),
        (13, 13, [(12, 12)]),
    ],
)
def test_levels_are_those_of_opencv(height, width, sizes):
    rng = np.random.default_rng(5)
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    for size, level in zip(sizes, levels_of(frame, sizes), strict=True):
        expected = cv2.resize(
            frame.astype(np.float32),
            size[::-1],
            interpolation=cv2.INTER_AREA,
        )
        np.testing.assert_allclose(level, expected, atol=1e-3)


def test_a_row_over_several_blocks_is_the_mean_of_all():
    frame = np.arange(90, dtype=np.uint8)[:, None, None]
    frame = np.broadcast_to(frame, (90, 12, 3))
    (level,) = levels_of(np.ascontiguousarray(frame), [(1, 12)])
    np.testing.assert_allclose(level, 44.5, rtol=1e-6)


@pytest.mark.parametrize(
    "spans", [[(0, 1), (5, 6)], [(30, 62), (0, 40)], [(90, 101), (33, 34)]]
)
def test_some_rows_are_those_of_whole_levels(spans):
    rng = np.random.default_rng(6)
    frame = rng.integers(0, 256, (101, 67, 3), np.uint8)
    sizes = [(101, 67), (40, 26)]
    whole = levels_of(frame, sizes)
    made = Pyramid(101, 67, sizes)
    some = [
        np.full((b - a, w, 3), np.nan, np.float32)
        for (a, b), (_, w) in zip(spans, sizes)
    ]
    made.write(frame, some, spans)
    for level, rows, (a, b) in zip(whole, some, spans, strict=True):
        np.testing.assert_allclose(rows, level[a:b], atol=1e-4)


def test_no_levels():
    assert levels_of(np.zeros((5, 5, 3), np.uint8), []) == []
