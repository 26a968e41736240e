"""Calibration: against cases computed by hand, and what must always hold."""

import json

import numpy as np
import pytest

from emorec.errors import EmorecError
from emorec.evaluation import calibration

# Two classes: confidences .9, .9, .6, .6, the last of each pair wrong.
SCORES = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
LABELS = np.array([0, 1, 1, 0])


def drawn(n=4000, k=5, seed=0, temperature=1.0):
    """Probabilities, and labels that are right as often as those say.

    The probabilities are then made of logits divided by `temperature`.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, k))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return calibration.apply(true, temperature), labels.clip(0, k - 1)


def test_probabilities_at_a_temperature():
    given = np.array([0.5, 0.25, 0.25], np.float32)
    root = np.sqrt(given) / np.sqrt(given).sum()
    np.testing.assert_allclose(calibration.apply(given, 2.0), root, atol=1e-7)
    np.testing.assert_allclose(
        calibration.apply(given, 0.5), [2 / 3, 1 / 6, 1 / 6], atol=1e-7
    )
    np.testing.assert_allclose(calibration.apply(given, 1.0), given)
    # A clip without a face has no answer at any temperature.
    rows = calibration.apply(np.stack([given, 0 * given]), 3.0)
    assert rows.shape == (2, 3)
    assert rows[0].sum() == pytest.approx(1) and not rows[1].any()


def test_no_label_changes():
    scores, _ = drawn(500, seed=3)
    scores[0] = [0, 1, 0, 0, 0]
    scores[1] = [0.2, 0.2, 0.2, 0.2, 0.2]
    for temperature in (0.01, 0.3, 1, 7.5, 100):
        found = calibration.apply(scores, temperature)
        np.testing.assert_array_equal(
            found.argmax(axis=1), scores.argmax(axis=1)
        )
        np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_what_is_no_temperature(temperature):
    with pytest.raises(EmorecError) as e:
        calibration.apply(SCORES, temperature)
    assert str(e.value) == (
        f"`temperature` must be a number above 0. Received: {temperature}"
    )


def test_a_fit_by_hand():
    # Two clips of two, right with .9. Laplace's rule: 3 of 4 are right, so
    # sigmoid(ln 9 / T) = 3 / 4, and ln 9 = 2 ln 3.
    scores = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert calibration.fit(scores, np.array([0, 1])) == pytest.approx(2.0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature):
    # Logits that were divided by it too much are too sure below 1.
    scores, labels = drawn(temperature=1 / temperature)
    found = calibration.fit(scores, labels)
    assert found == pytest.approx(temperature, rel=0.06)
    measured = calibration.measure(scores, labels, found)
    assert measured["ece_after"] < 0.03
    if temperature != 1:
        assert measured["ece_before"] > 0.1
        assert measured["nll_after"] < measured["nll_before"]
    mixed = np.random.default_rng(1).permutation(len(labels))
    again = calibration.fit(scores[mixed], labels[mixed])
    assert again == pytest.approx(found, rel=1e-9)


def test_few_clips_make_no_certainty():
    """All of eight are right, and yet T does not fall to its bound."""
    scores = np.full((8, 8), 0.1 / 7)
    np.fill_diagonal(scores, 0.9)
    labels = np.arange(8)
    found = calibration.fit(scores, labels)
    assert found == pytest.approx(1.0, abs=0.05)
    sure = calibration.apply(scores, found).max()
    assert sure == pytest.approx(0.9, abs=0.01)  # 9 of 10.


def test_answers_that_tell_nothing_have_no_confidence():
    scores, labels = drawn(200, 4)
    found = calibration.fit(scores, scores.argmin(axis=1))
    assert found == pytest.approx(calibration.MAX_TEMPERATURE)
    assert calibration.apply(scores, found).max() < 0.3
    # A class that the answers rule out altogether is no endless penalty.
    scores[:, 0] = 0
    scores /= scores.sum(axis=1, keepdims=True)
    assert np.isfinite(calibration.nll(scores, labels))
    assert calibration.fit(scores, labels) < calibration.MAX_TEMPERATURE


def test_bins_and_errors_by_hand():
    bins = calibration.reliability(SCORES, LABELS)
    assert len(bins) == 10
    filled = {b["high"]: b for b in bins if b["clips"]}
    # .9 and .6 are the upper edges of their bins.
    fields = ("low", "high", "clips", "confidence", "accuracy")
    assert [tuple(filled[high][f] for f in fields) for high in (0.6, 0.9)] == [
        (0.5, 0.6, 2, 0.6, 0.5),
        (0.8, 0.9, 2, 0.9, 0.5),
    ]
    assert len(filled) == 2
    assert [bins[0][f] for f in fields] == [0.0, 0.1, 0, None, None]
    # (2 x .4 + 2 x .1) / 4
    assert calibration.ece(SCORES, LABELS) == pytest.approx(0.25)
    # One bin: mean confidence .75, half is right.
    assert calibration.ece(SCORES, LABELS, 1) == pytest.approx(0.25)
    expected = -np.log([0.9, 0.1, 0.6, 0.4]).mean()
    assert calibration.nll(SCORES, LABELS) == pytest.approx(expected)
    one = calibration.reliability(np.array([[1.0, 0.0]]), np.array([0]))
    assert one[-1]["clips"] == 1


def test_what_is_stored_with_a_model():
    scores, labels = drawn(temperature=0.5)
    found = calibration.of_clips(scores, labels, "validation")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["method"], found["split"]) == ("temperature", "validation")
    assert found["clips"] == len(labels)
    assert found["temperature"] == pytest.approx(2.0, rel=0.06)
    after = calibration.apply(scores, found["temperature"])
    assert found["bins"] == calibration.reliability(after, labels)
    assert found["bins_before"] == calibration.reliability(scores, labels)
    assert found["ece_after"] == pytest.approx(
        calibration.ece(after, labels), abs=1e-6
    )
    assert sum(b["clips"] for b in found["bins"]) == len(labels)


def test_a_model_without_a_temperature():
    found = calibration.measure(SCORES, LABELS, None)
    assert found["temperature"] is found["ece_after"] is None
    assert found["bins"] is found["nll_after"] is None
    assert found["ece_before"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    "scores, labels, message",
    [
        (
            np.zeros((0, 2)),
            np.zeros(0, int),
            "`labels` must be int [N] with N at least 1: there is nothing to "
            "calibrate on. Received: int64 [0]",
        ),
        (
            SCORES,
            LABELS[:2],
            "`probabilities` must be float [2, K] for 2 labels. Received: "
            "float64 [4, 2]",
        ),
        (
            SCORES,
            LABELS + 1,
            "`labels` must be class ids 0 to 1. Received: 1 to 2",
        ),
        (
            SCORES - 0.5,
            LABELS,
            "`probabilities` must be finite and at least 0. Received: "
            "-0.4 to 0.4",
        ),
        (
            SCORES * float("nan"),
            LABELS,
            "`probabilities` must be finite and at least 0. Received: "
            "nan to nan",
        ),
    ],
    ids=["none", "other lengths", "other classes", "logits", "nan"],
)
def test_wrong_arguments(scores, labels, message):
    for function in (calibration.fit, calibration.nll, calibration.ece):
        with pytest.raises(EmorecError) as e:
            function(scores, labels)
        assert str(e.value) == message
