"""What a prediction gives: answers, results, and lists of them.

A `Result` is one person in one window of a video, or one person over all
windows of it (`whole`), or a video's error. `Results` is a list of them with
what one does with a list: tables, pictures, one answer a person.

Confidence: the probability of the label. Where the model's description has a
calibration (a temperature that was fitted on validation clips) it is the
calibrated one, and about that share of such answers was right there. Where it
has none it is what the network says of itself, which is mostly too much;
`calibrated` tells which. `probabilities` are always the network's own.
"""

import dataclasses
import functools
import os
from collections.abc import Iterable

import numpy as np

from emorec.answers import (
    NO_FACE,
    UNCALIBRATED,
    UNCERTAIN_BELOW,
    Answer,
    Calibration,
    Summary,
)
from emorec.labels import LabelSet
from emorec.video.clip import Clip
from emorec.video.container import shown

__all__ = [
    "NO_FACE",
    "UNCALIBRATED",
    "UNCERTAIN_BELOW",
    "Answer",
    "Calibration",
    "Result",
    "Results",
    "Summary",
]


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """One person in one clip of one video, or in the whole of it.

    Attributes:
        video: The video as it was asked for.
        clip: The clip; None where the video could not be read, and in an
            answer for a whole video.
        answer: The answer; None where there is no face or an error.
        labels: The label set.
        error: Why the video could not be read, else None.
        warning: What of the video could not be read, on its last result.
        summary: What was put together, in an answer for a whole video.
        calibration: How confidence is told.
    """

    video: str
    clip: Clip | None
    answer: Answer | None
    labels: LabelSet
    error: str | None = None
    warning: str | None = None
    summary: Summary | None = None
    calibration: Calibration = UNCALIBRATED

    def __repr__(self) -> str:
        """One line, without pictures: it is shown and saved in notebooks."""
        if self.error is not None:
            return f"Result({self.error})"
        where = f"{shown(self.video)}, {self.start:.2f}-{self.end:.2f} s"
        if self.answer is None:
            return f"Result({where}, {NO_FACE})"
        sure = ", uncertain" if self.uncertain else ""
        return (
            f"Result({where}, person {self.track}: {self.label} "
            f"{self.confidence:.2f}{sure}{', whole' if self.whole else ''})"
        )

    @property
    def whole(self) -> bool:
        """Whether this is a person's answer over all windows of a video."""
        return self.summary is not None

    @property
    def windows(self) -> int:
        """How many windows stand behind it."""
        return self.summary.windows if self.whole else int(bool(self.clip))

    @property
    def track(self) -> int | None:
        """The person's number within the video; None without a face."""
        return None if self.answer is None else self._part.track

    @property
    def start(self) -> float | None:
        """Seconds; None where the video could not be read."""
        return self._part.start if self._part else None

    @property
    def end(self) -> float | None:
        """Seconds; None where the video could not be read."""
        return self._part.end if self._part else None

    @property
    def frames(self) -> int:
        """Frames sampled, with this person's face or not."""
        if self.whole:
            return self.summary.frames
        return self.clip.frames_total if self.clip else 0

    @property
    def frames_with_face(self) -> int:
        """Frames with this person's face."""
        return self._part.frames_with_face if self._part else 0

    @property
    def coverage(self) -> float | None:
        """Share of the frames with the person's face, 0 to 1."""
        return self.frames_with_face / self.frames if self.frames else None

    @property
    def label(self) -> str | None:
        """The most probable label, or None."""
        if self.answer is None:
            return None
        return self.labels.names[int(self.answer.probabilities.argmax())]

    @property
    def probabilities(self) -> dict[str, float] | None:
        """The model's own probability of each label, or None."""
        if self.answer is None:
            return None
        found = map(float, self.answer.probabilities)
        return dict(zip(self.labels.names, found, strict=True))

    @property
    def calibrated(self) -> bool:
        """Whether `confidence` comes from a fitted temperature."""
        return self.calibration.temperature is not None

    @functools.cached_property
    def confidence(self) -> float | None:
        """Probability of the label, calibrated if it can be; or None."""
        if self.answer is None:
            return None
        return float(self.calibration.apply(self.answer.probabilities).max())

    @property
    def uncertain(self) -> bool | None:
        """Whether the confidence is below the threshold; or None."""
        if self.answer is None:
            return None
        return self.confidence < self.calibration.threshold

    @property
    def _part(self) -> Clip | Summary | None:
        return self.summary or self.clip

    @property
    def picture_bytes(self) -> int:
        """Bytes of the crops."""
        clip = self.clip
        return sum(map(len, clip.face + clip.context)) if clip else 0

    def without_pictures(self) -> "Result":
        """Returns a result without crops and attention, most of its bytes."""
        if self.clip is None or self.answer is None:
            return self
        answer = Answer(self.answer.probabilities, None)
        return dataclasses.replace(self.without_crops(), answer=answer)

    def without_crops(self) -> "Result":
        """Returns a result that holds no crops, and all else."""
        if self.clip is None:
            return self
        empty = (b"",) * self.clip.frames_with_face
        clip = dataclasses.replace(self.clip, face=empty, context=empty)
        return dataclasses.replace(self, clip=clip)

    def to_dict(self) -> dict:
        """Returns the object that `emorec predict` writes."""
        if self.error is not None:
            return {"video": self.video, "error": self.error}
        values = {
            "video": self.video,
            "track": self.track,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "frames": self.frames,
            "frames_with_face": self.frames_with_face,
            "coverage": _rounded(self.coverage, 4),
        }
        if self.whole:
            values |= {"whole": True, "windows": self.windows}
        else:
            values["per_frame"] = [
                {"time": round(float(t), 3), "box": np.round(b, 1).tolist()}
                for t, b in zip(
                    self.clip.times.tolist(),
                    self.clip.boxes.astype(np.float64),
                )
            ]
        if self.warning is not None:
            values["warning"] = self.warning
        if self.answer is None:
            return {**values, "message": NO_FACE}
        return {
            **values,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "calibrated": self.calibrated,
            "uncertain": self.uncertain,
            "probabilities": {
                name: round(p, 6) for name, p in self.probabilities.items()
            },
        }

    def to_row(self) -> dict:
        """Returns one flat row of a table; every result has the same keys.

        Values are str, int, float, bool or None; the probabilities are
        `probability_<label>`.
        """
        own = self.probabilities or dict.fromkeys(self.labels.names)
        no_face = self.error is None and self.answer is None
        return {
            "video": self.video,
            "track": self.track,
            "whole": self.whole,
            "windows": self.windows,
            "start": _rounded(self.start, 3),
            "end": _rounded(self.end, 3),
            "frames": self.frames,
            "frames_with_face": self.frames_with_face,
            "coverage": _rounded(self.coverage, 4),
            "label": self.label,
            "confidence": _rounded(self.confidence, 6),
            "calibrated": self.calibrated if self.answer else None,
            "uncertain": self.uncertain,
            **{f"probability_{k}": _rounded(p, 6) for k, p in own.items()},
            "message": NO_FACE if no_face else None,
            "warning": self.warning,
            "error": self.error,
        }

    def to_pandas(self):
        """Returns a `DataFrame` of one row; see `to_row`."""
        return Results([self]).to_pandas()

    def frames_to_pandas(self):
        """Returns a `DataFrame` of a row a frame with a face.

        See `Results.frames_to_pandas`.
        """
        return Results([self]).frames_to_pandas()

    def plot(self, path: str | os.PathLike | None = None, **how):
        """Draws the timeline; see `Results.plot`."""
        return Results([self]).plot(path, **how)

    def _repr_html_(self) -> str:
        return Results([self])._repr_html_()


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


