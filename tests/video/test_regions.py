"""`emorec.video.regions`: which tiles of a pyramid show a face."""

import numpy as np
import pytest

from emorec.video import regions

SCALES = [12 / 32 * 0.709**i for i in range(8)]
LEVELS = [(int(361 * s), int(640 * s)) for s in SCALES]
NONE = np.zeros((0, 4), np.float32)


def test_tiles_hold_the_face_in_the_levels_of_its_size():
    box = np.float32([300, 100, 340, 160])
    found = regions.tiles([NONE, box[None]], SCALES, LEVELS, 12)
    assert set(found[:, regions.FRAME]) == {1}
    # Windows of 32, 45, .. 180 pixels: from a quarter to three times of 60.
    assert found[:, regions.LEVEL].tolist() == [0, 1, 2, 3, 4, 5]
    sizes = regions.tile_sizes(LEVELS)
    for _, level, top, left in found:
        assert top % 2 == left % 2 == 0
        x0, y0, x1, y1 = box * SCALES[level]
        height, width = sizes[level]
        assert left <= x0 and x1 <= left + width <= LEVELS[level][1]
        assert top <= y0 and y1 <= top + height <= LEVELS[level][0]


def test_tiles_reach_the_ends_of_levels():
    # Some levels are odd, some even; PNet pools in pairs from the first pixel.
    ends = np.float32([[0, 0, 40, 40], [600, 321, 640, 361]])
    found = regions.tiles([ends], SCALES, LEVELS, 12)
    sizes = regions.tile_sizes(LEVELS)
    for level in np.unique(found[:, regions.LEVEL]):
        starts = found[found[:, regions.LEVEL] == level][:, regions.TOP :]
        assert starts.min() == 0 and not (starts % 2).any()
        assert (starts.max(0) + sizes[level] == LEVELS[level]).all()
    assert (sizes <= LEVELS).all()


@pytest.mark.parametrize("side, level", [(4, 0), (5000, 7)])
def test_a_face_beyond_the_pyramid_is_looked_for_at_its_ends(side, level):
    box = np.float32([[100, 100, 100 + side, 100 + side]])
    found = regions.tiles([box], SCALES, LEVELS, 12)
    assert level in found[:, regions.LEVEL]


def test_equal_tiles_are_one():
    boxes = np.float32([[300, 100, 340, 160]] * 3)
    one = regions.tiles([boxes[:1]], SCALES, LEVELS, 12)
    np.testing.assert_array_equal(
        regions.tiles([boxes], SCALES, LEVELS, 12), one
    )


def test_no_boxes_and_no_levels():
    for near, scales, levels in (
        ([NONE, NONE], SCALES, LEVELS),
        ([np.ones((1, 4), np.float32)], [], []),
    ):
        found = regions.tiles(near, scales, levels, 12)
        assert found.shape == (0, 4) and found.dtype == np.int64
        assert not regions.crowded(found, levels, len(near)).any()
        assert regions.spans(found, levels) == {}


def test_frames_of_many_faces_are_crowded():
    one = np.float32([[300, 100, 400, 200]])
    many = np.float32(
        [[x, y, x + 32, y + 32] for x in range(0, 640, 80) for y in (50, 250)]
    )
    found = regions.tiles([one, NONE, many], SCALES, LEVELS, 12)
    crowded = regions.crowded(found, LEVELS, 3)
    assert crowded.tolist() == [False, False, True]


def test_tiles_are_cut_from_strips():
    levels = [(90, 200), (70, 100)]
    tiles = np.array([[0, 0, 10, 20], [0, 0, 16, 60], [2, 1, 4, 0]])
    spans = regions.spans(tiles, levels)
    assert spans == {0: {0: (10, 80)}, 2: {1: (4, 68)}}
    rng = np.random.default_rng(1)
    whole = {
        (frame, level): rng.random((*levels[level], 3), np.float32)
        for frame in spans
        for level in spans[frame]
    }
    strips = {
        key: (spans[key[0]][key[1]][0], pixels[slice(*spans[key[0]][key[1]])])
        for key, pixels in whole.items()
    }
    cut = regions.cut(tiles, (64, 64), strips)
    for pixels, (frame, level, top, left) in zip(cut, tiles, strict=True):
        np.testing.assert_array_equal(
            pixels, whole[frame, level][top : top + 64, left : left + 64]
        )
