"""Metrics over *all* clips of a split, with MEC 2017's MAP and the ranking
mAP under their own names.

Two unlike things are called "mAP". They never share a name here:

    map          MAP, "macro average precision", of MEC 2017 and of the
                 paper's tables: the mean over all K classes of
                 TP / (TP + FP). A class that is never predicted has
                 precision 0.
    ranking_map  The mean, over the classes that occur, of the area under the
                 class's precision-recall curve.

A clip without an answer (no face was found) counts as wrong: it is in its
class's support, in no class's predictions, and it ranks with score 0.

What becomes of a class that no clip of the split has (`Metrics.absent`):

    map          counts it, as MEC 2017 averages over all classes: its
                 precision is 0, whether it is predicted (wrongly) or not.
    macro_f1     counts it if it is predicted (F1 = 0), else leaves it out:
                 0 / 0 is no score. This is scikit-learn's default.
    uar          leaves it out: it has no recall.
    ranking_map  leaves it out: it has no precision-recall curve.
"""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np

from emorec.errors import EmorecError

# The scalar fields of `Metrics` with the names that people are shown.
TITLES = {
    "map": "MAP (macro average precision)",
    "acc": "ACC (accuracy)",
    "ranking_map": "ranking mAP (area under precision-recall)",
    "macro_f1": "macro F1",
    "uar": "UAR (unweighted average recall)",
    "cross_entropy": "cross-entropy of answered clips",
}

# Farthest that a row of probabilities may sum from 1. A float32 softmax stays
# within 1e-6; the rest is room for half precision and weighted sums.
SUM_TOLERANCE = 1e-3
# A certain and wrong answer costs -ln(1e-7) = 16.1, not infinity (as Keras).
_SMALLEST_PROBABILITY = 1e-7
# Decimals of a probability up to which clips are ranked.
_RANKED_DIGITS = 6
# Above this many classes `format_table` prints no confusion matrix.
_MAX_PRINTED_CLASSES = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Metrics:
    """The result of `evaluate`. All shares are 0 to 1.

    Attributes:
        names: The K class names.
        n: Clips.
        answered: Clips with an answer.
        map: MAP, macro average precision over all K classes (MEC 2017).
        acc: Accuracy over all clips.
        ranking_map: Mean of `average_precision` over classes that occur.
        macro_f1: Mean F1 over classes that occur or are predicted.
        uar: Mean recall over classes that occur.
        cross_entropy: Mean of -ln p(label) over the answered clips, in nats;
            None where no clip is answered.
        precision: f64 [K]; 0 where a class is never predicted.
        recall: f64 [K]; NaN where a class is absent.
        f1: f64 [K]; NaN where a class neither occurs nor is predicted.
        average_precision: f64 [K]; NaN where a class is absent.
        support: int64 [K], clips of each class.
        confusion: int64 [K, K + 1], rows are true classes, columns predicted
            ones, the last column counts clips without an answer.
        absent: Names of classes that no clip has.
        never_predicted: Names of classes that no answer names.
    """

    names: tuple[str, ...]
    n: int
    answered: int
    map: float
    acc: float
    ranking_map: float
    macro_f1: float
    uar: float
    cross_entropy: float | None
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    average_precision: np.ndarray
    support: np.ndarray
    confusion: np.ndarray
    absent: tuple[str, ...]
    never_predicted: tuple[str, ...]

    def to_dict(self) -> dict:
        """Returns plain values for JSON; None stands for undefined."""
        values = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                if value.dtype == np.float64:
                    value = np.where(np.isnan(value), None, value)
                value = value.tolist()
            values[field.name] = list(value) if type(value) is tuple else value
        return values


