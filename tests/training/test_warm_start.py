"""Runs that begin with the weights of another one."""

import dataclasses
import json

import numpy as np
import pytest
from testing import commands

from emorec.data import dataset, planted, planted_set
from emorec.errors import ConfigError
from emorec.features.encoders import Encoders
from emorec.features.precomputed import Precomputed, encoders
from emorec.labels import LabelSet
from emorec.training import bundle, train

SIZES = ("model.encoder_units=4", "model.rnn_units=4", "train.batch_size=8")
# So small that hardly a float32 weight moves.
STILL = (*SIZES, "train.epochs=1", "train.learning_rate=1e-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    task = planted.Task(clips=(24, 12, 8))
    return planted_set.write(tmp_path_factory.mktemp("given") / "data", 0, task)


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
    """A model, as its folder gives it back."""
    folder = tmp_path_factory.mktemp("base") / "model"
    settings = [*SIZES, "train.epochs=3", "train.learning_rate=0.02"]
    config = train.training_config(data, "face_rnn", settings)
    train.train(data, folder, config, encoders(data.path))
    return bundle.load(folder), folder


def continued(data, folder, base, settings=STILL, **arguments):
    config = train.training_config(data, "face_rnn", list(settings))
    return train.train(
        data, folder, config, encoders(data.path), base=base, **arguments
    )


@pytest.fixture(scope="module")
def warm(data, base, tmp_path_factory):
    """A run that began with the base, and its folder."""
    folder = tmp_path_factory.mktemp("warm") / "model"
    return continued(data, folder, base[0]), folder


def test_it_begins_where_the_base_ended(base, warm):
    (base, base_folder), (made, folder) = base, warm
    ended, began = base.info["best"], made.info["best"]
    assert began["val_loss"] == pytest.approx(ended["val_loss"], rel=1e-5)
    assert began["val_accuracy"] == ended["val_accuracy"]
    # That says something, as the base itself did not begin there.
    first, *_ = history(base_folder)
    assert first["val_loss"] != pytest.approx(ended["val_loss"], rel=1e-3)
    # Epochs are counted anew.
    assert history(folder) == [began]
    assert (made.info["base"], base.info["base"]) == (base.info["run"], None)
    assert bundle.load(folder).info == made.info


def history(folder) -> list[dict]:
    return json.loads((folder / "history.json").read_text())["epochs"]


def test_only_the_weights_are_taken(data, base, warm, tmp_path):
    """A base of the same weights and another past gives the same run."""
    config = base[0].config.override(
        ["train.learning_rate=0.5", "train.epochs=9", "model.dropout=0.9"]
    )
    other = dataclasses.replace(base[0], config=config)
    made = continued(data, tmp_path / "model", other)
    assert made.info == warm[0].info
    assert made.config == warm[0].config
    weights = zip(made.model.weights, warm[0].model.weights, strict=True)
    for a, b in weights:
        np.testing.assert_array_equal(a, b)


def test_the_base_is_part_of_a_runs_name(data, base):
    base, _ = base
    config = train.training_config(data, "face_rnn", list(SIZES))
    given = encoders(data.path)
    other = dataclasses.replace(base, info={**base.info, "run": "0" * 16})
    names = {
        train.run_name(data, config, given, 0, (), b)
        for b in (None, base, other)
    }
    assert len(names) == 3
    assert train.run_name(data, config, given, 0) in names


def other_labels(found):
    labels = LabelSet("x", found.labels.names[::-1])
    return dataclasses.replace(found, labels=labels)


def other_sizes(found):
    settings = ["model.rnn_units=8", "model.system=context_rnn"]
    return dataclasses.replace(found, config=found.config.override(settings))


def other_encoder(found):
    made = Encoders(face=Precomputed("another", 5))
    return dataclasses.replace(found, encoders=made)


@pytest.mark.parametrize(
    "change, said",
    [
        (other_labels, "labels is {theirs}, not {ours}"),
        (
            other_sizes,
            "model.system is context_rnn, not face_rnn; model.rnn_units is 8, "
            "not 4",
        ),
        (other_encoder, "face encoder is {hash}, not {ours_hash}"),
    ],
)
def test_another_architecture_is_refused(data, base, tmp_path, change, said):
    base = change(base[0])
    names = data.labels.names
    said = said.format(
        theirs=", ".join(names[::-1]),
        ours=", ".join(names),
        hash=base.encoders.face.hash,
        ours_hash=encoders(data.path).face.hash,
    )
    with pytest.raises(ConfigError) as e:
        continued(data, tmp_path / "model", base)
    assert str(e.value) == (
        "a warm start needs a base of the same architecture, labels and "
        f"encoders. Received one whose {said}; choose another base, or train "
        "without one"
    )
    assert not (tmp_path / "model").exists()


def test_what_no_gradient_trains_has_no_warm_start(data, base, tmp_path):
    config = train.training_config(data, "majority", [])
    with pytest.raises(ConfigError) as e:
        train.train(data, tmp_path, config, encoders(data.path), base=base[0])
    assert str(e.value) == (
        "a warm start is for systems that a gradient trains, and majority is "
        "not one; train it without a base"
    )


def test_the_command(data, base, tmp_path, capsys):
    made, folder = base
    arguments = ["train", f"--data_dir={data.path}", f"--base={folder}"]
    sets = [f"--set={s}" for s in STILL]
    output = tmp_path / "model"
    done = commands.here(
        capsys, *arguments, f"--output_dir={output}", *sets, "--system=face_rnn"
    )
    assert done.code == 0, done.err
    loss = f"val_loss {made.info['best']['val_loss']:.4f}"
    assert loss in done.out
    assert bundle.load(output).info["base"] == made.info["run"]
    # The default system is another one.
    done = commands.here(
        capsys, *arguments, f"--output_dir={tmp_path / 'other'}", *sets
    )
    assert "model.system is face_rnn, not caca_rnn_a" in done.fault()
    done = commands.here(
        capsys, *arguments, f"--output_dir={output}", "--system=ensemble"
    )
    assert done.code == 2
    assert done.fault() == (
        "emorec train: --base is for a single system; give trained members of "
        "an ensemble by --members"
    )


def test_a_base_that_is_no_model(data, tmp_path, capsys):
    done = commands.here(
        capsys,
        "train",
        f"--data_dir={data.path}",
        f"--base={tmp_path}",
        f"--output_dir={tmp_path / 'model'}",
    )
    assert done.fault() == (
        f"emorec train: {tmp_path}/model.json: no trained model (there is no "
        "such file); make one with `emorec train`"
    )
    assert dataset.load(data.path) == data
