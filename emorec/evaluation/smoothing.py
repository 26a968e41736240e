"""Probabilities over time, frame by frame, as they are or smoothed.

A model answers for a window, not for a frame. A frame's probabilities are
those of its window; where windows overlap, the mean of all that it lies in.
Smoothing is a mean over a centred span of time: it looks ahead as far as back,
so that nothing is moved, and a span that reaches over an end is shorter there.
Results are never smoothed; only what is drawn or tabled is, and there the
label of a point is the largest of the smoothed values.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from emorec.errors import UsageError

# An hour; more is a mistake of units.
MAX_SECONDS = 3600.0
# Seconds by which an edge may miss: times are float32.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """One person's probabilities over time.

    Attributes:
        video: The video as it was asked for.
        track: The person's number within the video.
        labels: The K labels.
        times: float64 [n], seconds, increasing; the frames with the face.
        boxes: float32 [n, 4], x0, y0, x1, y1 in pixels of the frame.
        probabilities: float64 [n, K]; each row sums to 1.
        attended: float64 [n], the mean weight that the attention of its
            window gives to this frame's surroundings (of the first window
            that it lies in); NaN where the system has none.
        seconds: By how much it was smoothed; 0 is not at all.
    """

    video: str
    track: int
    labels: tuple[str, ...]
    times: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray
    attended: np.ndarray
    seconds: float


def smooth(times: np.ndarray, values: np.ndarray, seconds: float) -> np.ndarray:
    """Replaces each value by the mean over `seconds` around its time.

    Args:
        times: [n], seconds, not decreasing; the steps need not be equal.
        values: [n, ...], such as probabilities [n, K].
        seconds: Length of the span, half of it before and half after; its
            ends belong to it. 0 returns the values as they are.

    Returns:
        float64 of the shape of `values`. Rows that sum to 1 still do.

    Raises:
        UsageError: `seconds` is not from 0 to `MAX_SECONDS`, or the times run
            backwards.
    """
    check(seconds)
    times = np.asarray(times, np.float64)
    values = np.asarray(values, np.float64)
    if len(times) != len(values):
        raise UsageError(
            "`times` and `values` must be equally many. Received: "
            f"{len(times)} and {len(values)}"
        )
    if (np.diff(times) < 0).any():
        raise UsageError("`times` must not run backwards")
    if not seconds or not len(times):
        return values
    half = seconds / 2 + _TOLERANCE
    first = np.searchsorted(times, times - half, "left")
    last = np.searchsorted(times, times + half, "right")
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), values.cumsum(0)])
    counts = (last - first).reshape(-1, *[1] * (values.ndim - 1))
    return (sums[last] - sums[first]) / counts


def check(seconds: float) -> None:
    """Raises `UsageError` unless a span is from 0 to `MAX_SECONDS`."""
    if not 0 <= seconds <= MAX_SECONDS:
        raise UsageError(
            f"smoothing must be by 0 to {MAX_SECONDS:.0f} seconds. "
            f"Received: {seconds}"
        )


def stated(seconds: float | None) -> str:
    """Returns the words that belong under a curve; "" if it is as it was."""
    if not seconds:
        return ""
    return f"smoothed: each point is the mean over {seconds:g} s around it"


def curves(results: Iterable, seconds: float = 0.0) -> list[Curve]:
    """Returns a curve for each person, in the order that they come in.

    Args:
        results: `emorec.results.Result`s; answers for whole videos, errors
            and videos without a face have no curve.
        seconds: See `smooth`.
    """
    people: dict[tuple, list] = {}
    for result in results:
        if result.answer is not None and result.clip is not None:
            key = result.video, result.track
            people.setdefault(key, []).append(result)
    return [_curve(windows, seconds) for windows in people.values()]


def _curve(windows, seconds) -> Curve:
    """Lays one person's windows over each other."""
    first = windows[0]
    counts = [len(w.clip.times) for w in windows]
    # The earliest window comes first, and `unique` gives the first of equals.
    times, chosen, place = np.unique(
        np.concatenate([w.clip.times for w in windows]),
        return_index=True,
        return_inverse=True,
    )
    own = np.stack([w.answer.probabilities for w in windows])
    summed = np.zeros((len(times), own.shape[1]))
    np.add.at(summed, place, np.repeat(own.astype(np.float64), counts, 0))
    probabilities = summed / np.bincount(place)[:, None]
    times = times.astype(np.float64)
    return Curve(
        video=first.video,
        track=first.track,
        labels=first.labels.names,
        times=times,
        boxes=np.concatenate([w.clip.boxes for w in windows])[chosen],
        probabilities=smooth(times, probabilities, seconds),
        attended=np.concatenate([_attended(w) for w in windows])[chosen],
        seconds=seconds,
    )


def _attended(window) -> np.ndarray:
    attention = window.answer.attention
    if attention is None:
        return np.full(len(window.clip.times), np.nan)
    return np.asarray(attention, np.float64).mean(0)
