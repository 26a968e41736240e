"""`emorec.video.candidates` as plain TensorFlow code.

Rows f64 [M, 6] mean the same: frame, x0, y0, x1, y1, logit.
"""

import tensorflow as tf

from emorec.video.candidates import BLOCK, BOX, FRAME, LOGIT


def empty() -> tf.Tensor:
    """Returns no candidates."""
    return tf.zeros((0, 6), tf.float64)


def rows_of(
    frames: tf.Tensor, boxes: tf.Tensor, logits: tf.Tensor
) -> tf.Tensor:
    """Returns rows of [M] frames, f64 [M, 4] boxes and f32 [M] logits."""
    columns = [tf.cast(c, tf.float64)[:, None] for c in (frames, logits)]
    return tf.concat([columns[0], boxes, columns[1]], 1)


def squared(rows: tf.Tensor) -> tf.Tensor:
    """Extends the shorter side of each box about its centre."""
    sides = rows[:, 3:5] - rows[:, 1:3]
    longer = tf.reduce_max(sides, 1, keepdims=True)
    corner = rows[:, 1:3] + (sides - longer) / 2
    return rows_of(
        rows[:, FRAME],
        tf.concat([corner, corner + longer], 1),
        rows[:, LOGIT],
    )


def suppress(
    rows: tf.Tensor, threshold: float, by_smaller: bool = False
) -> tf.Tensor:
    """Drops each box that overlaps a better one of its frame too much.

    A box that is dropped drops others too; see `candidates.suppress`.

    Args:
        rows: f64 [M, 6].
        threshold: Most overlap, 0 to 1.
        by_smaller: Measure the overlap against the smaller box, not the union.

    Returns:
        f64 [K, 6], sorted by frame, then by logit, highest first.
    """
    rows = tf.gather(
        rows, tf.argsort(rows[:, LOGIT], direction="DESCENDING", stable=True)
    )
    rows = tf.gather(rows, tf.argsort(rows[:, FRAME], stable=True))
    count = tf.shape(rows)[0]
    frames = rows[:, FRAME]

    # Blocks bound the memory: M x M overlaps of a crowd would need gigabytes.
    def body(low, keep):
        high = tf.minimum(low + BLOCK, count)
        start = tf.reduce_sum(tf.cast(frames < frames[low], tf.int32))
        overlap = _overlaps(rows[start:high, BOX], rows[low:high, BOX])
        better = (
            (overlap > threshold)
            & (frames[start:high, None] == frames[None, low:high])
            & (tf.range(start, high)[:, None] < tf.range(low, high)[None])
        )
        return high, tf.concat([keep, ~tf.reduce_any(better, 0)], 0)

    def _overlaps(a, b):
        common, area_a, area_b = intersections(a, b)
        if by_smaller:
            return common / tf.minimum(area_a, area_b)
        return common / (area_a + area_b - common)

    _, keep = tf.while_loop(
        lambda low, _: low < count,
        body,
        (0, tf.zeros((0,), tf.bool)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    return tf.boolean_mask(rows, keep)


def intersections(
    a: tf.Tensor, b: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns what boxes have in common, and their areas.

    Args:
        a: f64 [N, 4], x0, y0, x1, y1.
        b: f64 [M, 4].

    Returns:
        Common areas [N, M], areas of `a` [N, 1] and of `b` [1, M].
    """
    low = tf.maximum(a[:, None, :2], b[None, :, :2])
    high = tf.minimum(a[:, None, 2:], b[None, :, 2:])
    common = tf.reduce_prod(tf.maximum(high - low, 0), 2)
    area_a = tf.reduce_prod(a[:, 2:] - a[:, :2], 1)[:, None]
    area_b = tf.reduce_prod(b[:, 2:] - b[:, :2], 1)[None]
    return common, area_a, area_b
