"""Face detection: MTCNN over batches of frames.

Networks and weights are those of the PyPI package `mtcnn` 1.0.0; the image
pyramid, batching and geometry are ours. With the same settings the boxes are
the package's own (`tests/video/test_faces.py` holds that). We follow it in
details where other MTCNNs differ: area resampling, level sizes rounded down,
windows of 11 pixels that start at 2 * cell + 1, crops that are grey outside the
frame, and a suppression in which a box that is itself suppressed still
suppresses others (one matrix instead of a loop, fewer candidates for RNet).

We leave behind what are faults in it: its `min_face_size` does not shorten the
pyramid, so that levels smaller than PNet's window raise an error, which it
takes for "no faces" (any value above 25 at 640x360 finds nothing); any other
failure of a network reads as "no faces" too; images are float64; of several
candidates whose f32 probability is 1, its sort picks any, where we compare
logits. This last point is the only one that moves a box by more than .02 of
its IoU. Of the package's 120 faces in 142 frames of 34 clips, we have every one
with an IoU of at least .93 (111 to 114 above .99: its sort depends on the CPU)
and none more; with its ties copied, all have more than .98. Among other frames
of the same clips, one face of 84 had .87.
"""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from emorec import aligned
from emorec.config import DetectorConfig
from emorec.errors import VideoError
from emorec.video import candidates, regions
from emorec.video.candidates import BOX, FRAME, LOGIT
from emorec.video.engine import Engine
from emorec.video.levels import WINDOW, Levels

