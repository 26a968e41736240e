"""`emorec.video.tracks` and the choice of a clip's person, in a graph.

The same greedy rule as `Tracker`, and `ClipBuilder`'s rules for a video of one
window and `people=main`.
"""

import tensorflow as tf

from emorec.config import TrackConfig
from emorec.video import graph_boxes
from emorec.video.graph_faces import Faces

_Live = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def track(
    times: tf.Tensor, faces: Faces, config: TrackConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gives each face the id of its person; ids count up from 0.

    Args:
        times: f64 [T], seconds of the frames; must not run backwards.
        faces: The faces of these frames.
        config: When two boxes are one person's.

    Returns:
        Ids int32 [M], and how many there are.
    """
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(faces.frames), faces.frames, tf.shape(times)[0]
    )
    ends = tf.cumsum(counts)
    # Frames without a face only let time pass.
    present = tf.cast(tf.where(counts > 0)[:, 0], tf.int32)

    def body(i, next_id, ids, live):
        frame = present[i]
        boxes = faces.boxes[ends[frame] - counts[frame] : ends[frame]]
        found, live, next_id = _update(
            times[frame], boxes, live, next_id, config
        )
        return i + 1, next_id, tf.concat([ids, found], 0), live

    none = tf.zeros((0,), tf.int32)
    live = (none, tf.zeros((0, 4)), tf.zeros((0,), tf.float64))
    many = tf.TensorShape([None])
    _, next_id, ids, _ = tf.while_loop(
        lambda i, *_: i < tf.shape(present)[0],
        body,
        (0, 0, none, live),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([]),
            many,
            (many, tf.TensorShape([None, 4]), many),
        ),
    )
    return ids, next_id


def _update(time, boxes, live: _Live, next_id, config):
    """One step of `Tracker.update`; `live` are ids, boxes and times."""
    # 1 ms, as in `Tracker`.
    alive = time - live[2] <= config.max_gap_s + 1e-3
    ids, places, seen = (tf.boolean_mask(value, alive) for value in live)
    owner = _match(places, boxes, config.min_iou)
    new = owner < 0
    numbers = next_id + tf.cumsum(tf.cast(new, tf.int32), exclusive=True)
    # One more, which a new person reads: there may be nobody yet.
    known = tf.gather(
        tf.concat([ids, [-1]], 0), tf.where(new, tf.size(ids), owner)
    )
    found = tf.where(new, numbers, known)
    old = tf.boolean_mask(owner, ~new)[:, None]
    places = tf.tensor_scatter_nd_update(
        places, old, tf.boolean_mask(boxes, ~new)
    )
    seen = tf.tensor_scatter_nd_update(
        seen, old, tf.fill(tf.shape(old)[:1], time)
    )
    added = tf.boolean_mask(found, new)
    live = (
        tf.concat([ids, added], 0),
        tf.concat([places, tf.boolean_mask(boxes, new)], 0),
        tf.concat([seen, tf.fill(tf.shape(added), time)], 0),
    )
    return found, live, next_id + tf.size(added)


def _match(places, boxes, min_iou):
    """Returns int32 [n], each box's index among `places` f32 [L, 4], or -1."""
    common, area_a, area_b = graph_boxes.intersections(
        tf.cast(places, tf.float64), tf.cast(boxes, tf.float64)
    )
    # Faces have an area: the detector gives none below a pixel.
    ious = common / (area_a + area_b - common)
    tracks = tf.range(tf.shape(places)[0])[:, None]
    faces = tf.range(tf.shape(boxes)[0])

    def body(ious, owner):
        # The first of equals: the older track, then the earlier box.
        best = tf.where(ious == tf.reduce_max(ious))[0]
        t, i = tf.unstack(tf.cast(best, tf.int32))
        return (
            tf.where(
                (tracks == t) | (faces == i), tf.cast(-1, ious.dtype), ious
            ),
            tf.where(faces == i, t, owner),
        )

    _, owner = tf.while_loop(
        # The largest of none is minus infinity.
        lambda ious, _: tf.reduce_max(ious) >= min_iou,
        body,
        (ious, tf.fill(tf.shape(faces), -1)),
    )
    return owner


def main_person(
    faces: Faces,
    ids: tf.Tensor,
    people: tf.Tensor,
    frames_total: tf.Tensor,
    config: TrackConfig,
) -> tf.Tensor:
    """Chooses the person whose boxes cover most among those who are kept.

    Args:
        faces: The faces of one video of one window.
        ids: int32 [M], from `track`.
        people: int32 scalar, how many ids there are.
        frames_total: int32 scalar, frames with a face or without.
        config: `min_frames`, of which a shorter video wants no more than it
            has, and `min_score`.

    Returns:
        bool [M], the faces of that person; all False where nobody is kept.
    """
    sides = tf.cast(faces.boxes, tf.float64)
    areas = tf.reduce_prod(sides[:, 2:] - sides[:, :2], 1)
    covered = tf.math.unsorted_segment_sum(areas, ids, people)
    best = tf.math.unsorted_segment_max(faces.scores, ids, people)
    seen = tf.math.unsorted_segment_sum(tf.ones_like(ids), ids, people)
    least = tf.minimum(max(1, config.min_frames), frames_total)
    kept = (seen >= least) & (tf.cast(best, tf.float64) >= config.min_score)
    covered = tf.where(kept, covered, tf.cast(-1, covered.dtype))
    most = kept & (covered == tf.reduce_max(covered))
    # Ties go to the lowest id; there may be nobody.
    main = tf.cast(tf.where(most)[:1, 0], tf.int32)
    return tf.reduce_any(ids[:, None] == main, 1)
