"""Boxes joined over time into one track per person.

Online and greedy: each frame's boxes are matched with the latest box of each
live track by intersection over union, best pair first. A frame's answer
depends on the frames before it and on nothing else, so any batch size and any
number of workers give the same tracks.
"""

import dataclasses

import numpy as np

from emorec.config import TrackConfig


@dataclasses.dataclass
class _Track:
    id: int
    box: np.ndarray
    time: float


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of each pair of boxes.

    Args:
        a: float [N, 4], x0, y0, x1, y1.
        b: float [M, 4].

    Returns:
        float64 [N, M], 0 to 1; 0 where a box has no area.
    """
    a = np.asarray(a, np.float64).reshape(-1, 4)
    b = np.asarray(b, np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.clip(high - low, 0, None), axis=-1)
    total = _area(a)[:, None] + _area(b)[None, :] - overlap
    return np.divide(
        overlap, total, out=np.zeros_like(overlap), where=total > 0
    )


def match(a: np.ndarray, b: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Pairs boxes that overlap, the best pair first, each box once at most.

    Args:
        a: float [N, 4], x0, y0, x1, y1.
        b: float [M, 4].
        least: Least intersection over union of a pair.

    Returns:
        Indices into `a` and `b`. Of equal overlaps the earlier of `a` is
        taken, then the earlier of `b`.
    """
    ious = iou_matrix(a, b)
    pairs, used_a, used_b = [], set(), set()
    # A stable sort, for that order.
    for flat in np.argsort(-ious, axis=None, kind="stable"):
        i, j = divmod(int(flat), ious.shape[1])
        if ious[i, j] < least:
            break
        if i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            pairs.append((i, j))
    return pairs


def _area(boxes):
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1)


class Tracker:
    """Gives each box the id of its person; ids count up from 0."""

    def __init__(self, config: TrackConfig):
        self._config = config
        self._live: list[_Track] = []
        self._next_id = 0

    def update(self, time: float, boxes: np.ndarray) -> list[int]:
        """Returns one track id for each box of the frame at `time`.

        Args:
            time: Seconds; must not run backwards.
            boxes: float [N, 4], in any order; the order decides only which id
                a new person gets.
        """
        self._live = [
            t
            for t in self._live
            # 1 ms: timestamps of a stream are rounded to its time base.
            if time - t.time <= self._config.max_gap_s + 1e-3
        ]
        ids = self._match(boxes)
        by_id = {t.id: t for t in self._live}
        for i, box in enumerate(boxes):
            if ids[i] is None:
                ids[i] = self._next_id
                self._next_id += 1
                self._live.append(_Track(ids[i], box, time))
            else:
                track = by_id[ids[i]]
                track.box, track.time = box, time
        return ids

    def _match(self, boxes):
        ids: list[int | None] = [None] * len(boxes)
        if not len(boxes) or not self._live:
            return ids
        last = np.stack([t.box for t in self._live])
        for t, i in match(last, boxes, self._config.min_iou):
            ids[i] = self._live[t].id
        return ids
