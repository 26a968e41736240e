"""Where on an image pyramid the faces near known boxes are looked for.

PNet looks at windows of 12x12 pixels, so a face shows in few levels, and in a
small part of each: a tile. Tiles begin at even pixels, as PNet's pooling needs
to see in them what it sees in the whole level. A box that suppresses another
one overlaps it, hence all that decides on a face lies close to it, and what
the cascade finds in the tiles is what it finds there in the whole frame.
"""

from collections.abc import Sequence

import numpy as np

from emorec import aligned

# Least height and width of a tile, in pixels of its level; and the levels of a
# face: least and greatest side of a window as a share of the longer side of
# its box. Real videos' frames between two others (648 and 732 of 1997) then
# have the boxes of a whole search, all of them. With 48 and .3 to 3, or 64
# and that, one or two of them have others; with 32 and .5 to 1.5 one in 35.
SIDE = 64
SIDES = 0.25, 3.0
# Share of the pixels of all levels above which tiles are not worth the while.
MOST = 0.5
FRAME, LEVEL, TOP, LEFT = range(4)


def tile_sizes(levels: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns the height and width of the tiles of each level.

    Args:
        levels: Their own.

    Returns:
        int64 [L, 2]. A side is the level's own, or odd where that is: then a
        tile that begins at an even pixel can reach the level's end.
    """
    levels = np.asarray(levels, np.int64).reshape(-1, 2)
    return np.minimum(SIDE + (levels - SIDE) % 2, levels)


def tiles(
    near: Sequence[np.ndarray],
    scales: Sequence[float],
    levels: Sequence[tuple[int, int]],
    window: int,
) -> np.ndarray:
    """Returns the tiles in which to look for faces.

    Args:
        near: f32 [N, 4] for each frame, boxes about which to look: x0, y0, x1,
            y1 in pixels of the frames.
        scales: The levels' pixels per pixel of a frame, descending.
        levels: Their heights and widths.
        window: Side of PNet's window in pixels.

    Returns:
        int64 [M, 4], each once, ascending: frame, level, and the tile's first
        row and column, both even.
    """
    if not scales:
        return np.zeros((0, 4), np.int64)
    scales = np.asarray(scales)
    boxes = np.concatenate([np.zeros((0, 4)), *near])
    frame = np.repeat(np.arange(len(near)), [len(b) for b in near])
    windows = window / scales
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    sides = np.clip(sides, windows[0], windows[-1])[:, None]
    least, most = SIDES
    which, level = np.nonzero(
        (least * sides <= windows) & (windows <= most * sides)
    )
    centres = (boxes[which, :2] + boxes[which, 2:])[:, ::-1] / 2
    sizes = tile_sizes(levels)[level]
    starts = centres * scales[level, None] - sizes / 2
    ends = np.asarray(levels)[level] - sizes
    starts = np.clip(2 * np.round(starts / 2), 0, ends).astype(np.int64)
    return np.unique(np.column_stack([frame[which], level, starts]), axis=0)


def crowded(
    tiles: np.ndarray, levels: Sequence[tuple[int, int]], count: int
) -> np.ndarray:
    """Returns which frames are better searched as a whole, bool [count].

    Args:
        tiles: Of `tiles`.
        levels: Their heights and widths.
        count: Number of frames.
    """
    pixels = tile_sizes(levels).prod(1)[tiles[:, LEVEL]]
    pixels = np.bincount(tiles[:, FRAME], pixels, count)
    return pixels > MOST * sum(h * w for h, w in levels)


def spans(
    tiles: np.ndarray, levels: Sequence[tuple[int, int]]
) -> dict[int, dict[int, tuple[int, int]]]:
    """Returns first row and end of the rows in tiles, by frame and level.

    Args:
        tiles: Of `tiles`, ascending.
        levels: Their heights and widths.
    """
    heights = tile_sizes(levels)[:, 0].tolist()
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for frame, level, top, _ in tiles.tolist():
        first, _ = found.setdefault(frame, {}).get(level, (top, 0))
        found[frame][level] = first, top + heights[level]
    return found


def cut(
    tiles: np.ndarray,
    size: tuple[int, int],
    strips: dict[tuple[int, int], tuple[int, np.ndarray]],
) -> np.ndarray:
    """Returns the pixels f32 [M, h, w, 3] of tiles of one size.

    Args:
        tiles: Of `tiles`, M of them.
        size: Their height and width.
        strips: By frame and level, a row's number in the level, and pixels f32
            [rows, width of the level, 3] from there on.
    """
    height, width = size
    pixels = aligned.empty((len(tiles), height, width, 3), np.float32)
    for tile, (frame, level, top, left) in zip(pixels, tiles.tolist()):
        first, strip = strips[frame, level]
        top -= first
        tile[:] = strip[top : top + height, left : left + width]
    return pixels
