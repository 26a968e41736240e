"""Candidate boxes of MTCNN: rows f64 [M, 6] and what is done to them.

Columns: frame, x0, y0, x1, y1 in pixels, logit of the probability of a face.
Logits, because the f32 probabilities of good candidates are all 1: ordering
by them would be left to the sort.
"""

import numpy as np

FRAME, BOX, LOGIT = 0, slice(1, 5), 5
# Boxes compared with all better ones at a time; bounds the memory.
BLOCK = 256


def empty() -> np.ndarray:
    """Returns no candidates."""
    return np.zeros((0, 6))


def logit(probability: float) -> float:
    """Returns log(p / (1 - p)) of 0 < p < 1."""
    return float(np.log(probability / (1 - probability)))


def probability(logits: np.ndarray) -> np.ndarray:
    """Returns the inverse of `logit`."""
    return 1 / (1 + np.exp(-logits))


def squared(rows: np.ndarray) -> np.ndarray:
    """Extends the shorter side of each box about its centre."""
    result = rows.copy()
    sides = rows[:, 3:5] - rows[:, 1:3]
    longer = sides.max(1, keepdims=True)
    result[:, 1:3] += (sides - longer) / 2
    result[:, 3:5] = result[:, 1:3] + longer
    return result


def suppress(
    rows: np.ndarray, threshold: float, by_smaller: bool = False
) -> np.ndarray:
    """Drops each box that overlaps a better one of its frame too much.

    A box that is dropped drops others too, as in the package `mtcnn` and
    unlike the greedy method.

    Args:
        rows: f64 [M, 6].
        threshold: Most overlap, 0 to 1.
        by_smaller: Measure the overlap against the smaller box, not the union.

    Returns:
        f64 [K, 6], sorted by frame, then by logit, highest first.
    """
    rows = rows[_best_first(rows)]
    _, starts = np.unique(rows[:, FRAME], return_index=True)
    keep = np.ones(len(rows), bool)
    for start, end in zip(starts, [*starts[1:], len(rows)]):
        for low in range(start, end, BLOCK):
            high = min(low + BLOCK, end)
            overlap = _overlaps(
                rows[start:high, BOX], rows[low:high, BOX], by_smaller
            )
            better = np.triu(overlap > threshold, 1 - (low - start))
            keep[low:high] = ~better.any(0)
    return rows[keep]


def _best_first(rows: np.ndarray) -> np.ndarray:
    """Returns the order of rows by frame, then by logit, highest first.

    A test puts the package's order in its place, which is that of f32
    probabilities and arbitrary among the equal ones.
    """
    return np.lexsort((-rows[:, LOGIT], rows[:, FRAME]))


def _overlaps(a: np.ndarray, b: np.ndarray, by_smaller: bool) -> np.ndarray:
    """Returns the overlap of each box of `a` with each of `b`, 0 to 1."""
    # An axis at a time: reductions over axes of 2 take ten times longer.
    common = _shared(a, b, 0)
    common *= _shared(a, b, 1)
    area_a = ((a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1]))[:, None]
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    if by_smaller:
        return common / np.minimum(area_a, area_b)
    whole = area_a + area_b
    whole -= common
    common /= whole
    return common


def _shared(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Returns the length along an axis that boxes share, [len(a), len(b)]."""
    length = np.minimum(a[:, 2 + axis, None], b[:, 2 + axis])
    length -= np.maximum(a[:, axis, None], b[:, axis])
    return np.maximum(length, 0, out=length)
