"""One answer a person for a whole video, out of its windows."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from emorec.answers import Answer, Summary
from emorec.results import Result


class WholeVideo:
    """Puts the windows of one video together, one answer a person.

    A person's probabilities are the mean over their windows, weighted by the
    frames with their face, as `emorec evaluate` does for a row of a manifest.
    It keeps sums alone, however long the video is.

    Args:
        main: Whether the windows are of whoever is seen most in each: then
            they are one answer, under the first one's number.
    """

    def __init__(self, main: bool = False):
        self._main = main
        self._people: dict[int, _Person] = {}

    def add(self, result: Result) -> None:
        """Adds a window; windows come in the order of their starts."""
        if result.answer is not None and not result.whole:
            track = result.track
            if self._main and self._people:
                (track,) = self._people
            if track not in self._people:
                self._people[track] = _Person(result)
            self._people[track].add(result)

    def results(self, frames: int) -> list[Result]:
        """Returns an answer a person, by the person's number.

        Args:
            frames: Frames sampled in the whole video, each counted once.
        """
        return [self._people[t].result(frames) for t in sorted(self._people)]

    @property
    def most_windows(self) -> int:
        """Windows of the person that has most."""
        return max((p.windows for p in self._people.values()), default=0)


class _Person:
    """Sums over one person's windows."""

    def __init__(self, first: Result):
        self._first = first
        self._sum = np.zeros(len(first.labels), np.float64)
        self._weight = 0
        self._seen = 0  # Frames, each once.
        self._last = -np.inf  # Time of the last one.
        self._end = first.end
        self.windows = 0

    def add(self, result):
        count = result.frames_with_face
        self._sum += count * result.answer.probabilities.astype(np.float64)
        self._weight += count
        times = result.clip.times
        self._seen += int((times > self._last).sum())
        self._last = max(self._last, times[-1])
        self._end = max(self._end, result.end)
        self.windows += 1

    def result(self, frames):
        first = self._first
        mean = (self._sum / self._weight).astype(np.float32)
        return dataclasses.replace(
            first,
            clip=None,
            answer=Answer(mean, None),
            warning=None,
            summary=Summary(
                track=first.track,
                start=first.start,
                end=self._end,
                frames=frames,
                frames_with_face=self._seen,
                windows=self.windows,
                frame_size=first.clip.frame_size,
            ),
        )


def with_wholes(
    windows: Iterable[Result],
    frames: Callable[[], int],
    *,
    always: bool = False,
    main: bool = False,
) -> Iterator[Result]:
    """Yields the windows of one video, then the answers for the whole of it.

    Args:
        windows: Its results, in order.
        frames: Called at their end: the frames sampled, each counted once.
        always: Whether a person of one window gets an answer for the whole
            too, that says the same.
        main: See `WholeVideo`.
    """
    whole = WholeVideo(main)
    for result in windows:
        whole.add(result)
        yield result
    for result in whole.results(frames()):
        if always or result.windows > 1:
            yield result
