"""Runs on features that are there already, and runs whose results go far."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from emorec.data import files, planted, planted_set, remote
from emorec.errors import ConfigError, ModelError, TrainingError
from emorec.features import extract
from emorec.features.precomputed import encoders
from emorec.models import presets
from emorec.training import bundle, checkpoint, train

SETTINGS = (
    "model.encoder_units=4",
    "model.rnn_units=4",
    "train.batch_size=8",
    "train.epochs=2",
)
# A file system of TensorFlow's own, in memory: it knows no local path.
FAR = "ram://emorec-tests"


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    task = planted.Task(clips=(24, 12, 8))
    return planted_set.write(tmp_path_factory.mktemp("given") / "data", 0, task)


@pytest.fixture(scope="module")
def config(data):
    return train.training_config(data, "face_rnn", list(SETTINGS))


@pytest.fixture(scope="module")
def extracted(data, config, tmp_path_factory):
    """A model whose features `train` looked up itself."""
    folder = tmp_path_factory.mktemp("extracted") / "model"
    return train.train(data, folder, config, encoders(data.path))


def sources_of(data, config, inputs=None):
    given = encoders(data.path)
    inputs = inputs or presets.inputs_of(config.model)
    return {
        split: extract.extract(data, split, given, inputs, config)
        for split in data.splits
    }


def moved(data):
    """The data set, at a place where there is nothing."""
    return dataclasses.replace(data, path="/nowhere")


def assert_same(made, wanted):
    assert made.info == wanted.info
    weights = zip(made.model.weights, wanted.model.weights, strict=True)
    for a, b in weights:
        np.testing.assert_array_equal(a, b)


def test_given_features_make_the_same_model(data, config, extracted, tmp_path):
    made = train.train(
        moved(data),
        tmp_path / "model",
        config,
        encoders(data.path),
        sources=sources_of(data, config),
        run_dir=tmp_path / "run",
    )
    assert_same(made, extracted)
    assert (tmp_path / "model" / bundle.FILE).exists()
    # The run's own files may lie elsewhere.
    found = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert found == ["checkpoints", "history.json", "logs"]
    assert not (tmp_path / "model" / "checkpoints").exists()


@pytest.mark.parametrize(
    "inputs, change, said",
    [
        (
            ("context_features",),
            {},
            "must hold what the system reads, face_features [{size}]. "
            "Received: context_features [{size}]",
        ),
        (
            ("face_features",),
            {"face_features": (3,)},
            "must hold what the system reads, face_features [{size}]. "
            "Received: face_features [3]",
        ),
    ],
)
def test_features_of_something_else(
    data, config, tmp_path, inputs, change, said
):
    given = {
        split: [
            dataclasses.replace(f, holds={**f.holds, **change}) for f in files_
        ]
        for split, files_ in sources_of(data, config, inputs).items()
    }
    (size,) = encoders(data.path).shapes["face_features"]
    with pytest.raises(ConfigError) as e:
        train.train(data, tmp_path, config, encoders(data.path), sources=given)
    assert str(e.value) == (
        f"the features that were given of 'train' {said.format(size=size)}"
    )
    assert not any(tmp_path.iterdir())


def test_no_features_to_train_on(data, config, tmp_path):
    given = {"validation": sources_of(data, config)["validation"], "train": []}
    with pytest.raises(TrainingError) as e:
        train.train(data, tmp_path, config, encoders(data.path), sources=given)
    assert str(e.value) == (
        "the features that were given must have the split 'train'. "
        "Received: validation, train"
    )


def test_the_results_may_go_to_a_remote_place(data, config, extracted):
    """Killed, gone on with, refused, read, thrown away, all by its address."""
    model, run = f"{FAR}/model", f"{FAR}/run"

    def work(on_epoch=None, **arguments):
        return train.train(
            data,
            model,
            config,
            encoders(data.path),
            run_dir=run,
            on_epoch=on_epoch,
            **arguments,
        )

    def kill(epoch, _):
        raise Killed

    with pytest.raises(Killed):
        work(kill)
    assert files.exists(f"{run}/checkpoints/{checkpoint.FILE}")
    with pytest.raises(ModelError) as e:
        bundle.load(model)
    assert str(e.value).startswith(f"{model}/model.json: no trained model (")
    epochs = []
    made = work(lambda epoch, _: epochs.append(epoch))
    assert epochs == [1]
    assert_same(made, extracted)
    assert_same(bundle.load(model), extracted)
    assert len(files.listing(f"{run}/logs/train")) == 2
    assert sorted(remote.walk(model)) == [
        "encoders/face/precomputed.json",
        "model.json",
        "model.weights.h5",
    ]
    with pytest.raises(TrainingError, match=f"{model}: holds a trained model"):
        work()
    with tf.io.gfile.GFile(f"{model}/model.weights.h5", "wb") as f:
        f.write(b"damaged")
    with pytest.raises(ModelError) as e:
        bundle.load(model)
    assert str(e.value).startswith(f"{model}: model.weights.h5 does not fit (")
    train._claim(model, run, overwrite=True)
    assert list(remote.walk(FAR)) == []
    # Nothing was taken for a local path.
    assert not pathlib.Path("ram:").exists()
