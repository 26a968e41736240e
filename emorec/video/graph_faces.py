"""`emorec.video.faces` as plain TensorFlow code, for a graph that is served.

The same pyramid, thresholds, geometry and suppression around the same three
networks, and so the same boxes: `tests/video/test_graph_faces.py` holds that.
Boxes are f64 up to the end as there, because ties and thresholds decide which
candidates live.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from emorec.config import DetectorConfig
from emorec.video import candidates, graph_boxes, graph_resize
from emorec.video.candidates import BOX, FRAME, LOGIT
from emorec.video.engine import MEAN_PIXEL
from emorec.video.faces import (
    BATCH_PIXELS,
    NMS_LEVEL,
    NMS_ONET,
    NMS_PNET,
    NMS_RNET,
    STRIDE,
    WINDOW,
)
from emorec.video.mtcnn_nets import MtcnnNets

# Candidates that RNet or ONet judge at once: ONet's first maps are 270 KB
# each, and a picture may be made to hold thousands.
_JUDGED = 256


@dataclasses.dataclass(frozen=True)
class Faces:
    """The faces of some frames, frame by frame, best score first.

    Attributes:
        frames: int32 [M], each face's frame.
        boxes: f32 [M, 4], x0, y0, x1, y1 in pixels of the original frame,
            clipped to it.
        scores: f32 [M], ONet's probability of a face, 0 to 1.
    """

    frames: tf.Tensor
    boxes: tf.Tensor
    scores: tf.Tensor


class GraphDetector:
    """Finds faces in frames within a graph.

    Args:
        config: Sizes, thresholds and batch size.

    Raises:
        WeightsError: The weights of `mtcnn` cannot be loaded.
    """

    def __init__(self, config: DetectorConfig):
        self._config = config
        self._nets = MtcnnNets()

    def analysed(self, size: tf.Tensor) -> tf.Tensor:
        """Returns int32 [2], a frame's height and width after `input_width`.

        Args:
            size: int32 [2], its height and width.
        """
        target = self._config.input_width
        if not target:
            return size
        height, width = tf.unstack(size)
        # Whole numbers of float64, rounded half to even as Python does.
        reduced = tf.round(
            tf.cast(height * target, tf.float64) / tf.cast(width, tf.float64)
        )
        reduced = tf.maximum(tf.cast(reduced, tf.int32), 1)
        return tf.where(width > target, tf.stack([reduced, target]), size)

    def batch_frames(self, size: tf.Tensor) -> tf.Tensor:
        """Returns how many frames of `size` one `detect` should get."""
        pixels = tf.reduce_prod(tf.cast(self.analysed(size), tf.int64))
        most = tf.cast(tf.maximum(BATCH_PIXELS // pixels, 1), tf.int32)
        return tf.minimum(most, self._config.batch_frames)

    def reduced(self, image: tf.Tensor) -> tf.Tensor:
        """Returns a frame uint8 [H, W, 3] as it is analysed, [h, w, 3]."""
        size = tf.shape(image)[:2]
        wanted = self.analysed(size)
        return tf.cond(
            tf.reduce_all(wanted == size),
            lambda: image,
            lambda: graph_resize.shrink(image, wanted[0], wanted[1]),
        )

    def detect(self, frames: tf.Tensor, size: tf.Tensor) -> Faces:
        """Finds the faces of frames.

        Args:
            frames: uint8 [N, h, w, 3] as `reduced` gives them.
            size: int32 [2], height and width before that.

        Returns:
            The faces; those of a frame do not depend on the frames beside it.
        """
        rows = self._cascade(frames)
        size = tf.cast(size, tf.float64)
        analysed = tf.cast(tf.shape(frames)[1:3], tf.float64)
        boxes = rows[:, BOX] * tf.tile((size / analysed)[::-1], [2])
        boxes = tf.clip_by_value(boxes, 0, tf.tile(size[::-1], [2]))
        boxes = tf.cast(boxes, tf.float32)
        inside = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= 1, 1)
        rows = tf.boolean_mask(rows, inside)
        boxes = tf.boolean_mask(boxes, inside)
        index = tf.cast(rows[:, FRAME], tf.int32)
        best = _ranks(index, tf.shape(frames)[0]) < self._config.max_faces
        scores = tf.sigmoid(rows[:, LOGIT])
        return Faces(
            *(
                tf.boolean_mask(value, best)
                for value in (index, boxes, tf.cast(scores, tf.float32))
            )
        )

    def _cascade(self, frames):
        """Runs the three stages on uint8 [N, h, w, 3]; returns rows."""
        _, rnet, onet = self._config.thresholds
        rows = self._proposals(frames)
        rows = graph_boxes.squared(rows)
        rows = _judge(self._nets.rnet, 24, frames, rows, rnet)
        rows = graph_boxes.suppress(rows, NMS_RNET)
        rows = graph_boxes.squared(rows)
        rows = _judge(self._nets.onet, 48, frames, rows, onet)
        return graph_boxes.suppress(rows, NMS_ONET, by_smaller=True)

    def _proposals(self, frames):
        """Runs PNet on every level of the pyramid; returns rows."""
        shape = tf.shape(frames)
        columns = graph_resize.columns(frames)

        def at(scale):
            # A cast drops the fraction, as int() does.
            return tf.cast(tf.cast(shape[1:3], tf.float64) * scale, tf.int32)

        def level(scale, rows):
            height, width = tf.unstack(at(scale))
            pixels = graph_resize.area_mean(columns, shape, height, width)
            found = self._level(pixels, scale)
            return (
                scale * self._config.scale_factor,
                tf.concat([rows, found], 0),
            )

        first = tf.constant(WINDOW / self._config.min_face_size, tf.float64)
        _, rows = tf.while_loop(
            lambda scale, _: tf.reduce_min(at(scale)) >= WINDOW,
            level,
            (first, graph_boxes.empty()),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, 6])),
            # One level is resized while another is looked at.
            parallel_iterations=2,
        )
        return graph_boxes.suppress(rows, NMS_PNET)

    def _level(self, pixels, scale):
        """Runs PNet on one level, f32 [N, h, w, 3]; returns its best rows."""
        offsets, logits = self._nets.pnet(pixels)
        threshold = candidates.logit(self._config.thresholds[0])
        cells = tf.where(logits > threshold)
        corner = tf.cast(cells[:, 2:0:-1] * STRIDE + 1, tf.float64)
        moves = tf.gather_nd(offsets, cells) * (WINDOW - 1.0)
        boxes = tf.concat([corner, corner + (WINDOW - 1)], 1)
        boxes = (boxes + tf.cast(moves, tf.float64)) / scale
        rows = graph_boxes.rows_of(
            cells[:, 0], boxes, tf.gather_nd(logits, cells)
        )
        return graph_boxes.suppress(rows, NMS_LEVEL)


def _judge(
    network: Callable,
    size: int,
    frames: tf.Tensor,
    rows: tf.Tensor,
    threshold: float,
) -> tf.Tensor:
    """Rescores square candidates, moves them, and keeps the good ones."""
    height, width = tf.unstack(tf.cast(tf.shape(frames)[1:3], tf.float64))
    # By the size and not by the size - 1 that TensorFlow means: as
    # `FaceDetector` does.
    corners = tf.gather(rows, [2, 1, 4, 3], axis=1) / tf.stack(
        [height, width, height, width]
    )
    count = tf.shape(rows)[0]

    def body(low, kept):
        high = tf.minimum(low + _JUDGED, count)
        part = rows[low:high]
        crops = tf.image.crop_and_resize(
            frames,
            _filled(tf.cast(corners[low:high], tf.float32)),
            _filled(tf.cast(part[:, FRAME], tf.int32)),
            [size, size],
            extrapolation_value=MEAN_PIXEL,
        )[: high - low]
        offsets, logits = network(crops)
        sides = part[:, 3:5] - part[:, 1:3] + 1
        moves = tf.cast(offsets, tf.float64) * tf.tile(sides, [1, 2])
        good = logits > np.float32(candidates.logit(threshold))
        moved = graph_boxes.rows_of(
            part[:, FRAME], part[:, BOX] + moves, logits
        )
        return high, tf.concat([kept, tf.boolean_mask(moved, good)], 0)

    _, kept = tf.while_loop(
        lambda low, _: low < count,
        body,
        (0, graph_boxes.empty()),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, 6])),
        parallel_iterations=1,
    )
    return kept


def _filled(rows):
    """Returns rows [n, ...] as [_JUDGED, ...], with zeros behind them.

    TensorFlow's optimizer cannot tell what crops of an unknown number cost,
    and says so in the log of every process that loads the graph.
    """
    more = [[0, _JUDGED - tf.shape(rows)[0]], *[[0, 0]] * (rows.shape.rank - 1)]
    return tf.ensure_shape(tf.pad(rows, more), (_JUDGED, *rows.shape[1:]))


def _ranks(index, count):
    """Returns each row's number within its frame; rows lie frame by frame."""
    per_frame = tf.math.unsorted_segment_sum(tf.ones_like(index), index, count)
    starts = tf.cumsum(per_frame, exclusive=True)
    return tf.range(tf.shape(index)[0]) - tf.gather(starts, index)
