"""The SavedModel in a Model artifact, and what it says of itself."""

import json
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf import message
from tfx.types import artifact
from tfx.utils import path_utils

from emorec.data import files
from emorec.data import records as tfrecords
from emorec.errors import EmorecError, ModelError, RecordError

# The Trainer's answers for some clips, in its artifact `model_run`.
PREDICTIONS = "predictions.json"

# What `emorec.export.saved_model` puts into every SavedModel. (Not imported:
# it brings all of training.)
_DESCRIPTION = "assets/emorec.json"


def saved_model_path(model: artifact.Artifact) -> str:
    """Returns the folder of the SavedModel in a Model artifact."""
    files.open_file_system(model.uri)
    return path_utils.serving_model_path(
        model.uri, path_utils.is_old_model_artifact(model)
    )


def description(path: str) -> dict | None:
    """Returns what a SavedModel of emorec says of itself (`describe`).

    Args:
        path: The folder of the SavedModel; may be remote.

    Returns:
        `emorec.training.bundle.Bundle.describe()`; None for a SavedModel
        that is not one of emorec's.

    Raises:
        ModelError: It is one, and its description is damaged.
        EmorecError: It cannot be read, which tells nothing of the model.
    """
    name = files.open_file_system(f"{path}/{_DESCRIPTION}")
    if not tf.io.gfile.exists(name):
        return None
    try:
        with tf.io.gfile.GFile(name) as file:
            found = json.load(file)
        for key in ("config", "labels", "encoders", "inputs", "streams"):
            found[key]
        return found
    except tf.errors.OpError as e:
        raise EmorecError(
            f"{name}: cannot be read ({' '.join(str(e).split())[:200]}); check "
            "the storage and run again"
        ) from e
    except (ValueError, KeyError, TypeError) as e:
        raise ModelError(
            f"{name}: not the description of a model ({e!r:.200}); export "
            "the model again"
        ) from e


def record_files(folder: str) -> list[str]:
    """Returns the files of a split, as TFX reads them, in their order.

    Args:
        folder: The URI of the split; may be remote. One that is not there
            has none.
    """
    paths = [files.join(folder, name) for name in files.listing(folder)]
    return [path for path in paths if not files.is_folder(path)]


def records(folder: str) -> Iterator[bytes]:
    """Yields the serialized records of a split, file by file.

    As they are, for they are sent on, and others than Examples may be. A file
    whose name ends in `.gz` is read as GZIP, as everywhere in TFX.

    Args:
        folder: The URI of the split; may be remote.

    Raises:
        RecordError: A file is no TFRecord file, or is cut short.
    """
    for path in record_files(folder):
        try:
            yield from tfrecords.open_files([path]).as_numpy_iterator()
        except tf.errors.OpError as e:
            raise RecordError(
                f"{path}: not a readable TFRecord file "
                f"({' '.join(str(e).split())[:200]}); run the component that "
                "wrote it again"
            ) from e


def example(data: bytes) -> tf.train.Example:
    """Parses a record.

    Raises:
        RecordError: It is no tf.train.Example.
    """
    try:
        return tf.train.Example.FromString(data)
    except message.DecodeError as e:
        raise RecordError(
            "a record is no tf.train.Example; give the examples and features "
            "that the model was trained with"
        ) from e