# Stride of PNet's window.
STRIDE = 2
# Most overlap that two boxes may have: within a pyramid level, across levels,
# after RNet (intersection over union), after ONet (over the smaller box).
NMS_LEVEL = 0.5
NMS_PNET = 0.7
NMS_RNET = 0.7
NMS_ONET = 0.7
# Most pixels of a batch as it is analysed, four frames of 720p: more need
# memory and gain no speed there.
BATCH_PIXELS = 4 << 20
# Levels that PNet looks at together: small ones do not fill the cores. The next
# is resized meanwhile.
LEVELS_AT_ONCE = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """The faces of one frame, best score first.

    Attributes:
        boxes: f32 [N, 4], x0, y0, x1, y1 in pixels of the original frame,
            clipped to it.
        scores: f32 [N], ONet's probability of a face, 0 to 1.
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


class FaceDetector:
    """Finds faces in frames.

    For use from any number of threads.

    Args:
        config: Sizes, thresholds and batch size.
        engine: What runs the networks; TensorFlow by default, which is
            imported only then.

    Attributes:
        engine: The same.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """

    def __init__(
        self,
        config: DetectorConfig | None = None,
        engine: Engine | None = None,
    ):
        if engine is None:
            from emorec.video.tensorflow_engine import TensorFlowEngine

            engine = TensorFlowEngine()
        self.config = config or DetectorConfig()
        self.engine = engine
        self._threads = concurrent.futures.ThreadPoolExecutor(
            min(4, os.cpu_count() or 1)
        )
        self._levels = concurrent.futures.ThreadPoolExecutor(LEVELS_AT_ONCE)
        self._pyramids = Levels(self.config, self._threads)

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Finds the faces of each frame.

        Args:
            frames: uint8 [H, W, 3] RGB each, all of one size.

        Returns:
            One `Detections` for each frame, in order. A frame's faces do not
            depend on the frames beside it. A frame with a side below 12 pixels
            has none.

        Raises:
            VideoError: A frame is not uint8 [H, W, 3], or the sizes differ.
        """
        _check(frames)
        found = []
        for part in self._batches(frames):
            found += self._batch(frames[part])
        return found

    def detect_near(
        self, frames: Sequence[np.ndarray], near: Sequence[np.ndarray]
    ) -> list[Detections | None]:
        """Finds the faces that show near known boxes.

        Args:
            frames: uint8 [H, W, 3] RGB each, all of one size.
            near: f32 [N, 4] for each frame: x0, y0, x1, y1 in pixels.

        Returns:
            One for each frame, in order: what `detect` finds near the boxes,
            and maybe more at the edge of what was looked at; or None where
            `detect` would hardly take longer.

        Raises:
            VideoError: A frame is not uint8 [H, W, 3], or the sizes differ.
        """
        _check(frames)
        found = []
        for part in self._batches(frames):
            found += self._batch_near(frames[part], near[part])
        return found

    def _batches(self, frames) -> list[slice]:
        """Returns which frames are analysed together."""
        if not len(frames):
            return []
        height, width = self._analysed(*frames[0].shape[:2])
        size = max(1, BATCH_PIXELS // (height * width))
        size = min(size, self.config.batch_frames)
        return [
            slice(start, start + size) for start in range(0, len(frames), size)
        ]

    def _analysed(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size of a frame after `input_width`."""
        target = self.config.input_width
        if not 0 < target < width:
            return height, width
        return max(1, round(height * target / width)), target

    def _batch(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        pixels, scale = self._reduced(frames)
        rows = self._cascade(pixels, self._proposals(pixels))
        return self._found(rows, scale, frames)

    def _batch_near(self, frames, near) -> list[Detections | None]:
        pixels, scale = self._reduced(frames)
        scales, sizes = self._pyramids.plan(*pixels.shape[1:3])
        tiles = regions.tiles(
            [boxes / scale for boxes in near], scales, sizes, WINDOW
        )
        crowded = regions.crowded(tiles, sizes, len(frames))
        tiles = tiles[~crowded[tiles[:, regions.FRAME]]]
        rows = self._cascade(pixels, self._proposals_near(pixels, tiles))
        found = self._found(rows, scale, frames)
        return [None if none else f for none, f in zip(crowded, found)]

    def _found(self, rows, scale, frames) -> list[Detections]:
        """Returns each frame's faces, of the cascade's last rows."""
        boxes = self._original(rows, scale, frames[0].shape)
        scores = candidates.probability(rows[:, LOGIT]).astype(np.float32)
        inside = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        found = []
        for i in range(len(frames)):
            # Rows are sorted by score within each frame.
            index = np.flatnonzero((rows[:, FRAME] == i) & inside)
            index = index[: self.config.max_faces]
            found.append(Detections(boxes[index], scores[index]))
        return found

    def _reduced(self, frames) -> tuple[np.ndarray, np.ndarray]:
        """Returns frames as they are analysed, and what boxes of it scale by.

        Returns:
            uint8 [N, h, w, 3], and f64 [4] for x0, y0, x1, y1.
        """
        height, width = frames[0].shape[:2]
        h, w = self._analysed(height, width)
        if w < width:
            pixels = self._resized(frames, h, w)
        else:
            pixels = aligned.empty((len(frames), h, w, 3), np.uint8)
            np.stack(frames, out=pixels)
        return pixels, np.array([width / w, height / h] * 2)

    def _original(self, rows, scale, shape) -> np.ndarray:
        """Returns boxes f32 [M, 4] in pixels of the original, clipped."""
        height, width = shape[:2]
        boxes = rows[:, BOX] * scale
        return np.clip(boxes, 0, [width, height] * 2).astype(np.float32)

    def _resized(
        self, frames: Sequence[np.ndarray], height: int, width: int
    ) -> np.ndarray:
        """Averages areas; returns [N, height, width, 3] of the frames' type.

        OpenCV resizes so small an image on one core, hence the threads.
        """
        shape = (len(frames), height, width, 3)
        resized = aligned.empty(shape, frames[0].dtype)

        def resize(i):
            cv2.resize(
                frames[i],
                (width, height),
                dst=resized[i],
                interpolation=cv2.INTER_AREA,
            )

        list(self._threads.map(resize, range(len(frames))))
        return resized

    def _cascade(self, frames: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Runs RNet and ONet on PNet's rows of uint8 [N, h, w, 3]."""
        _, rnet, onet = self.config.thresholds
        judge = functools.partial(
            self._judge, self.engine.load(frames), frames.shape[1:3]
        )
        rows = judge(self.engine.rnet, 24, candidates.squared(rows))
        rows = rows[rows[:, LOGIT] > candidates.logit(rnet)]
        rows = candidates.suppress(rows, NMS_RNET)
        rows = judge(self.engine.onet, 48, candidates.squared(rows))
        rows = rows[rows[:, LOGIT] > candidates.logit(onet)]
        return candidates.suppress(rows, NMS_ONET, by_smaller=True)

    def _proposals(self, frames: np.ndarray) -> np.ndarray:
        """Runs PNet on every level of the pyramid; returns rows."""
        jobs = [
            self._levels.submit(self._level, level, scale)
            for level, scale in self._pyramids.whole(frames)
        ]
        found = [job.result() for job in jobs]
        found = np.concatenate([candidates.empty(), *found])
        return candidates.suppress(found, NMS_PNET)

    def _proposals_near(self, frames, tiles) -> np.ndarray:
        """Runs PNet on tiles int [M, 4] of `regions`; returns rows."""
        scales, levels = self._pyramids.plan(*frames.shape[1:3])
        found = [candidates.empty()]
        sizes = regions.tile_sizes(levels)[tiles[:, regions.LEVEL]]
        strips = self._pyramids.strips(frames, tiles)
        for size in np.unique(sizes, axis=0):
            group = tiles[(sizes == size).all(1)]
            pixels = regions.cut(group, size, strips)
            found.append(self._windows(pixels, group, np.array(scales)))
        found = candidates.suppress(np.concatenate(found), NMS_LEVEL)
        found[:, FRAME] //= max(1, len(scales))
        return candidates.suppress(found, NMS_PNET)

    def _windows(self, pixels, tiles, scales) -> np.ndarray:
        """Runs PNet on tiles f32 [M, h, w, 3]; returns rows.

        Their frames are numbered frame * levels + level.
        """
        threshold = candidates.logit(self.config.thresholds[0])
        cells, offsets, logits = self.engine.pnet(pixels, threshold)
        mine = tiles[cells[:, 0]]
        level = mine[:, regions.LEVEL]
        number = mine[:, regions.FRAME] * len(scales) + level
        corner = cells[:, 1:] * STRIDE + mine[:, [regions.TOP, regions.LEFT]]
        return _rows(number, corner, offsets, logits, scales[level, None])

    def _level(self, level: np.ndarray, scale: float) -> np.ndarray:
        """Runs PNet on f32 [N, h, w, 3]; returns its best rows."""
        threshold = candidates.logit(self.config.thresholds[0])
        cells, offsets, logits = self.engine.pnet(level, threshold)
        corner = cells[:, 1:] * STRIDE
        rows = _rows(cells[:, 0], corner, offsets, logits, scale)
        return candidates.suppress(rows, NMS_LEVEL)

    def _judge(
        self,
        loaded: Any,
        shape: tuple[int, int],
        network: Callable,
        size: int,
        rows: np.ndarray,
    ) -> np.ndarray:
        """Rescores square candidates and moves them.

        Args:
            loaded: The frames, as the engine has them.
            shape: Their height and width.
            network: The engine's `rnet` or `onet`.
            size: Side of its crops.
            rows: The candidates.
        """
        if not len(rows):
            return rows
        # As the package does, by the size and not by the size - 1 that
        # TensorFlow means: crops lie up to a pixel off to the upper left.
        corners = rows[:, [2, 1, 4, 3]] / (shape * 2)
        crops = self.engine.crop(
            loaded,
            corners.astype(np.float32),
            rows[:, FRAME].astype(np.int32),
            size,
        )
        offsets, logits = network(crops)
        sides = rows[:, 3:5] - rows[:, 1:3] + 1
        moved = rows.copy()
        moved[:, BOX] += offsets * np.tile(sides, 2)
        moved[:, LOGIT] = logits
        return moved


def _rows(number, corner, offsets, logits, scale) -> np.ndarray:
    """Returns PNet's windows as candidates.

    Args:
        number: int [M], each one's frame.
        corner: int [M, 2], its first row and column in its level.
        offsets: f32 [M, 4], of PNet.
        logits: f32 [M], of PNet.
        scale: Of the level, or f64 [M, 1].
    """
    boxes = np.tile(corner[:, ::-1] + 1, 2) + offsets * (WINDOW - 1.0)
    boxes[:, 2:] += WINDOW - 1
    return np.column_stack([number, boxes / scale, logits])


def _check(frames: Sequence[np.ndarray]):
    for i, frame in enumerate(frames):
        shape = getattr(frame, "shape", None)
        if (
            getattr(frame, "dtype", None) != np.uint8
            or len(shape) != 3
            or shape[2] != 3
            or 0 in shape
        ):
            raise VideoError(
                f"`frames[{i}]` must be an RGB frame, uint8 [H, W, 3]. "
                f"Received: {getattr(frame, 'dtype', type(frame).__name__)} "
                f"{list(shape or ())}"
            )
        if shape != frames[0].shape:
            raise VideoError(
                "`frames` must be of one size; call `detect` once for each "
                f"size. Received: {list(frames[0].shape)} and, at {i}, "
                f"{list(shape)}"
            )
