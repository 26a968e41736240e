"""Confidence that means something: temperature scaling (Guo et al., 2017).

A network that is sure of its label in 9 of 10 clips is rarely right in 9 of
10. One number, the temperature T, is fitted on validation clips and stored
with the model; `softmax(log p / T)` are then probabilities whose largest is,
on average over clips like those, the share of right labels. The order of the
classes stays, so no label changes.

    T > 1  the network was too sure of itself
    T < 1  it was not sure enough

Two measures tell whether it worked. *NLL*: mean of -ln p(true class), in
nats. *ECE*, the expected calibration error: clips are put into bins by
confidence; the gap between the mean confidence and the share of right labels
of each bin, weighted by its clips. (It depends on the bins: `BINS` of equal
width. With few clips it is mostly noise, and never 0.)
"""

from collections.abc import Sequence

import numpy as np

from emorec.errors import EmorecError
from emorec.evaluation.metrics import softmax

BINS = 10
# Beyond these the answer is practically one class, or all classes alike.
MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 100.0
# What a smaller probability is taken for; as in `metrics`.
_SMALLEST = 1e-7
# Halvings of an interval of 13 in log(1 / T): far below what NLL can tell.
_HALVINGS = 60
_DIGITS = 6


def apply(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns calibrated probabilities.

    Args:
        probabilities: float [..., K], rows that sum to 1. A row of zeros (a
            clip without a face) stays one.
        temperature: Above 0; 1 changes nothing.

    Returns:
        float64 [..., K] in the order of `probabilities`, of which those
        below 1e-7 are alike.

    Raises:
        EmorecError: The temperature is not a number above 0.
    """
    if not 0 < temperature < float("inf"):
        raise EmorecError(
            f"`temperature` must be a number above 0. Received: {temperature}"
        )
    given = np.asarray(probabilities, np.float64)
    logs = np.log(np.maximum(given, _SMALLEST))
    return softmax(logs / temperature) * given.any(axis=-1, keepdims=True)


def fit(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Fits the temperature by the negative log-likelihood.

    The targets are smoothed by Laplace's rule of succession: of N clips, the
    true class has (N + 1) / (N + 2), as if one right and one wrong answer
    more had been seen. Else a network that is right on a few clips would be
    made certain of everything. With 1000 clips that is a change of .001.

    The likelihood is convex in 1 / T, so halving its derivative's interval
    finds the minimum: the same for the same clips, in any order up to the
    rounding of sums.

    Args:
        probabilities: float [N, K], K of 2 or more.
        labels: int [N], true class ids.

    Returns:
        `MIN_TEMPERATURE` to `MAX_TEMPERATURE`. The latter where the answers
        tell nothing about the labels.

    Raises:
        EmorecError: A shape, type or value is wrong, or N is 0.
    """
    scores, labels = _checked(probabilities, labels)
    logits = np.log(np.maximum(scores, _SMALLEST))
    n, k = logits.shape
    targets = np.full((n, k), 1 / ((n + 2) * max(k - 1, 1)))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)
    wanted = (targets * logits).sum(axis=1).mean()

    def slope(beta):
        answers = softmax(beta * logits)
        return (answers * logits).sum(axis=1).mean() - wanted

    low, high = -np.log(MAX_TEMPERATURE), -np.log(MIN_TEMPERATURE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if slope(np.exp(middle)) < 0:
            low = middle
        else:
            high = middle
    return float(np.exp(-(low + high) / 2))


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean of -ln p(true class), in nats.

    Args:
        probabilities: float [N, K].
        labels: int [N].

    Raises:
        EmorecError: A shape, type or value is wrong, or N is 0.
    """
    scores, labels = _checked(probabilities, labels)
    chosen = scores[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, _SMALLEST)).mean())


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> list[dict]:
    """Puts clips into bins by their confidence.

    Args:
        probabilities: float [N, K].
        labels: int [N].
        bins: How many, of equal width, from 0 to 1. A confidence on an edge
            belongs to the lower bin.

    Returns:
        For each bin `low`, `high`, `clips`, and `confidence` (mean) and
        `accuracy` (share of right labels), which are None without clips.

    Raises:
        EmorecError: A shape, type or value is wrong, or N is 0.
    """
    scores, labels = _checked(probabilities, labels)
    confidence = np.minimum(scores.max(axis=1), 1.0)
    right = scores.argmax(axis=1) == labels
    places = np.ceil(confidence * bins).astype(int).clip(1, bins) - 1
    found = []
    for i in range(bins):
        inside = places == i
        some = bool(inside.any())
        found.append(
            {
                "low": i / bins,
                "high": (i + 1) / bins,
                "clips": int(inside.sum()),
                "confidence": _rounded(confidence[inside]) if some else None,
                "accuracy": _rounded(right[inside]) if some else None,
            }
        )
    return found


def ece(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> float:
    """Returns the expected calibration error, 0 to 1; see `reliability`."""
    return ece_of(reliability(probabilities, labels, bins))


def ece_of(found: Sequence[dict]) -> float:
    """Returns the expected calibration error of bins of `reliability`."""
    total = sum(b["clips"] for b in found)
    gaps = (
        b["clips"] * abs(b["confidence"] - b["accuracy"])
        for b in found
        if b["clips"]
    )
    return float(sum(gaps) / max(total, 1))


def measure(
    probabilities: np.ndarray, labels: np.ndarray, temperature: float | None
) -> dict:
    """Measures the calibration of a model on clips, as reports show it.

    Args:
        probabilities: float [N, K], the model's own.
        labels: int [N].
        temperature: The model's; None where it has none.

    Returns:
        `clips`, `temperature`, `nll_before`, `ece_before`, `bins_before`
        and, of the calibrated probabilities, `nll_after`, `ece_after`,
        `bins`; without a temperature these are None.

    Raises:
        EmorecError: A shape, type or value is wrong, or N is 0.
    """
    values = {"clips": len(labels), "temperature": temperature}
    for when, answers, bins in (
        ("before", probabilities, "bins_before"),
        ("after", None, "bins"),
    ):
        if when == "after" and temperature is not None:
            answers = apply(probabilities, temperature)
        values[f"nll_{when}"] = values[f"ece_{when}"] = values[bins] = None
        if answers is not None:
            values[f"nll_{when}"] = round(nll(answers, labels), _DIGITS)
            values[bins] = reliability(answers, labels)
            values[f"ece_{when}"] = round(ece_of(values[bins]), _DIGITS)
    return values


def of_clips(probabilities: np.ndarray, labels: np.ndarray, split: str) -> dict:
    """Fits a model's temperature: what is stored with it as `calibration`.

    Args:
        probabilities: float [N, K].
        labels: int [N].
        split: The split that the clips are of.

    Returns:
        `method`, `split`, and all of `measure` on the very clips that the
        temperature was fitted to, which flatters it.

    Raises:
        EmorecError: A shape, type or value is wrong, or N is 0.
    """
    temperature = round(fit(probabilities, labels), _DIGITS)
    return {
        "method": "temperature",
        "split": split,
        **measure(probabilities, labels, temperature),
    }


def _rounded(values: np.ndarray) -> float:
    return round(float(values.mean()), _DIGITS)


def _checked(probabilities, labels):
    """Returns probabilities f64 [N, K] and labels int64 [N]."""
    scores, labels = np.asarray(probabilities), np.asarray(labels)
    n = len(labels) if labels.ndim == 1 else 0
    if not n or labels.dtype.kind not in "iu":
        raise EmorecError(
            "`labels` must be int [N] with N at least 1: there is nothing to "
            f"calibrate on. Received: {labels.dtype} {list(labels.shape)}"
        )
    if scores.ndim != 2 or len(scores) != n or scores.dtype.kind != "f":
        raise EmorecError(
            f"`probabilities` must be float [{n}, K] for {n} labels. "
            f"Received: {scores.dtype} {list(scores.shape)}"
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise EmorecError(
            f"`labels` must be class ids 0 to {scores.shape[1] - 1}. "
            f"Received: {labels.min()} to {labels.max()}"
        )
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all() or scores.min() < 0:
        raise EmorecError(
            "`probabilities` must be finite and at least 0. Received: "
            f"{scores.min()} to {scores.max()}"
        )
    return scores, labels.astype(np.int64)
