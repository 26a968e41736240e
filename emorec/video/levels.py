"""The levels of frames' image pyramids, or what tiles show of them."""

import concurrent.futures
import functools

import numpy as np

from emorec import aligned
from emorec.config import DetectorConfig
from emorec.video import regions
from emorec.video.pyramid import Pyramid

# Side in pixels of PNet's window.
WINDOW = 12
# Sizes of frames whose pyramid's plan is kept, about 1 MB each; and choices of
# their levels, about .1 MB each.
PLANS = 4
SOME = 32


class Levels:
    """Makes levels.

    For use from any number of threads.

    Args:
        config: Its `min_face_size` and `scale_factor`.
        threads: Make the levels of several frames at once.
    """

    def __init__(
        self,
        config: DetectorConfig,
        threads: concurrent.futures.ThreadPoolExecutor,
    ):
        self._config = config
        self._threads = threads
        self._plan = functools.lru_cache(PLANS)(self._new_plan)
        self._some = functools.lru_cache(SOME)(self._new_some)

    def plan(
        self, height: int, width: int
    ) -> tuple[list[float], list[tuple[int, int]]]:
        """Returns scale, and height and width, of each level of a frame."""
        scales, made = self._plan(height, width)
        return scales, made.sizes

    def whole(self, frames: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Returns each level's pixels f32 [N, h, w, 3] and its scale.

        Each level from the whole frame, and not from a larger level or from
        halved frames: of 120 faces, 4 to 16 then moved below an IoU of .9.
        """
        scales, made = self._plan(*frames.shape[1:3])
        levels = [
            aligned.empty((len(frames), h, w, 3), np.float32)
            for h, w in made.sizes
        ]
        list(
            self._threads.map(
                lambda i: made.write(frames[i], [level[i] for level in levels]),
                range(len(frames)),
            )
        )
        return list(zip(levels, scales))

    def strips(
        self, frames: np.ndarray, tiles: np.ndarray
    ) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
        """Returns the rows of each level that tiles show, whole.

        Args:
            frames: uint8 [N, h, w, 3].
            tiles: int [M, 4], of `regions.tiles`.

        Returns:
            First row, and pixels f32 [rows, w, 3], by frame and level.
        """
        height, width = frames.shape[1:3]
        sizes = self._plan(height, width)[1].sizes
        spans = regions.spans(tiles, sizes)

        def make(frame):
            levels = tuple(spans[frame])
            rows = [spans[frame][level] for level in levels]
            strips = [
                np.empty((end - first, sizes[level][1], 3), np.float32)
                for level, (first, end) in zip(levels, rows)
            ]
            some = self._some(height, width, levels)
            some.write(frames[frame], strips, rows)
            return {
                (frame, level): (first, strip)
                for level, (first, _), strip in zip(levels, rows, strips)
            }

        return {
            key: strip
            for part in self._threads.map(make, spans)
            for key, strip in part.items()
        }

    def _new_plan(self, height: int, width: int) -> tuple[list, Pyramid]:
        """Returns the scales of the levels, and what makes them."""
        scales = []
        scale = WINDOW / self._config.min_face_size
        while int(min(height, width) * scale) >= WINDOW:
            scales.append(scale)
            scale *= self._config.scale_factor
        sizes = [(int(height * s), int(width * s)) for s in scales]
        return scales, Pyramid(height, width, sizes)

    def _new_some(self, height: int, width: int, levels) -> Pyramid:
        """Returns what makes these levels alone."""
        sizes = self._plan(height, width)[1].sizes
        return Pyramid(height, width, [sizes[i] for i in levels])
