"""Videos to results: detect, track, cut clips, ask a backend.

A backend answers for clips. Those of TensorFlow are in `emorec.backends`, that
of ONNX Runtime in `emorec.onnx_backend`; the command line builds the one that
asks a server, so that this package needs no gRPC. Nothing here imports
TensorFlow.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from emorec.config import Config
from emorec.errors import ModelError, VideoError
from emorec.features import encoders
from emorec.labels import LabelSet
from emorec.predict_cuts import BATCH_CLIPS, Cut, Cutter
from emorec.video.clip import Clip

__all__ = [
    "BATCH_CLIPS",
    "NO_FACE",
    "Answer",
    "Backend",
    "Result",
    "padded",
    "parse_description",
    "predict_video",
    "predict_videos",
    "prefix_mask",
    "split_answers",
]

NO_FACE = "no face found"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A backend's answer for one clip of n frames.

    Attributes:
        probabilities: float32 [K], sums to 1.
        attention: float32 [n, n], or None where the system has none.
    """

    probabilities: np.ndarray
    attention: np.ndarray | None


class Backend(Protocol):
    """Answers for clips.

    Attributes:
        config: How clips must be cut for this model.
        labels: The label set, in the order of the probabilities.
        description: `Bundle.describe()` of the model behind it.
    """

    config: Config
    labels: LabelSet
    description: dict

    def predict(self, clips: Sequence[Clip]) -> list[Answer]:
        """Answers for clips with one frame or more each."""

    def warm_up(self) -> None:
        """Does what its first answer would wait for, as far as it pays."""


def parse_description(description: dict) -> tuple[Config, LabelSet]:
    """Returns the config and labels of a `describe` answer.

    Raises:
        ModelError: It is not one.
    """
    try:
        for key in ("system", "random_weights", "encoders"):
            description[key]
        if not set(description["streams"]) <= set(encoders.STREAMS):
            raise KeyError("streams")
        description["info"]["data"]["sources"]
        return (
            Config.from_dict(description["config"]),
            LabelSet.from_dict(description["labels"]),
        )
    except (KeyError, TypeError) as e:
        raise ModelError(
            f"the model's description is not complete ({e!r}); export it again"
        ) from e


def prefix_mask(counts: Sequence[int]) -> np.ndarray:
    """Returns the mask bool [B, T] of clips of `counts` frames each."""
    return np.arange(max(counts))[None] < np.array(counts)[:, None]


def padded(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Spreads the frames of all clips over a batch, zeros between.

    Args:
        values: [n, ...], one row for each True of the mask, in its order.
        mask: bool [B, T].

    Returns:
        float32 [B, T, ...].
    """
    made = np.zeros((*mask.shape, *values.shape[1:]), np.float32)
    made[mask] = values
    return made


def split_answers(probabilities, attention, counts) -> list[Answer]:
    """Cuts a batch's outputs into one answer a clip, without padding."""
    maps = [None] * len(counts)
    if attention is not None:
        maps = [np.asarray(a)[:n, :n] for a, n in zip(attention, counts)]
    return [
        Answer(np.asarray(p), m)
        for p, m in zip(probabilities, maps, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Result:
    """One person in one clip of one video.

    Attributes:
        video: The video as it was asked for.
        clip: The clip; None where the video could not be read.
        answer: The answer; None where there is no face or an error.
        labels: The label set.
        error: Why the video could not be read, else None.
        warning: What of the video could not be read, on its last result.
    """

    video: str
    clip: Clip | None
    answer: Answer | None
    labels: LabelSet
    error: str | None = None
    warning: str | None = None

    @property
    def label(self) -> str | None:
        """The most probable label, or None."""
        if self.answer is None:
            return None
        return self.labels.names[int(self.answer.probabilities.argmax())]

    def to_dict(self) -> dict:
        """Returns the object that `emorec predict` writes."""
        if self.error is not None:
            return {"video": self.video, "error": self.error}
        clip = self.clip
        values = {
            "video": self.video,
            "track": clip.track if self.answer is not None else None,
            "start": round(clip.start, 3),
            "end": round(clip.end, 3),
            "frames": clip.frames_total,
            "frames_with_face": clip.frames_with_face,
            "per_frame": [
                {"time": round(float(t), 3), "box": np.round(b, 1).tolist()}
                for t, b in zip(
                    clip.times.tolist(), clip.boxes.astype(np.float64)
                )
            ],
        }
        if self.warning is not None:
            values["warning"] = self.warning
        if self.answer is None:
            return {**values, "message": NO_FACE}
        values["label"] = self.label
        values["probabilities"] = {
            name: round(float(p), 6)
            for name, p in zip(self.labels.names, self.answer.probabilities)
        }
        return values


def predict_video(
    path: str,
    backend: Backend,
    detector,
    *,
    people: str = "all",
) -> Iterator[Result]:
    """Yields the results of one video, window by window, person by person.

    Args:
        path: The video.
        backend: Its `config` decides how clips are cut.
        detector: A `FaceDetector` made with `backend.config.detector`; for
            this alone until the results end or are closed.
        people: `all` or `main`.

    Raises:
        VideoError: The video cannot be read.
    """
    for result in predict_videos([path], backend, detector, people=people):
        if result.error is not None:
            raise VideoError(result.error)
        yield result


def predict_videos(
    paths: Iterable[str],
    backend: Backend,
    detector,
    *,
    people: str = "all",
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Result]:
    """Yields the results of several videos, in their order.

    A bad one gives its error, after what could be read of it. Videos are
    decoded, searched and answered at once, in threads that end with the
    results; clips of several videos are answered together.

    Args:
        paths: The videos.
        backend: See `predict_video`, as for the others.
        detector: The same.
        people: The same.
        progress: Called with the number of videos that are done.
    """
    done = 0
    last = None  # The latest result of a video whose end is not known yet.
    with Cutter(paths, backend.config, detector, people) as cutter:
        # While the first frames are decoded and searched.
        backend.warm_up()
        for batch in cutter.batches():
            for cut, answer in _answered(batch, backend):
                if cut.clip is not None:
                    if last is not None:
                        yield last
                    last = Result(cut.video, cut.clip, answer, backend.labels)
                    continue
                if last is not None:
                    yield dataclasses.replace(last, warning=cut.warning)
                    last = None
                if cut.error is not None:
                    yield Result(
                        cut.video, None, None, backend.labels, error=cut.error
                    )
                done += 1
                progress(done)


def _answered(batch, backend) -> Iterator[tuple[Cut, Answer | None]]:
    clips = [cut.clip for cut in batch if cut.frames]
    answers = iter(backend.predict(clips) if clips else ())
    for cut in batch:
        yield cut, next(answers) if cut.frames else None
