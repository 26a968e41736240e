"""Videos to results: detect, track, cut clips, ask a backend.

A backend answers for clips. The in-process one and the SavedModel's are here;
the command line builds the one that asks a server, so that this package needs
no gRPC.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import records
from emorec.errors import ModelError, VideoError
from emorec.evaluation import evaluate
from emorec.export import saved_model
from emorec.features import encoders
from emorec.labels import LabelSet
from emorec.training import bundle as bundles
from emorec.video import reader
from emorec.video.clip import Clip, ClipBuilder

# Clips that a backend is asked for at once; `evaluate.BATCH_BYTES` bounds
# their JPEGs too, since `clip.clip_frames` may be 4096.
BATCH_CLIPS = 8
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


class LocalBackend:
    """A trained model in this process."""

    def __init__(self, bundle: bundles.Bundle):
        self._bundle = bundle
        self.config = bundle.config
        self.labels = bundle.labels
        self.description = bundle.describe()

    def predict(self, clips: Sequence[Clip]) -> list[Answer]:
        counts = [c.frames_with_face for c in clips]
        mask = np.arange(max(counts))[None] < np.array(counts)[:, None]
        inputs = {"mask": mask}
        for stream, encoder in self._bundle.encoders.items():
            inputs |= self._encode(stream, encoder, clips, mask)
        outputs = self._bundle.model(inputs, training=False)
        return split_answers(
            tf.nn.softmax(outputs["logits"]).numpy(),
            outputs.get("attention"),
            counts,
        )

    def _encode(self, stream, encoder, clips, mask):
        """Returns what the network reads of a stream, padded."""
        jpegs = [j for c in clips for j in getattr(c, stream)]
        images = records.decode_jpegs(
            tf.constant(jpegs), self.config.clip.crop_size
        ).numpy()
        answers = encoder.encode_kinds(
            images,
            encoders.kinds_of(self._bundle.inputs, stream),
            self.config.features.batch_frames,
        )
        made = {}
        for kind, values in answers.items():
            padded = np.zeros((*mask.shape, *values.shape[1:]), np.float32)
            padded[mask] = values
            made[f"{stream}_{kind}"] = padded
        return made


class SavedModelBackend:
    """An exported SavedModel in this process.

    Args:
        path: A version folder, or a base path (its newest version is taken).
    """

    def __init__(self, path: str | os.PathLike):
        self.path = find_version(path)
        try:
            text = (self.path / "assets" / saved_model.DESCRIPTION).read_text(
                encoding="utf-8"
            )
            self.description = json.loads(text)
            self.config, self.labels = parse_description(self.description)
        except (OSError, ValueError) as e:
            raise ModelError(
                f"{self.path}: not a SavedModel of emorec ({e}); make one "
                "with `emorec export`"
            ) from e
        try:
            self._loaded = tf.saved_model.load(str(self.path))
            self._jpegs = self._loaded.signatures["jpegs"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as e:
            raise ModelError(
                f"{self.path}: cannot be loaded "
                f"({' '.join(str(e).split())[:200]}); export the model again"
            ) from e

    def predict(self, clips: Sequence[Clip]) -> list[Answer]:
        outputs = self._jpegs(
            **{
                stream: tf.constant(padded_jpegs(clips, stream))
                for stream in self.description["streams"]
            }
        )
        return split_answers(
            outputs["probabilities"].numpy(),
            outputs.get("attention"),
            [c.frames_with_face for c in clips],
        )

    def serving_default(self, examples: list[bytes]) -> np.ndarray:
        """Probabilities f32 [B, K] for serialized records of frames."""
        outputs = self._loaded.signatures["serving_default"](
            examples=tf.constant(examples)
        )
        return outputs["probabilities"].numpy()


def find_version(path: str | os.PathLike) -> pathlib.Path:
    """Returns the version folder that a path means.

    Raises:
        ModelError: There is no SavedModel.
    """
    path = pathlib.Path(path)
    if (path / "saved_model.pb").is_file():
        return path
    found = [
        v
        for v in saved_model.versions(path)
        if (path / str(v) / "saved_model.pb").is_file()
    ]
    if not found:
        raise ModelError(
            f"{path}: no SavedModel and no version folder with one; make one "
            "with `emorec export`"
        )
    return path / str(found[-1])


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


def padded_jpegs(clips: Sequence[Clip], stream: str) -> list[list[bytes]]:
    """Returns a stream's JPEGs as [B][T], "" as padding."""
    rows = [getattr(c, stream) for c in clips]
    longest = max(map(len, rows))
    return [[*row, *[b""] * (longest - len(row))] for row in rows]


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
        detector: A `FaceDetector` made with `backend.config.detector`.
        people: `all` or `main`.

    Raises:
        VideoError: The video cannot be read.
    """
    config = backend.config
    builder = ClipBuilder(
        detector,
        config,
        fps=config.video.fps,
        window_frames=config.clip.clip_frames,
        people=people,
    )
    with reader.read_frames(path, config.video) as frames:
        batches = evaluate.bounded(
            builder.build(frames), _jpeg_bytes, BATCH_CLIPS
        )
        batch = next(batches, None)
        while batch:
            *results, last = _answered(path, batch, backend)
            yield from results
            # The file's damage is known when nothing is left of it.
            batch = next(batches, None)
            warning = None if batch else frames.damage()
            yield dataclasses.replace(last, warning=warning)


def _jpeg_bytes(clip) -> int:
    return sum(map(len, clip.face)) + sum(map(len, clip.context))


def _answered(path, clips, backend) -> Iterator[Result]:
    with_face = [c for c in clips if c.frames_with_face]
    answers = iter(backend.predict(with_face) if with_face else ())
    for clip in clips:
        answer = next(answers) if clip.frames_with_face else None
        yield Result(path, clip, answer, backend.labels)


def predict_videos(
    paths: Iterable[str],
    backend: Backend,
    detector,
    *,
    people: str = "all",
) -> Iterator[Result]:
    """Yields the results of several videos; a bad one gives its error."""
    for path in paths:
        try:
            yield from predict_video(path, backend, detector, people=people)
        except VideoError as e:
            yield Result(path, None, None, backend.labels, error=str(e))
