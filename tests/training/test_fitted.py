"""Priors, label mappings and the weights of an ensemble."""

import types

import keras
import numpy as np
import pytest
from scipy import optimize
from testing import features

from emorec import labels as label_sets
from emorec.config import Config, ModelConfig
from emorec.data import input_pipeline
from emorec.errors import ConfigError, TrainingError
from emorec.labels import LabelSet
from emorec.models import presets
from emorec.models.untrained import FaceAverage, Majority
from emorec.training import fitted, loop


class Classifier:
    """Says what its answers mean, and no more."""

    id = "some_classifier"

    def __init__(self, *labels):
        self.labels = labels


def given(seed, clips, members):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.01, 1, (clips, members))


@pytest.mark.parametrize("members", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_weights_are_the_minimum_over_the_simplex(seed, members):
    """Against a general solver of constrained problems."""
    values = given(seed, 200, members)
    weights = fitted.convex_weights(values)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    other = optimize.minimize(
        lambda w: fitted.log_loss(values, w),
        np.full(members, 1 / members),
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert fitted.log_loss(values, weights) <= other.fun + 1e-7
    np.testing.assert_allclose(weights, other.x, atol=2e-3)


def test_weights_by_hand():
    # Three clips for the first, one for the second: 3/4 and 1/4.
    values = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    np.testing.assert_allclose(fitted.convex_weights(values), [0.75, 0.25])
    # A member that is better on every clip gets it all.
    values = np.array([[0.9, 0.3], [0.8, 0.2], [0.6, 0.5]])
    np.testing.assert_allclose(fitted.convex_weights(values), [1, 0], atol=1e-6)
    # Members that say the same keep equal weights.
    np.testing.assert_allclose(
        fitted.convex_weights(np.full((5, 4), 0.3)), [0.25] * 4
    )


def test_the_fit_is_reproducible_and_blind_to_order():
    values = given(7, 300, 3)
    weights = fitted.convex_weights(values)
    np.testing.assert_array_equal(weights, fitted.convex_weights(values))
    np.testing.assert_allclose(
        weights, fitted.convex_weights(values[::-1]), atol=1e-6
    )
    np.testing.assert_allclose(
        weights[::-1], fitted.convex_weights(values[:, ::-1]), atol=1e-6
    )


def test_a_clip_that_nobody_expected_keeps_the_fit_finite():
    weights = fitted.convex_weights(np.array([[0.0, 0.0], [0.5, 0.1]]))
    assert np.isfinite(weights).all()
    assert np.isfinite(fitted.log_loss(np.zeros((1, 2)), weights))


def mapped(classes, labels):
    model = FaceAverage(len(classes), len(labels))
    notes = fitted._fit_mapping(
        model, Classifier(*classes), LabelSet("mine", tuple(labels))
    )
    return model, notes


def test_a_mapping_by_name_and_by_other_words():
    model, notes = mapped(
        ("anger", "Happiness", "fear"), ("happy", "angry", "worried")
    )
    np.testing.assert_array_equal(
        model.get_layer("label_average").mapping,
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
    )
    assert notes == {
        "notes": [
            "the face classifier cannot give: worried",
            "answers of the face classifier that no label takes, spread over "
            "the others: fear",
        ],
        "cannot_give": ["worried"],
        "unused": ["fear"],
    }


def test_nothing_to_say_where_all_fits():
    _, notes = mapped(label_sets.FER2013, label_sets.FER2013[::-1])
    assert notes == {"notes": [], "cannot_give": [], "unused": []}


def test_a_classifier_of_other_things_is_refused():
    with pytest.raises(ConfigError) as e:
        mapped(("cat", "dog"), ("happy", "sad"))
    assert str(e.value) == (
        "the face encoder 'some_classifier' knows none of the labels happy, "
        "sad. Received: its classes cat, dog"
    )
    with pytest.raises(ConfigError) as e:
        mapped((), ("happy", "sad"))
    assert str(e.value) == (
        "the face encoder 'some_classifier' does not say what its answers "
        "mean; put a labels.txt with one class a line beside its file"
    )


def run_of(model, folder, system, validation=(), counts=(0, 0, 0)) -> loop.Run:
    """A run on records of features in which nothing is trained."""
    return loop.Run(
        model=model,
        train=[],
        validation=validation,
        config=Config().override([f"model.system={system}"]),
        class_counts=np.array(counts),
        seed=0,
        name="a run",
        folder=folder,
    )


def test_a_prior_is_of_the_clips_that_were_counted(tmp_path):
    model = Majority(3)
    run = run_of(model, tmp_path, "majority", counts=[6, 1, 0])
    assert fitted.fit(run, None, None, []) == {}
    # One clip more of each: 7, 2 and 1 of 10.
    prior = np.exp(model.get_layer("class_prior").log_prior)
    np.testing.assert_allclose(prior, [0.7, 0.2, 0.1], rtol=1e-6)


def test_a_prior_of_nothing_is_refused(tmp_path):
    with pytest.raises(TrainingError) as e:
        fitted.fit(run_of(Majority(3), tmp_path, "majority"), None, None, [])
    assert str(e.value) == (
        "no clip to count: none of the training records has both a face and "
        "a label"
    )


SHAPES = features.HOLDS
MEMBERS = tuple(
    ModelConfig(system=s, encoder_units=4, rnn_units=4)
    for s in ("face_rnn", "context_rnn")
)
LABELLED = [0, 0, 1, 2, 1, 0, 2]


def ensemble(folder, clips):
    """An ensemble's run, and its members, as bundles are."""
    keras.utils.set_random_seed(0)
    members = [
        types.SimpleNamespace(
            model=presets.build(config, SHAPES, 3),
            system=config.system,
            info={"run": f"run {i}", "notes": [f"note {i}"]},
        )
        for i, config in enumerate(MEMBERS)
    ]
    rng = np.random.default_rng(3)
    for member in members:
        for variable in member.model.trainable_variables:
            variable.assign(rng.normal(0, 0.7, variable.shape))
    config = ModelConfig(system="ensemble")
    model = presets.build(config, SHAPES, 3, members=MEMBERS)
    validation = []
    if clips:
        path = features.write(folder / "validation.tfrecord", clips)
        validation = features.sources([path])
    return run_of(model, folder, "ensemble", validation), members


def answers_of(model, run) -> np.ndarray:
    """What a network gives to the true class of each clip, [N]."""
    found = []
    for inputs, labels in input_pipeline.evaluation_clips(
        run.validation, run.config, trainable_only=True
    ):
        wanted = {t.name: inputs[t.name] for t in model.inputs}
        logits = np.float64(model(wanted, training=False)["logits"])
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        found.append(shares[np.arange(len(labels)), labels.numpy()])
    return np.concatenate(found)


def test_an_ensemble_takes_its_members_as_they_are_and_weighs_them(tmp_path):
    clips = features.clips_of("v", LABELLED)
    left_out = [
        features.FeatureClip("no label", label_id=-1),
        features.FeatureClip("no face", times=()),
    ]
    run, members = ensemble(tmp_path, [*clips[:3], *left_out, *clips[3:]])
    info = fitted.fit(run, None, None, members)
    for inner, member in zip(run.model.members, members, strict=True):
        assert len(inner.weights) == len(member.model.weights) > 0
        for a, b in zip(inner.weights, member.model.weights, strict=True):
            np.testing.assert_array_equal(a, b)
    values = np.stack([answers_of(m.model, run) for m in members], axis=1)
    weights = fitted.convex_weights(values)
    assert weights.min() > 0.05, "one takes all: the order is not seen"
    np.testing.assert_allclose(run.model.member_weights, weights, atol=1e-5)
    assert [m["system"] for m in info["members"]] == ["face_rnn", "context_rnn"]
    assert [m["run"] for m in info["members"]] == ["run 0", "run 1"]
    given = [m["weight"] for m in info["members"]]
    assert given == pytest.approx(list(weights), abs=1e-5)
    assert sum(given) == pytest.approx(1)
    assert info["validation_clips"] == len(LABELLED)
    # The log loss is that of the network's own answers.
    loss = -np.log(answers_of(run.model, run)).mean()
    assert info["validation_log_loss"] == pytest.approx(loss, rel=1e-5)
    assert info["notes"] == ["note 0", "note 1"]


def test_an_ensemble_without_validation_clips_is_refused(tmp_path):
    start = "the weights of an ensemble are fitted on the validation split, "
    run, members = ensemble(tmp_path, [])
    with pytest.raises(TrainingError) as e:
        fitted.fit(run, None, None, members)
    assert str(e.value) == start + "and the data set has none"
    clips = [
        features.FeatureClip("no label", label_id=-1),
        features.FeatureClip("no face", times=()),
    ]
    run, members = ensemble(tmp_path, clips)
    with pytest.raises(TrainingError) as e:
        fitted.fit(run, None, None, members)
    assert str(e.value) == (
        start + "and none of its clips has both a face and a label"
    )
