"""A person's probabilities over time as steps, as charts draw them.

Bounded: of a long video, stretches of time are put together.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from emorec.evaluation import smoothing
from emorec.video.curves import Person

# Steps into which a smoothed span of time is cut.
_PER_SPAN = 12
# Seconds between two ticks of an axis.
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    """Probabilities that hold for stretches of time.

    Attributes:
        starts: float64 [n], seconds, increasing.
        ends: float64 [n], seconds; a stretch ends where the next one starts,
            or before.
        values: float64 [n, K].
        uncertain: bool [n].
    """

    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray
    uncertain: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """int [n]: the most probable label."""
        return self.values.argmax(1)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns borders [m + 1], and for each stretch its step, or -1.

        Stretches of -1 are the gaps between the steps.
        """
        edges, index = [self.starts[0]], []
        for i, (start, end) in enumerate(zip(self.starts, self.ends)):
            if start > edges[-1] + 1e-6:
                edges.append(start)
                index.append(-1)
            edges.append(end)
            index.append(i)
        return np.array(edges), np.array(index)


def steps(
    person: Person, smooth: float | None = None, most: int = 2000
) -> Steps:
    """Returns a person's steps.

    Args:
        person: The person.
        smooth: Seconds of the mean that each point is made by
            (`smoothing.smooth`); None or 0 for none.
        most: Most steps.

    Raises:
        UsageError: `smooth` is out of its bounds.
    """
    raw = Steps(
        starts=np.array([s.start for s in person.spans]),
        ends=np.array([s.end for s in person.spans]),
        values=np.array([s.probabilities for s in person.spans], np.float64),
        uncertain=np.array([s.uncertain for s in person.spans]),
    )
    smoothing.check(smooth or 0)
    if smooth:
        # What is lost by the cut is less than the smoothing loses.
        raw = _resampled(raw, min(most, _cells(raw, smooth / _PER_SPAN)))
        middles = (raw.starts + raw.ends) / 2
        values = smoothing.smooth(middles, raw.values, smooth)
        raw = dataclasses.replace(raw, values=values)
    if len(raw.starts) > most:
        raw = _resampled(raw, most)
    return raw


def _cells(raw: Steps, width: float) -> int:
    return max(1, int(np.ceil((raw.ends[-1] - raw.starts[0]) / width)))


def _resampled(raw: Steps, count: int) -> Steps:
    """Puts steps into `count` cells of equal length, by their means.

    A cell no step lies in is left out.
    """
    edges = np.linspace(raw.starts[0], raw.ends[-1], count + 1)
    width = edges[1] - edges[0]
    first = ((raw.starts - edges[0]) / width).astype(int).clip(0, count - 1)
    last = ((raw.ends - edges[0]) / width).astype(int).clip(0, count - 1)
    repeats = last - first + 1
    index = np.repeat(np.arange(len(first)), repeats)
    within = np.arange(len(index)) - np.repeat(
        repeats.cumsum() - repeats, repeats
    )
    cell = first[index] + within
    shared = np.minimum(raw.ends[index], edges[cell + 1])
    shared = (shared - np.maximum(raw.starts[index], edges[cell])).clip(0)
    weights = np.bincount(cell, shared, count)
    values = np.zeros((count, raw.values.shape[1]))
    np.add.at(values, cell, shared[:, None] * raw.values[index])
    uncertain = np.bincount(cell, shared * raw.uncertain[index], count)
    kept = weights > 1e-3 * width
    weights = weights[kept]
    return Steps(
        starts=edges[:-1][kept],
        ends=edges[1:][kept],
        values=values[kept] / weights[:, None],
        uncertain=uncertain[kept] > weights / 2,
    )


def top_of(all_steps: Sequence[Steps]) -> float:
    """Returns the probability at a row's full height: .2, .4, ... or 1."""
    highest = max(float(s.values.max()) for s in all_steps)
    return min(1.0, max(0.2, np.ceil(highest * 5 - 1e-6) / 5))


def chosen_rows(all_steps: Sequence[Steps], most: int) -> list[int]:
    """Returns the labels that get a row, in the label set's order."""
    highest = np.max([s.values.max(0) for s in all_steps], axis=0)
    return sorted(np.argsort(-highest, kind="stable")[:most].tolist())


def ticks(first: float, last: float, most: int) -> list[tuple[float, str]]:
    """Returns round times below an axis, about `most` of them.

    Args:
        first: Seconds.
        last: Seconds, after `first`.
        most: How many there is room for.

    Returns:
        (seconds, text) in order of time.
    """
    length = last - first
    fitting = (t for t in _TICKS if length / t <= most)
    step = next(fitting, length / most)
    times = np.arange(np.ceil(first / step - 1e-6), last / step + 1e-6) * step
    # No "-0 s".
    return [(float(abs(t)), clock(float(abs(t)), step)) for t in times]


def moment(time: float, digits: int) -> str:
    """Returns a time as `12.50 s` or, from a minute on, `3:05.5`.

    Args:
        time: Seconds.
        digits: Of a part of a second; those at the end that are 0 are left
            out from a minute on.
    """
    time = round(time, digits)
    if time < 60:
        return f"{time:.{digits}f} s"
    part = f"{time % 1:.{digits}f}".rstrip("0")[1:]
    return clock(int(time)) + (part if len(part) > 1 else "")


def clock(time: float, step: float = 1) -> str:
    """Returns a time as `12 s` or, from a minute on, `3:05`."""
    if time < 60 or step < 1:
        return f"{time:.1f} s" if step < 1 else f"{time:.0f} s"
    minutes, seconds = divmod(round(time), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"