class Results(list):
    """A list of `Result`s, of one video or of several.

    Args:
        items: The results, in the order of their videos and windows.
        smooth: Seconds by which curves over time are smoothed unless a call
            says otherwise; None draws them as they are. Answers are never
            smoothed.
        notes: What must be said beside the answers, a line each.
    """

    def __init__(
        self,
        items: Iterable[Result] = (),
        smooth: float | None = None,
        notes: Iterable[str] = (),
    ):
        super().__init__(items)
        self.smooth = smooth
        self.notes = tuple(notes)

    def __repr__(self) -> str:
        lines = "".join(f"\n  {r!r}," for r in self)
        return f"Results([{lines}\n])" if self else "Results([])"

    @property
    def whole(self) -> "Results":
        """One result a person and video: over all windows, or the only one.

        Videos without an answer are in it with what they have.
        """
        put = {(r.video, r.track) for r in self if r.whole}
        return self._with(
            r for r in self if r.whole or (r.video, r.track) not in put
        )

    @property
    def people(self) -> list[tuple[str, int]]:
        """(video, track) of everybody with an answer, in order."""
        found = ((r.video, r.track) for r in self if r.answer is not None)
        return list(dict.fromkeys(found))

    def of(self, track: int, video: str | None = None) -> "Results":
        """Returns one person's results, in one video or in all."""
        return self._with(
            r for r in self if r.track == track and video in (None, r.video)
        )

    def _with(self, items) -> "Results":
        return Results(items, self.smooth, self.notes)

    def to_dict(self) -> dict:
        """Returns `results`, as `emorec predict` writes them, and `notes`."""
        return {
            "results": [r.to_dict() for r in self],
            "notes": list(self.notes),
        }

    def to_pandas(self):
        """Returns a `DataFrame` of a row a result; see `Result.to_row`.

        Raises:
            EmorecError: pandas is not installed.
        """
        from emorec.evaluation import result_tables

        return result_tables.results(self)

    def frames_to_pandas(self, smooth: float | None = None):
        """Returns a `DataFrame` of a row a frame with a face and person.

        Columns: `video`, `track`, `time` (s), `x0`, `y0`, `x1`, `y1` (pixels),
        `attended`, `label`, `probability_<label>`, `smooth_seconds`. The
        probabilities are those of the window that the frame lies in, or the
        mean of all that it lies in; with `smooth`, smoothed over time. See
        `emorec.evaluation.result_tables.frames`.

        Args:
            smooth: Seconds; by default the list's own `smooth`. 0 smooths
                nothing.

        Raises:
            EmorecError: pandas is not installed.
        """
        from emorec.evaluation import result_tables

        return result_tables.frames(self, self._smoothing(smooth))

    def plot(
        self,
        path: str | os.PathLike | None = None,
        *,
        smooth: float | None = None,
        **how,
    ):
        """Draws probabilities over time, person by person.

        Args:
            path: A .png or .svg file; without one nothing is written.
            smooth: See `frames_to_pandas`; what was done is written below.
            **how: Passed to `emorec.evaluation.timeline.plot`.

        Returns:
            A matplotlib `Figure` if there is no path, else None.

        Raises:
            EmorecError: matplotlib is not installed, or the file cannot be
                written.
        """
        from emorec.evaluation import result_html, timeline

        figure = timeline.plot(
            self, path, smooth=self._smoothing(smooth) or None, **how
        )
        if figure is not None:
            # What a notebook asks for; it knows only pyplot's figures.
            figure._repr_png_ = functools.partial(result_html.png, figure)
        return figure

    def _smoothing(self, smooth: float | None) -> float:
        return float((self.smooth if smooth is None else smooth) or 0)

    def _repr_html_(self) -> str:
        from emorec.evaluation import result_html

        return result_html.page_part(self)
