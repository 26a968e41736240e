"""The prediction backends of TensorFlow; see `emorec.predict.Backend`."""

import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from emorec import predict
from emorec.errors import ModelError
from emorec.export import names, saved_model
from emorec.features import encoders
from emorec.predict_crops import decode_jpegs
from emorec.training import bundle as bundles
from emorec.video.clip import Clip


class LocalBackend:
    """A trained model in this process."""

    def __init__(self, bundle: bundles.Bundle):
        self._bundle = bundle
        self.config = bundle.config
        self.labels = bundle.labels
        self.description = bundle.describe()
        # Called as it is, a recurrent network of 32 steps takes 140 ms, and
        # 4 ms so; tracing takes as long as one such call. XLA would need 1.4
        # ms, after half a second for each new length.
        self._is_warm = False
        self._network = tf.function(
            lambda inputs: bundle.model(inputs, training=False),
            input_signature=[
                {
                    name: tf.TensorSpec(
                        [None, None, *given.shape[2:]], given.dtype, name
                    )
                    for name, given in bundle.model.input.items()
                }
            ],
        )

    def warm_up(self) -> None:
        if self._is_warm:
            return
        self._is_warm = True
        size = self.config.clip.crop_size
        picture = np.zeros((1, size, size, 3), np.uint8)
        made = {}
        for stream, encoder in self._bundle.encoders.items():
            made |= self._answers(stream, encoder, picture)
        self._answer(made, 1)

    def predict(self, clips: Sequence[Clip]) -> list[predict.Answer]:
        made = {}
        for stream, encoder in self._bundle.encoders.items():
            made |= self._encode(stream, encoder, clips)
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
        outputs = self._network(
            {
                name: tf.constant(inputs[name])
                for name in self._bundle.model.input
            }
        )
        probabilities = tf.nn.softmax(outputs["logits"]).numpy()
        attention = outputs.get("attention")
        return predict.split_answers(probabilities, attention, [count])[0]

    def _encode(self, stream, encoder, clips) -> dict[str, np.ndarray]:
        """Returns what the network reads of a stream, f32 [frames, ...]."""
        jpegs = [j for c in clips for j in getattr(c, stream)]
        # By OpenCV: `records.decode_jpegs` gives the same pixels, and takes
        # five times as long outside of a graph.
        images = decode_jpegs(jpegs, self.config.clip.crop_size)
        return self._answers(stream, encoder, images)

    def _answers(self, stream, encoder, images) -> dict[str, np.ndarray]:
        answers = encoder.encode_kinds(
            images,
            encoders.kinds_of(self._bundle.inputs, stream),
            self.config.features.batch_frames,
            self.config.features.bfloat16,
        )
        return {f"{stream}_{kind}": v for kind, v in answers.items()}


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