def evaluate(
    labels: np.ndarray,
    probabilities: np.ndarray,
    answered: np.ndarray | None,
    names: Sequence[str],
) -> Metrics:
    """Measures answers against labels.

    A clip's answer is its most probable class, the first of equals.

    Args:
        labels: int [N], true class ids, 0 to K - 1.
        probabilities: float [N, K], rows that sum to 1. Rows of clips
            without an answer are not looked at.
        answered: bool [N], False where a clip has no answer; None where all
            clips have one.
        names: K class names.

    Raises:
        EmorecError: A shape, type or value is wrong, or N is 0.
    """
    labels, scores, answered = _checked(labels, probabilities, answered, names)
    k = len(names)
    predicted = np.where(answered, scores.argmax(axis=1), k)
    confusion = np.zeros((k, k + 1), np.int64)
    np.add.at(confusion, (labels, predicted), 1)

    support = confusion.sum(axis=1)
    hits = np.diagonal(confusion)
    claims = confusion[:, :k].sum(axis=0)
    precision = _ratio(hits, claims, undefined=0.0)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, support + claims)
    # As many digits as a float32 softmax has, and as `predictions.csv` has: a
    # class that a model cannot give has a score of 1e-7 or so, and its last
    # bits, which differ from one processor to the next, are no ranking.
    ranked = scores.round(_RANKED_DIGITS)
    curves = np.array(
        [average_precision(labels == c, ranked[:, c]) for c in range(k)]
    )
    return Metrics(
        names=tuple(names),
        n=len(labels),
        answered=int(answered.sum()),
        map=float(precision.mean()),
        acc=float(hits.sum() / len(labels)),
        ranking_map=float(np.nanmean(curves)),
        macro_f1=float(np.nanmean(f1)),
        uar=float(np.nanmean(recall)),
        cross_entropy=_cross_entropy(labels[answered], scores[answered]),
        precision=precision,
        recall=recall,
        f1=f1,
        average_precision=curves,
        support=support,
        confusion=confusion,
        absent=_named(names, support == 0),
        never_predicted=_named(names, claims == 0),
    )


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under a precision-recall curve, not interpolated.

    The sum over thresholds, from high to low, of precision x the recall that
    the threshold adds. Equal scores are one threshold, so the order of the
    clips does not matter.

    Args:
        positive: bool [N], the clips of the class.
        scores: float [N].

    Returns:
        0 to 1; NaN where nothing is positive.
    """
    total = int(positive.sum())
    if not total:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # The last place of each run of equal scores.
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    hits = np.cumsum(positive[order])[ends]
    gains = np.diff(hits, prepend=0)
    return float(np.sum(gains * (hits / (ends + 1))) / total)


def majority_class(labels: np.ndarray) -> int:
    """Returns the most frequent class id, the lowest of equals.

    Args:
        labels: int [N], class ids, N at least 1.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise EmorecError(
            "`labels` must be int [N] with N at least 1. "
            f"Received: {labels.dtype} {list(labels.shape)}"
        )
    if labels.min() < 0:
        raise EmorecError(
            f"`labels` must be class ids from 0. Received: {labels.min()}"
        )
    ids, counts = np.unique(labels, return_counts=True)
    return int(ids[counts.argmax()])


def format_table(metrics: Metrics) -> str:
    """Returns the metrics as aligned text for a terminal, shares in percent."""
    silent = metrics.n - metrics.answered
    head = f"{metrics.n} clips, {metrics.answered} answered"
    if silent:
        head += f"; {silent} without a face, counted as wrong"
    width = max(map(len, TITLES.values()))
    lines = [head, ""]
    for field, title in TITLES.items():
        value = getattr(metrics, field)
        if field == "cross_entropy":
            text = "     -" if value is None else f"{value:6.3f}"
        else:
            text = f"{100 * value:6.2f} %"
        lines.append(f"{title:<{width}}  {text}")
    lines += ["", *_class_lines(metrics), "", *_confusion_lines(metrics)]
    if metrics.absent:
        lines += [
            "",
            f"no clips of: {', '.join(metrics.absent)} (precision 0 in MAP; "
            "left out of UAR and ranking mAP)",
        ]
    return "\n".join(lines)


def _class_lines(metrics: Metrics) -> list[str]:
    width = max(map(_columns, (*metrics.names, "class")))
    heads = ("precision", "recall", "F1", "avg. prec.")
    shares = (
        metrics.precision,
        metrics.recall,
        metrics.f1,
        metrics.average_precision,
    )
    lines = [
        "class".ljust(width + 5)
        + "".join(h.rjust(11) for h in heads)
        + "  clips"
    ]
    for i, name in enumerate(metrics.names):
        cells = "".join(
            ("-" if np.isnan(s[i]) else f"{100 * s[i]:.2f} %").rjust(11)
            for s in shares
        )
        name = name + " " * (width - _columns(name))
        lines.append(f"{i:>3}  {name}{cells}{metrics.support[i]:>7}")
    return lines


