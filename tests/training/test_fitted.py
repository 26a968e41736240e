"""Priors, label mappings and the weights of an ensemble."""

import numpy as np
import pytest
from scipy import optimize

from emorec import labels as label_sets
from emorec.errors import ConfigError
from emorec.labels import LabelSet
from emorec.models.untrained import FaceAverage
from emorec.training import fitted


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
