"""All levels of a frame's image pyramid, each averaged from the whole frame.

`cv2.resize` with INTER_AREA reads the whole frame once for every level, first
along its rows, three numbers at a time. The same averages are taken here along
the columns first, for all levels at once, as products of small matrices; what
is left to OpenCV is as low as the level. Measured on one core for 360 rows and
eight levels: less than half of the time, the same numbers within 1e-4 of 255.
"""

import cv2
import numpy as np

# Rows of the frame in one product. With 40 it takes 1.1 times as long, with 60
# 1.2 times: each level's rows mix only a few of the frame's.
BLOCK = 20
# Multiplications of one product below which OpenBLAS uses no threads of its
# own: they wait in a loop, and took a quarter of both cores from the networks.
MOST_PRODUCTS = 4 * 65536


class Pyramid:
    """Makes the levels of frames of one size; keeps nothing of them.

    For use from any number of threads.

    Args:
        height: Of the frames, pixels.
        width: Likewise.
        sizes: Height and width of each level, none larger than the frame;
            there may be none.
    """

    def __init__(self, height: int, width: int, sizes: list[tuple[int, int]]):
        self._shape = height, width
        self.sizes = sizes
        self._blocks = -(-height // BLOCK)
        shares = np.zeros(
            (sum(h for h, _ in sizes), self._blocks * BLOCK), np.float32
        )
        stop = 0
        for rows, _ in sizes:
            start, stop = stop, stop + rows
            shares[start:stop, :height] = _shares(height, rows)
        self._plan(shares.reshape(len(shares), self._blocks, BLOCK))

    def _plan(self, shares):
        """Sorts the rows of all levels by the blocks that they are made of.

        Args:
            shares: f32 [rows, blocks, BLOCK].
        """
        per_block = [
            np.flatnonzero(block.any(1)) for block in shares.swapaxes(0, 1)
        ]
        most = max(map(len, per_block), default=0)
        self._matrices = np.zeros((self._blocks, most, BLOCK), np.float32)
        # Where each row's parts lie in the products: one part of the product
        # of each block that it reaches into, -1 where it has no more.
        parts: list[list[int]] = [[] for _ in shares]
        for number, rows in enumerate(per_block):
            self._matrices[number, : len(rows)] = shares[rows, number]
            for place, row in enumerate(rows):
                parts[row].append(number * most + place)
        depth = max(map(len, parts), default=0)
        self._parts = np.array(
            [p + [-1] * (depth - len(p)) for p in parts], np.intp
        ).reshape(len(parts), depth)
        if parts:
            self._all = self._chosen([(0, h) for h, _ in self.sizes])

    def write(
        self,
        frame: np.ndarray,
        levels: list[np.ndarray],
        spans: list[tuple[int, int]] | None = None,
    ) -> None:
        """Writes one frame's levels.

        Args:
            frame: uint8 [height, width, 3].
            levels: f32 [h, w, 3] of each size, which are filled.
            spans: First row and end of the rows of each level that are wanted,
                at least one row; `levels` are as high. By default all.
        """
        if not self.sizes:
            return
        rows = self._rows(frame, self._chosen(spans) if spans else self._all)
        stop = 0
        for (_, w), level in zip(self.sizes, levels, strict=True):
            start, stop = stop, stop + len(level)
            cv2.resize(
                rows[start:stop],
                (w, len(level)),
                dst=level,
                interpolation=cv2.INTER_AREA,
            )

    def _chosen(self, spans) -> tuple[slice, np.ndarray, list]:
        """Returns what makes these rows of the levels.

        Returns:
            The blocks of the frame; of their products those that are the rows'
            first parts; and of the second parts, the third ...: the rows that
            have one, and it.
        """
        starts = np.cumsum([0, *(h for h, _ in self.sizes)])
        rows = [
            np.arange(start + a, start + b)
            for start, (a, b) in zip(starts, spans)
        ]
        parts = self._parts[np.concatenate(rows)]
        most = self._matrices.shape[1]
        first = parts[:, 0].min() // most
        blocks = slice(first, parts.max() // most + 1)
        further = []
        for part in parts.T[1:]:
            own = np.flatnonzero(part >= 0)
            further.append((own, part[own] - first * most))
        return blocks, parts[:, 0] - first * most, further

    def _rows(self, frame, chosen) -> np.ndarray:
        """Averages columns; returns f32 [rows, width, 3].

        Args:
            frame: uint8 [height, width, 3].
            chosen: Of `_chosen`.
        """
        blocks, first, further = chosen
        width = self._shape[1]
        matrices = self._matrices[blocks]
        count, most, _ = matrices.shape
        # The columns in pieces, each row of the frame a little longer for it.
        piece = max(1, MOST_PRODUCTS // (most * BLOCK))
        pieces = -(-width * 3 // piece)
        pixels = np.zeros((count * BLOCK, pieces * piece), np.float32)
        shown = frame[blocks.start * BLOCK : blocks.stop * BLOCK]
        pixels[: len(shown), : width * 3] = shown.reshape(len(shown), -1)
        products = np.empty((count, most, pieces, piece), np.float32)
        np.matmul(
            matrices[:, None],
            pixels.reshape(count, BLOCK, pieces, piece).swapaxes(1, 2),
            out=products.swapaxes(1, 2),
        )
        products = products.reshape(count * most, -1)[:, : width * 3]
        rows = products[first]
        for own, part in further:
            rows[own] += products[part]
        return rows.reshape(-1, width, 3)


def _shares(count: int, rows: int) -> np.ndarray:
    """Returns what each of `count` pixels gives to each of `rows` averages.

    Returns:
        f64 [rows, count]; each row sums to 1.
    """
    edges = np.arange(rows + 1) * (count / rows)
    pixels = np.arange(count)
    begins = np.maximum(edges[:-1, None], pixels)
    ends = np.minimum(edges[1:, None], pixels + 1)
    shares = np.maximum(ends - begins, 0)
    return shares / shares.sum(1, keepdims=True)
