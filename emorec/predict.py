"""Videos to results: detect, track, cut clips, ask a backend.

A backend answers for clips: a model folder's is in `emorec.local_backend`, then
there are `emorec.saved_model_backend` and `emorec.onnx_backend`. The command
line builds the one that asks a server, so that this package needs no gRPC.
Nothing here imports TensorFlow.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from emorec import freed_memory
from emorec.config import Config
from emorec.data import processes
from emorec.errors import ModelError, VideoError
from emorec.features import encoders
from emorec.labels import LabelSet
from emorec.predict_cuts import BATCH_CLIPS, Cut, Cutter, Cutting, Windows
from emorec.predict_sources import Sources
from emorec.results import NO_FACE, Answer, Calibration, Result
from emorec.video.clip import Clip
from emorec.whole_video import WholeVideo

__all__ = [
    "BATCH_CLIPS",
    "NO_FACE",
    "Answer",
    "Backend",
    "Result",
    "Windows",
    "padded",
    "parse_description",
    "predict_video",
    "predict_videos",
    "prefix_mask",
    "split_answers",
]

_SOURCES = Sources()


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

    def engine(self):
        """Returns what a new `FaceDetector` runs its networks with.

        None leaves it to the detector, which then takes TensorFlow.
        """


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


def predict_video(
    path: str,
    backend: Backend,
    detector,
    *,
    people: str = "all",
) -> Iterator[Result]:
    """Yields one video's windows, one after the other, person by person.

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
        if not result.whole:
            yield result


def predict_videos(
    paths: Iterable[str],
    backend: Backend,
    detector,
    *,
    people: str = "all",
    fps: float | None = None,
    every: Windows | None = None,
    threshold: float | None = None,
    sources: Sources = _SOURCES,
    progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Result]:
    """Yields the results of several videos, in their order.

    Of each video: a result a window and person; then, with `every` or for a
    person in more than one window, one for the whole video (`Result.whole`).
    A bad one gives its error, after what could be read of it. Videos are
    decoded, searched and answered at once, in threads that end with the
    results; clips of several videos are answered together.

    Args:
        paths: The videos: files, addresses of remote ones, live sources; see
            `emorec.predict_sources`, whose `expand` resolves folders.
        backend: See `predict_video`, as for the next.
        detector: The same.
        people: `all`, or `main` for the person seen most in each window; the
            answer for the whole video is then one, of these windows, under
            the first one's number.
        fps: Frames analysed per second, in place of the config's.
        every: Windows, in place of `clip.clip_frames` frames that adjoin.
        threshold: Confidence below which a result is `uncertain`; by default
            the model's.
        sources: Bounds of remote and live videos.
        progress: Called with the number of videos that are done: a whole
            number when one ends, and one between for a part of a video.

    Raises:
        UsageError: A choice is out of bounds, or the windows do not fit the
            rate.
    """
    calibration = Calibration.of(backend.description, threshold)
    cutting = Cutting(people, fps, every)
    done = 0
    video = _Video(cutting)
    freed_memory.keep(processes.cores())
    with Cutter(paths, backend.config, detector, cutting, sources) as cutter:
        # While the first frames are decoded and searched.
        backend.warm_up()
        for batch in cutter.batches():
            freed_memory.give_back()
            for cut, answer in _answered(batch, backend):
                made = Result(
                    cut.video,
                    cut.clip,
                    answer,
                    backend.labels,
                    error=cut.error,
                    calibration=calibration,
                )
                if cut.clip is not None:
                    yield from video.add(made)
                    progress(done + min(cut.share, 0.99))
                    continue
                yield from video.end(cut)
                if cut.error is not None:
                    yield made
                video = _Video(cutting)
                done += 1
                progress(done)


class _Video:
    """The results of one video on their way.

    The latest is held back, as a warning of the video's end belongs to it.
    """

    def __init__(self, cutting: Cutting):
        self._cutting = cutting
        self._last: Result | None = None
        self._whole = WholeVideo(main=cutting.people == "main")

    def add(self, result: Result) -> Iterator[Result]:
        """Takes a window's result; yields the one before it."""
        if self._last is not None:
            yield self._last
        self._last = result
        self._whole.add(result)

    def end(self, end: Cut) -> Iterator[Result]:
        """Yields the last result, then those for the whole video."""
        if self._last is not None:
            yield dataclasses.replace(self._last, warning=end.warning)
        least = 1 if self._cutting.every else 2
        for result in self._whole.results(end.frames_total):
            if result.windows >= least:
                yield result


def _answered(batch, backend) -> Iterator[tuple[Cut, Answer | None]]:
    clips = [cut.clip for cut in batch if cut.frames]
    answers = iter(backend.predict(clips) if clips else ())
    for cut in batch:
        yield cut, next(answers) if cut.frames else None
