"""What ClipExampleGen and FeatureExtractor hand on, made of a data set."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from unittest import mock

from tfx.types import artifact_utils, standard_artifacts

from emorec.config import Config
from emorec.data import dataset
from tfx_pipeline.components import (
    feature_extractor,
    feature_extractor_executor,
)

BOTH = ("context_features", "face_features")


def examples(data: dataset.Dataset, folder: pathlib.Path):
    """Copies a data set into an `Examples` artifact, a folder for a split."""
    splits = {}
    for split, values in data.splits.items():
        (folder / f"Split-{split}").mkdir(parents=True)
        names = [f"Split-{split}/{name}" for name in values["files"]]
        for source, name in zip(data.files(split), names, strict=True):
            shutil.copy(source, folder / name)
        splits[split] = {**values, "files": names}
    shutil.copytree(pathlib.Path(data.path) / "shards", folder / "shards")
    dataclasses.replace(data, path=str(folder), splits=splits).write()
    made = standard_artifacts.Examples()
    made.uri = str(folder)
    made.split_names = artifact_utils.encode_split_names(sorted(splits))
    return made


def channel(artifact):
    """Returns an artifact as a component's input."""
    kind = type(artifact)
    return feature_extractor.types.Channel(type=kind).set_artifacts([artifact])


@contextlib.contextmanager
def no_published_weights(folder: pathlib.Path) -> Iterator[None]:
    """Only the wheel's mini-XCEPTION is found, and nothing is downloaded."""
    values = {
        "XDG_CACHE_HOME": str(folder),
        # Discard's port: a download is refused at once.
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        # Beam's workers talk by gRPC, which takes that proxy too.
        "no_proxy": "localhost,127.0.0.1",
        "NO_PROXY": "localhost,127.0.0.1",
    }
    with mock.patch.dict(os.environ, values):
        os.environ.pop("EMOREC_WEIGHTS_DIR", None)
        yield


def component(artifact, *, inputs=BOTH, config=None, **arguments):
    """Returns a FeatureExtractor that reads an artifact."""
    return feature_extractor.FeatureExtractor(
        channel(artifact),
        inputs,
        (config or Config()).to_dict(),
        **{"missing_weights": "random", **arguments},
    )


def parameters(made) -> dict:
    """Returns the parameters with which a component's executor is called."""
    return dict(made.spec.exec_properties)


def extract(artifact, folder: pathlib.Path, beam=(), **arguments):
    """Runs FeatureExtractor's executor; returns its output."""
    made = component(artifact, **arguments)
    features = standard_artifacts.Examples()
    features.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    executor = feature_extractor_executor.Executor(
        feature_extractor_executor.Executor.Context(
            beam_pipeline_args=list(beam)
        )
        if beam
        else None
    )
    executor.Do(
        {"examples": [artifact]}, {"features": [features]}, parameters(made)
    )
    return features


def read(path: pathlib.Path) -> dict:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
