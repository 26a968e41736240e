"""Answers over time, per person: what timelines, reports and videos draw.

A window of a video has one answer a person. So the "curve" of a label is made
of steps: an answer holds for its window. Where windows overlap (a stride
shorter than the window), the mean of theirs holds, as in the tables of
`emorec.results`. No answer is spread over time without a window.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from emorec.labels import LabelSet

# Frames further apart than so many sampling steps are not one appearance.
_GAP_STEPS = 1.5
# Times nearer than this are one: they are sums of floats.
_LEAST_S = 1e-3


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of time in which one answer holds.

    Attributes:
        start: Seconds.
        end: Seconds, after `start`.
        probabilities: float32 [K], the model's own.
        label: The most probable label.
        confidence: The label's probability, calibrated where the model is.
        uncertain: Whether that is below the model's threshold.
    """

    start: float
    end: float
    probabilities: np.ndarray
    label: str
    confidence: float
    uncertain: bool


@dataclasses.dataclass(frozen=True)
class Person:
    """One person of one video.

    Attributes:
        video: The video as it was asked for.
        track: The person's number in it.
        labels: The label set.
        spans: In order of time, not overlapping; there may be gaps.
        faces: (first, last) seconds of each stretch with a face, in order.
        frames: Frames analysed in the whole video where the results say so,
            else in the person's windows; of windows that overlap only the
            first counts.
        frames_with_face: Those of them in which the person has a face.
        windows: How many there are.
        whole: The answer over all windows: that of the results where they
            have one, else the mean weighted by frames with a face.
    """

    video: str
    track: int
    labels: LabelSet
    spans: tuple[Span, ...]
    faces: tuple[tuple[float, float], ...]
    frames: int
    frames_with_face: int
    windows: int
    whole: Span

    def at(self, time: float) -> Span | None:
        """Returns the answer that holds at `time`, or None."""
        starts = [span.start for span in self.spans]
        i = int(np.searchsorted(starts, time, side="right")) - 1
        if i < 0 or time > self.spans[i].end:
            return None
        return self.spans[i]


@dataclasses.dataclass
class _Window:
    start: float
    end: float
    probabilities: np.ndarray
    runs: list[tuple[float, float]]
    frames: int
    with_face: int


class Curves:
    """Collects results, one at a time, and keeps no picture of them."""

    def __init__(self):
        self._windows: dict[tuple[str, int], list[_Window]] = {}
        # Of each person a result without its pictures.
        self._last: dict[tuple[str, int], Any] = {}
        # Frames of the whole videos, where answers over them tell.
        self._frames: dict[str, int] = {}

    def add(self, result) -> None:
        """Adds a `Result`; those without an answer are passed over."""
        if result.answer is None:
            return
        key = (result.video, result.track)
        if not result.whole and not len(result.clip.times):
            return
        if result.whole:
            self._frames[result.video] = result.frames
        else:
            self._windows.setdefault(key, []).append(_window(result))
            result = dataclasses.replace(result, clip=None)
        self._last[key] = result

    def people(self) -> list[Person]:
        """Returns all persons, in the order of their first results."""
        return [
            _person(key, self._last[key], windows, self._frames.get(key[0]))
            for key, windows in self._windows.items()
        ]


def curves(results: Iterable) -> list[Person]:
    """Returns the persons of results; see `Curves.add`."""
    collected = Curves()
    for result in results:
        collected.add(result)
    return collected.people()


def step_of(clip) -> float:
    """Returns the seconds between two analysed frames of a clip."""
    return max(clip.end - clip.start, _LEAST_S) / max(clip.frames_total, 1)


def _window(result) -> _Window:
    clip = result.clip
    # Later than its start even where a whole video is one frame.
    end = max(clip.end, clip.start + _LEAST_S)
    times = np.asarray(clip.times, np.float64)
    runs = _runs(times, step_of(clip), end)
    if clip.frames_with_face == clip.frames_total:
        # Of a slow or uneven video steps may be long, and none is a gap.
        runs = [(runs[0][0], runs[-1][1])]
    return _Window(
        start=clip.start,
        end=end,
        probabilities=np.asarray(result.answer.probabilities, np.float64),
        runs=runs,
        frames=clip.frames_total,
        with_face=clip.frames_with_face,
    )


def _runs(times: np.ndarray, step: float, end: float):
    """Joins frames one after the other; each is shown for one step."""
    breaks = np.flatnonzero(np.diff(times) > _GAP_STEPS * step)
    firsts = times[np.r_[0, breaks + 1]]
    lasts = times[np.r_[breaks, len(times) - 1]]
    return [
        (float(a), float(max(min(b + step, end), a + _LEAST_S)))
        for a, b in zip(firsts, lasts)
    ]


def _person(key, result, windows, of_video: int | None) -> Person:
    windows = sorted(windows, key=lambda w: (w.start, w.end))
    frames = with_face = 0
    counted = -np.inf
    for window in windows:
        if window.start >= counted - _LEAST_S:
            frames += window.frames
            with_face += window.with_face
            counted = window.end
    mean = np.average(
        [w.probabilities for w in windows],
        axis=0,
        weights=[w.with_face for w in windows],
    )
    if result.whole:
        with_face = result.frames_with_face
        mean = np.asarray(result.answer.probabilities, np.float64)
    end = max(w.end for w in windows)
    video, track = key
    return Person(
        video=video,
        track=track,
        labels=result.labels,
        spans=tuple(_spans(windows, result)),
        faces=tuple(_joined([run for w in windows for run in w.runs])),
        frames=of_video or frames,
        frames_with_face=with_face,
        windows=len(windows),
        whole=_span(windows[0].start, end, mean, result),
    )


def _span(start: float, end: float, mean: np.ndarray, result) -> Span:
    confidence = float(result.calibration.apply(mean).max())
    return Span(
        start=start,
        end=end,
        probabilities=mean.astype(np.float32),
        label=result.labels.names[int(mean.argmax())],
        confidence=confidence,
        uncertain=confidence < result.calibration.threshold,
    )


def _spans(windows: Sequence[_Window], result) -> Iterator[Span]:
    """Yields the stretches between all borders of windows, with their means."""
    edges = np.unique([t for w in windows for t in (w.start, w.end)])
    # Sums of floats: 2.0 and 2.0000001 are one border.
    edges = edges[np.r_[True, np.diff(edges) >= _LEAST_S / 2]]
    sums = np.zeros((len(edges), len(result.labels.names)))
    counts = np.zeros(len(edges), int)
    for window in windows:
        first, last = (
            int(np.abs(edges - time).argmin())
            for time in (window.start, window.end)
        )
        sums[first:last] += window.probabilities
        counts[first:last] += 1
    for i in np.flatnonzero(counts):
        yield _span(
            float(edges[i]), float(edges[i + 1]), sums[i] / counts[i], result
        )


def _joined(runs):
    """Merges stretches that overlap or touch, a hair aside."""
    merged = []
    for first, last in sorted(runs):
        if merged and first <= merged[-1][1] + 0.02:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