def _confusion_lines(metrics: Metrics) -> list[str]:
    k = len(metrics.names)
    if k > _MAX_PRINTED_CLASSES:
        return [f"confusion matrix of {k} classes: too wide to print"]
    width = max(5, len(str(metrics.confusion.max())) + 1)
    heads = [*map(str, range(k)), "none"]
    lines = [
        "confusion matrix: true class down, answer across, "
        "none = without an answer",
        "    " + "".join(h.rjust(width) for h in heads),
    ]
    for i, row in enumerate(metrics.confusion):
        cells = "".join(str(v).rjust(width) for v in row)
        lines.append(f"{i:>4}{cells}  {metrics.names[i]}")
    return lines


def _columns(text: str) -> int:
    """Returns how many terminal columns `text` takes (Chinese: two each)."""
    return sum(
        0
        if unicodedata.combining(c)
        else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _named(names: Sequence[str], chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(n for n, c in zip(names, chosen, strict=True) if c)


def _ratio(a, b, undefined: float = float("nan")) -> np.ndarray:
    """Returns a / b in f64, `undefined` where b is 0."""
    result = np.full(len(b), undefined, np.float64)
    return np.divide(a, b, out=result, where=b > 0)


def _cross_entropy(labels: np.ndarray, scores: np.ndarray) -> float | None:
    if not len(labels):
        return None
    chosen = scores[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, _SMALLEST_PROBABILITY)).mean())


def _checked(labels, probabilities, answered, names):
    """Returns labels int64 [N], scores f64 [N, K], answered bool [N]."""
    labels, scores = np.asarray(labels), np.asarray(probabilities)
    n, k = len(labels) if labels.ndim == 1 else 0, len(names)
    if not n or labels.dtype.kind not in "iu":
        raise EmorecError(
            "`labels` must be int [N] with N at least 1: there is nothing to "
            f"measure. Received: {labels.dtype} {list(labels.shape)}"
        )
    if not k or scores.shape != (n, k) or scores.dtype.kind != "f":
        raise EmorecError(
            f"`probabilities` must be float [{n}, {k}] for {n} labels and {k} "
            f"names. Received: {scores.dtype} {list(scores.shape)}"
        )
    answered = np.ones(n, bool) if answered is None else np.asarray(answered)
    if answered.shape != (n,) or answered.dtype != bool:
        raise EmorecError(
            f"`answered` must be bool [{n}]. "
            f"Received: {answered.dtype} {list(answered.shape)}"
        )
    if labels.min() < 0 or labels.max() >= k:
        raise EmorecError(
            f"`labels` must be class ids 0 to {k - 1}. "
            f"Received: {labels.min()} to {labels.max()}"
        )
    scores = np.where(answered[:, None], scores.astype(np.float64), 0.0)
    _check_distributions(scores, answered)
    return labels.astype(np.int64), scores, answered


def _check_distributions(scores: np.ndarray, answered: np.ndarray):
    """Refuses rows [K] of answered clips that are no distribution."""
    broken = ~np.isfinite(scores).all(axis=1)
    if broken.any():
        raise EmorecError(
            f"`probabilities` must be finite. Received: {broken.sum()} rows "
            f"with NaN or infinity, the first is row {broken.argmax()}"
        )
    sums, least = scores.sum(axis=1), scores.min(axis=1)
    wrong = answered & ((least < 0) | (abs(sums - 1) > SUM_TOLERANCE))
    if wrong.any():
        i = wrong.argmax()
        raise EmorecError(
            "each row of `probabilities` must be at least 0 and sum to 1 "
            f"(a softmax, not logits). Received: {wrong.sum()} other rows, "
            f"the first is row {i} with sum {sums[i]:.6g}, least {least[i]:.6g}"
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits [..., K]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
