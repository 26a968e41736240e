"""The prediction backends of TensorFlow; see `emorec.predict.Backend`."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from emorec import predict
from emorec.errors import ModelError
from emorec.evaluation import metrics as measures
from emorec.export import names
from emorec.features import detector, frozen
from emorec.predict_crops import decode_jpegs
from emorec.training import graphs
from emorec.video.clip import Clip
from emorec.video.engine import Engine

if TYPE_CHECKING:
    # Keras, without which graphs run.
    from emorec.training.bundle import Bundle


class LocalBackend:
    """A trained model in this process.

    Args:
        model: A `emorec.training.bundle.Bundle`, or the graphs of one.
    """

    def __init__(self, model: "Bundle | graphs.Graphs"):
        if not isinstance(model, graphs.Graphs):
            model = graphs.of(model)
        self.config = model.config
        self.labels = model.labels
        self.description = model.description
        self._networks = model.networks
        self._is_warm = False
        self._runs: dict[str, frozen.Run] = {}

    @property
    def _streams(self) -> list[str]:
        """The streams of which the network reads anything."""
        return [s for s in self.description["streams"] if s in self._networks]

    def _run(self, name: str) -> "frozen.Run":
        """Returns what runs a network; the recurrent one stays in float32."""
        if name not in self._runs:
            wanted = name in self._streams and self.config.features.bfloat16
            self._runs[name] = frozen.runner(
                self._networks[name],
                bfloat16=wanted and frozen.has_bfloat16(),
            )
        return self._runs[name]

    def engine(self) -> Engine:
        """Returns the networks of a face detector beside this model."""
        return detector.engine()

    def warm_up(self) -> None:
        if self._is_warm:
            return
        self._is_warm = True
        size = self.config.clip.crop_size
        picture = np.zeros((1, size, size, 3), np.uint8)
        made = {}
        for stream in self._streams:
            made |= self._answers(stream, picture)
        self._answer(made, 1)

    def predict(self, clips: Sequence[Clip]) -> list[predict.Answer]:
        made = {}
        for stream in self._streams:
            made |= self._encode(stream, clips)
        answers, start = [], 0
        for clip in clips:
            end = start + clip.frames_with_face
            answers.append(
                self._answer(
                    {k: v[start:end] for k, v in made.items()}, end - start
                )
            )
            start = end
        return answers

    def _answer(self, inputs, count) -> "predict.Answer":
        """Runs the network for one clip of `count` frames.

        Alone, it needs no padding, and its answer is the same to the last
        bit whatever it came with. Eight at a time would save 3 ms a clip.
        """
        inputs = {name: values[None] for name, values in inputs.items()}
        inputs["mask"] = np.ones((1, count), bool)
        outputs = self._run(graphs.NETWORK)(inputs)
        return predict.split_answers(
            measures.softmax(outputs["logits"]),
            outputs.get("attention"),
            [count],
        )[0]

    def _encode(self, stream, clips) -> dict[str, np.ndarray]:
        """Returns what the network reads of a stream, f32 [frames, ...]."""
        jpegs = [j for c in clips for j in getattr(c, stream)]
        # By OpenCV: `records.decode_jpegs` gives the same pixels, and takes
        # five times as long outside of a graph.
        images = decode_jpegs(jpegs, self.config.clip.crop_size)
        return self._answers(stream, images)

    def _answers(self, stream, images) -> dict[str, np.ndarray]:
        run, size = self._run(stream), self.config.features.batch_frames
        parts = [
            run({frozen.IMAGES: images[i : i + size]})
            for i in range(0, len(images), size)
        ]
        return {
            f"{stream}_{kind}": np.concatenate([part[kind] for part in parts])
            for kind in parts[0]
        }


class SavedModelBackend:
    """An exported SavedModel in this process.

    Args:
        path: A version folder, or a base path (its newest version is taken).
    """

    def __init__(self, path: str | os.PathLike):
        self.path = find_version(path)
        try:
            text = (self.path / "assets" / names.DESCRIPTION).read_text(
                encoding="utf-8"
            )
            self.description = json.loads(text)
            self.config, self.labels = predict.parse_description(
                self.description
            )
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

    def predict(self, clips: Sequence[Clip]) -> list[predict.Answer]:
        outputs = self._jpegs(
            **{
                stream: tf.constant(padded_jpegs(clips, stream))
                for stream in self.description["streams"]
            }
        )
        return predict.split_answers(
            outputs["probabilities"].numpy(),
            outputs.get("attention"),
            [c.frames_with_face for c in clips],
        )

    def engine(self) -> Engine:
        """Returns the networks of a face detector beside this model."""
        return detector.engine()

    def warm_up(self) -> None:
        """Nothing: an answer to a made-up clip would take as long."""

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
    from emorec.export import saved_model

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


def padded_jpegs(clips: Sequence[Clip], stream: str) -> list[list[bytes]]:
    """Returns a stream's JPEGs as [B][T], "" as padding."""
    rows = [getattr(c, stream) for c in clips]
    longest = max(map(len, rows))
    return [[*row, *[b""] * (longest - len(row))] for row in rows]
