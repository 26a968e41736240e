"""What a run stores of its validation split: calibration and metrics."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from testing import features
from testing.pooled import Pooled, inputs_of_ones

from emorec.config import Config
from emorec.evaluation import calibration, evaluate, metrics
from emorec.features.encoders import Encoders
from emorec.labels import LabelSet
from emorec.training import bundle, train, validation

LABELS = LabelSet("x", ("a", "b", "c"))


@pytest.fixture(scope="module")
def made(model_dir):
    return bundle.load(model_dir)


def pooled(batch_size=32) -> bundle.Bundle:
    """A network that nothing has trained."""
    keras.utils.set_random_seed(0)
    model = Pooled()
    model(inputs_of_ones())
    config = Config().override([f"train.batch_size={batch_size}"])
    return bundle.Bundle(model, Encoders(), config, LABELS, {})


def written(folder, clips):
    return features.sources([features.write(folder / "v.tfrecord", clips)])


def test_the_calibration_is_of_the_validation_clips(made, prepared, model_dir):
    clips = evaluate.with_bundle(prepared, "validation", made)
    answers = np.stack([c.probabilities for c in clips])
    labels = np.array([c.label_id for c in clips])
    expected = calibration.of_clips(answers, labels, "validation")
    found = made.info["calibration"]
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, abs=1e-5), name
    assert found["clips"] == len(clips) == 8
    assert found["nll_before"] == pytest.approx(
        # The classes are balanced, so their weights are 1.
        made.info["best"]["val_loss"],
        abs=1e-5,
    )
    # With the model, wherever it goes.
    stored = json.loads((model_dir / bundle.FILE).read_text())["info"]
    assert stored == made.info == made.describe()["info"]


def test_the_metrics_are_of_the_validation_clips(made, prepared):
    found = made.info["validation"]
    clips = evaluate.with_bundle(prepared, "validation", made)
    answers = np.stack([c.probabilities for c in clips])
    labels = np.array([c.label_id for c in clips])
    expected = metrics.evaluate(labels, answers, None, prepared.labels.names)
    for name in ("map", "acc", "ranking_map", "macro_f1", "uar"):
        assert found[name] == pytest.approx(getattr(expected, name), abs=1e-6)
    assert found["acc"] == pytest.approx(made.info["best"]["val_accuracy"])
    assert list(found["classes"]) == list(prepared.labels.names)
    everything = {"clips": 8, "answered": 8, "acc": found["acc"]}
    assert found["sources"] == {"emorec-sample-set": everything}
    assert found["coverage"] == {"all": everything}


def test_what_the_data_card_needs(made, prepared):
    data = made.info["data"]
    assert data["labels"] == {
        split: values["labels"] for split, values in prepared.splits.items()
    }
    assert data["coverage"] == dict.fromkeys(prepared.splits, 1.0)
    assert data["unreadable"] == 0


def test_clips_without_a_face_or_a_label(tmp_path):
    """The one counts as wrong and calibrates nothing, the other is none."""
    clips = features.clips_of("v", [0, 1, 2, 0, 1])
    clips += features.clips_of("faceless", [2, 2], times=())
    clips += features.clips_of("unlabelled", [-1])
    made = pooled()
    found = validation.measure(made, written(tmp_path, clips))
    assert found["calibration"]["clips"] == 5
    measured = found["validation"]
    assert (measured["clips"], measured["answered"]) == (7, 5)
    assert measured["coverage"]["none"] == {
        "clips": 2,
        "answered": 0,
        "acc": 0.0,
    }
    assert measured["classes"]["c"]["clips"] == 3
    right = sum(s["acc"] * s["clips"] for s in measured["coverage"].values())
    assert measured["acc"] == pytest.approx(right / 7, abs=1e-6)


def test_many_batches_are_asked_as_few(tmp_path):
    """Compiled or not, the answers are the same."""
    clips = features.clips_of("v", [0, 1, 2] * 4)
    sources = written(tmp_path, clips)
    few, many = (validation.measure(pooled(size), sources) for size in (32, 2))
    assert few["validation"] == many["validation"]
    for name in ("temperature", "nll_before", "ece_after"):
        assert many["calibration"][name] == pytest.approx(
            few["calibration"][name], abs=2e-6
        )


def test_nothing_to_measure(tmp_path):
    made = pooled()
    assert validation.measure(made, []) == {}
    unlabelled = features.clips_of("u", [-1, -1])
    assert validation.measure(made, written(tmp_path, unlabelled)) == {}
    faceless = features.clips_of("f", [0, 1], times=())
    found = validation.measure(made, written(tmp_path, faceless))
    assert list(found) == ["validation"]
    assert found["validation"]["acc"] == 0


def test_many_sources_are_cut():
    names = np.array([f"s{i}" for i in range(150)] + ["s7"], object)
    right = np.ones(151, bool)
    found = validation._slices(names, right, right, validation.MAX_SOURCES)
    assert len(found) == validation.MAX_SOURCES
    # The largest first, then by name.
    assert list(found)[:3] == ["s7", "s0", "s1"]
    assert found["s7"] == {"clips": 2, "answered": 2, "acc": 1.0}


def test_a_run_without_validation_has_no_calibration(
    prepared, encoders, tmp_path
):
    data = dataclasses.replace(
        prepared, splits={"train": prepared.splits["train"]}
    )
    config = train.training_config(data, "majority", [])
    made = train.train(data, tmp_path, config, encoders)
    assert "calibration" not in made.info and "validation" not in made.info
    assert list(made.info["data"]["labels"]) == ["train"]


def test_a_system_without_a_gradient_is_calibrated(
    prepared, encoders, tmp_path
):
    config = train.training_config(prepared, "majority", [])
    made = train.train(prepared, tmp_path, config, encoders)
    found = made.info["calibration"]
    assert found["clips"] == 8
    # Eight classes, and one of eight answers is right.
    assert made.info["validation"]["acc"] == 0.125
    assert bundle.load(tmp_path).info == made.info
