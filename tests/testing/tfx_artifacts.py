"""Artifacts of TFX with contents, as a component would hand them on."""

import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping

import tensorflow as tf
from tfx.types import artifact, artifact_utils, standard_artifacts

from emorec.data import records
from emorec.features import extract


def made(kind: type[artifact.Artifact], folder: pathlib.Path, id_: int = 0):
    """Returns an artifact whose contents lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = kind()
    found.uri = str(folder)
    found.id = id_
    return found


def examples(
    folder: pathlib.Path,
    splits: Mapping[str, Iterable[Iterable[bytes]]],
    suffix: str = ".tfrecord.gz",
) -> standard_artifacts.Examples:
    """Writes an Examples artifact: split -> files -> serialized records."""
    found = made(standard_artifacts.Examples, folder)
    found.split_names = artifact_utils.encode_split_names(list(splits))
    options = "GZIP" if suffix.endswith(".gz") else ""
    for split, files in splits.items():
        (folder / f"Split-{split}").mkdir()
        for i, data in enumerate(files):
            path = folder / f"Split-{split}" / f"{split}-{i:05}{suffix}"
            with tf.io.TFRecordWriter(str(path), options) as writer:
                for record in data:
                    writer.write(record)
    return found


def model(
    folder: pathlib.Path, saved_model: pathlib.Path, id_: int = 1
) -> standard_artifacts.Model:
    """Copies a SavedModel into a Model artifact, where Trainer puts it."""
    shutil.copytree(saved_model, folder / "Format-Serving")
    return made(standard_artifacts.Model, folder, id_)


def feature_records(split_file: str, bundle) -> list[bytes]:
    """Returns a shard of frames as records of all features of a model."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "features.tfrecord"
        extract.extract_shard(
            split_file, target, bundle.encoders, bundle.inputs, bundle.config
        )
        return [e.SerializeToString() for e in records.read(target)]


def edited(record: bytes, **values) -> bytes:
    """Returns a record with other values; `clip__id` stands for `clip/id`.

    An empty list leaves the feature without values, as its kind.
    """
    example = tf.train.Example.FromString(record)
    for name, value in values.items():
        key = name.replace("__", "/")
        if value == []:
            for kind in ("bytes_list", "float_list", "int64_list"):
                if example.features.feature[key].HasField(kind):
                    getattr(example.features.feature[key], kind).Clear()
            continue
        feature = example.features.feature[key]
        feature.Clear()
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode())
    return example.SerializeToString()
