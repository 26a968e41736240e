"""A SavedModel that answers here; see `emorec.predict.Backend`."""

import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from emorec import predict
from emorec.errors import ModelError
from emorec.export import names
from emorec.features import detector
from emorec.video.clip import Clip
from emorec.video.engine import Engine


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
