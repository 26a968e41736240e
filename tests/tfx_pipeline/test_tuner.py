"""The Tuner alone: its space, its trials, its best values."""

import json
import pathlib

import pytest
from testing import feature_artifacts
from tfx.components import Tuner
from tfx.components.tuner import executor
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts

from emorec.config import Config
from emorec.errors import ConfigError, TrainingError
from emorec.training import train
from tfx_pipeline import trainer, tuner, tuner_space

pytest_plugins = ["testing.feature_fixtures"]

SMALL = [
    "model.encoder_units=8",
    "model.rnn_units=8",
    "train.batch_size=8",
    "train.epochs=1",
]
# A learning rate that no run survives: no float32 holds it.
FATAL = 1e39


def search(features, folder: pathlib.Path, settings: dict, system="face_rnn"):
    """Runs TFX's Tuner; returns its (best_hyperparameters, tuner_results)."""
    component = Tuner(
        examples=feature_artifacts.channel(features),
        tuner_fn="tfx_pipeline.tuner.tuner_fn",
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["train"]),
        custom_config={
            **trainer.custom_config(system, SMALL),
            "tuner": settings,
        },
    )
    outputs = {}
    for name, kind in (
        ("best_hyperparameters", standard_artifacts.HyperParameters),
        ("tuner_results", standard_artifacts.TunerResults),
    ):
        made = kind()
        made.uri = str(folder / name)
        outputs[name] = [made]
    found = executor.Executor(
        executor.Executor.Context(tmp_dir=str(folder / "tmp"), unique_id="1")
    )
    found.Do(
        {"examples": [features]},
        outputs,
        dict(component.spec.exec_properties),
    )
    (best,) = (folder / "best_hyperparameters").iterdir()
    (results,) = (folder / "tuner_results").iterdir()
    return tuple(json.loads(path.read_text()) for path in (best, results))


def test_the_best_values_reach_the_trainer(features_artifact, tmp_path, capfd):
    """One of the two trials fails, and the search goes on."""
    best, results = search(
        features_artifact,
        tmp_path,
        {
            "max_trials": 2,
            "algorithm": "random",
            "space": {
                "train.learning_rate": [FATAL, 0.01],
                "model.rnn_units": [6],
            },
        },
    )
    assert capfd.readouterr().out == ""
    assert [r["train.learning_rate"] for r in results] == [0.01]
    assert results[0]["score"] > 0
    found = trainer.hyperparameter_assignments(best["values"])
    assert found == ["model.rnn_units=6", "train.learning_rate=0.01"]
    config = Config().override([*SMALL, *found])
    assert config.model.rnn_units == 6 and config.train.learning_rate == 0.01


def test_without_a_completed_trial_the_search_fails(
    features_artifact, tmp_path
):
    with pytest.raises(
        TrainingError, match="none of the Tuner's 1 trials completed; the fir"
    ) as e:
        search(
            features_artifact,
            tmp_path,
            {"max_trials": 1, "space": {"train.learning_rate": [FATAL]}},
        )
    assert "Lower train.learning_rate" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_fault_of_the_code_is_no_bad_value(
    features_artifact, tmp_path, monkeypatch
):
    def fault(*_, **__):
        raise TypeError("a fault")

    monkeypatch.setattr(train, "train", fault)
    with pytest.raises(Exception, match="a fault") as e:
        search(features_artifact, tmp_path, {"max_trials": 3})
    assert isinstance(e.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"trials": 3}, "Received: 'trials'"),
        ({"max_trials": 0}, "`max_trials` must be a positive number"),
        ({"algorithm": "best"}, "`algorithm` must be random or bayesian"),
        ({"space": {"model.units": [1]}}, "`model.units` must be one of"),
    ],
)
def test_wrong_settings(features_artifact, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message) as e:
        search(features_artifact, tmp_path, settings)
    assert "\n" not in str(e.value)


def test_a_system_without_gradients(features_artifact, tmp_path):
    with pytest.raises(ConfigError, match="trained by gradients.*'majority'"):
        search(features_artifact, tmp_path, {}, "majority")


def parse(space):
    return tuner_space.parse(space, Config())


@pytest.mark.parametrize(
    "space, message",
    [
        ([], "`space` must be an object of config fields. Received: \\[\\]"),
        ({"clip.crop_size": [64]}, "`clip.crop_size` must be one of model."),
        ({"model.system": ["face_rnn"]}, "`model.system` must be one of"),
        ({"rnn_units": [8]}, "`rnn_units` must be one of"),
        ({"model.rnn_units": 8}, "`model.rnn_units` must be a list of values"),
        ({"model.rnn_units": []}, "`model.rnn_units` must be a list of"),
        ({"model.rnn_units": [8, 0.5]}, "`model.rnn_units` must be int"),
        ({"model.dropout": [2]}, "`model.dropout` must be 0 to 0.95"),
        ({"model.dropout": {"min": 0.1}}, "`model.dropout` must be a range"),
        (
            {"model.dropout": {"min": 0.1, "max": 2}},
            "`model.dropout` must be 0 to 0.95",
        ),
        (
            {"model.dropout": {"min": 0.5, "max": 0.1}},
            "`model.dropout` must be a range of min below max",
        ),
        (
            {"model.dropout": {"min": 0, "max": 0.5, "log": True}},
            "`model.dropout` must be a range of min below max, above 0",
        ),
        (
            {"model.dropout": {"min": 0, "max": 0.5, "steps": 2}},
            "`model.dropout` must be a range of min, max, log, step",
        ),
        (
            {"model.rnn_units": {"min": 8, "max": 64, "step": 0}},
            "`model.rnn_units` must be a range with a step above 0",
        ),
        (
            {"model.attention": {"min": 0, "max": 1}},
            "`model.attention` must be a list of values",
        ),
    ],
)
def test_a_wrong_space_names_its_field(space, message):
    with pytest.raises(ConfigError, match=message) as e:
        parse(space)
    assert "\n" not in str(e.value) and "Tuner" in str(e.value)


def test_a_space_in_the_form_of_keras_tuner():
    made = parse(
        {
            "model.rnn_units": {"min": 8, "max": 64, "step": 8},
            "model.dropout": [0, 0.5],
            "model.attention": [True, False],
            "train.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
        }
    )
    units, dropout, attention, rate = made.space
    assert (units.min_value, units.max_value, units.step) == (8, 64, 8)
    assert type(units.random_sample(1)) is int
    assert dropout.values == [0.0, 0.5]
    assert attention.values == [True, False]
    assert rate.sampling == "log"
    assert 1e-4 <= rate.random_sample(1) <= 1e-2


@pytest.mark.parametrize("system", ["caca_rnn_a", "face_rnn", "cnn_2d3d"])
def test_every_systems_own_space_is_a_space(system, prepared):
    config = train.training_config(prepared, system, [])
    space = tuner_space.default(config)
    made = tuner_space.parse(space, config)
    names = {entry.name for entry in made.space}
    assert {"model.dropout", "train.learning_rate"} < names
    sizes = {"model.rnn_units", "model.conv_filters"}
    assert names & sizes


def test_the_same_seed_asks_for_the_same_trials():
    found = []
    for seed in (0, 0, 1):
        oracle = tuner._oracle(
            {"max_trials": 3, "algorithm": "random"},
            parse({"model.dropout": {"min": 0.1, "max": 0.9}}),
            seed,
        )
        found.append([oracle.populate_space(str(i)) for i in range(3)])
    assert found[0] == found[1] != found[2]
