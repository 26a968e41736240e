"""emorec's metrics for TensorFlow Model Analysis, computed by Beam.

The definitions are those of `emorec.evaluation.metrics`, which see: MAP is
the mean over all K classes of TP / (TP + FP), 0 for a class that is never
predicted; a clip without an answer, whose probabilities are all 0, counts as
wrong and is in no class's predictions; the first of equals is the answer.

A worker counts into one array, `counts` int64 [K + 1, K + 1]. Rows are true
classes; columns are answers, the last one for clips without an answer. The
last row counts clips that cannot be measured: their label is none of the K
classes, or their probabilities are not finite. One such clip makes every
metric NaN, which no threshold lets pass: an unlabelled clip among the others
must not be mistaken for a wrong answer.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util

MAP_NAME = "map"
ACCURACY_NAME = "acc"
CROSS_ENTROPY_NAME = "cross_entropy"
UNMEASURED_NAME = "unmeasured_clips"
# Private to TFMA by its first character: not written with the results.
_COUNTS_NAME = "_emorec_counts"
# As in `emorec.evaluation.metrics`: what a certain and wrong answer may cost.
_SMALLEST_PROBABILITY = 1e-7


@dataclasses.dataclass
class Counts:
    """What was counted; the sum of two is what both saw.

    Attributes:
        counts: int64 [K + 1, K + 1], as the module tells; None before the
            first clip where K is not known.
        loss: Sum of -ln p(label) over answered clips, nats.
    """

    counts: np.ndarray | None
    loss: float = 0.0

    def add(self, other: "Counts") -> None:
        """Adds what another saw.

        Raises:
            ValueError: It saw another number of classes.
        """
        if other.counts is None:
            return
        if self.counts is None:
            self.counts = np.zeros_like(other.counts)
        if self.counts.shape != other.counts.shape:
            raise ValueError(
                f"answers of {len(other.counts) - 1} classes among those of "
                f"{len(self.counts) - 1}"
            )
        self.counts += other.counts
        self.loss += other.loss


def count(label, probabilities: np.ndarray) -> Counts:
    """Returns what one clip adds.

    Args:
        label: Its class id, a number or an array of one; any other size is a
            label that is absent.
        probabilities: float [K], all 0 for a clip without an answer.
    """
    k = len(probabilities)
    counts = np.zeros((k + 1, k + 1), np.int64)
    label = np.asarray(label).reshape(-1)
    known = label.size == 1 and 0 <= label[0] < k
    if not known or not np.isfinite(probabilities).all():
        counts[k, k] = 1
        return Counts(counts)
    row = int(label[0])
    if not probabilities.any():
        counts[row, k] = 1
        return Counts(counts)
    counts[row, int(np.argmax(probabilities))] = 1
    chosen = max(float(probabilities[row]), _SMALLEST_PROBABILITY)
    return Counts(counts, -float(np.log(chosen)))


def macro_average_precision(found: Counts) -> float:
    """Returns MAP, 0 to 1; NaN where a clip could not be measured."""
    if unmeasured(found):
        return float("nan")
    hits, claims = _hits(found), found.counts[:-1, :-1].sum(axis=0)
    precision = np.zeros(len(hits))
    np.divide(hits, claims, out=precision, where=claims > 0)
    return float(precision.mean())


def accuracy(found: Counts) -> float:
    """Returns the share of all clips that are answered rightly, 0 to 1."""
    if unmeasured(found):
        return float("nan")
    return float(_hits(found).sum() / found.counts.sum())


def cross_entropy(found: Counts) -> float:
    """Returns the mean of -ln p(label) over answered clips; NaN for none."""
    answered = int(found.counts[:-1, :-1].sum())
    if unmeasured(found) or not answered:
        return float("nan")
    return found.loss / answered


def unmeasured(found: Counts) -> float:
    """Returns the number of clips that could not be measured."""
    return float(found.counts[-1].sum())


def _hits(found: Counts) -> np.ndarray:
    return np.diagonal(found.counts)[:-1].astype(np.float64)


class _CountClips(beam.CombineFn):
    """Adds up what the clips of a slice say."""

    def __init__(self, key, eval_config, num_classes: int):
        self._key = key
        self._eval_config = eval_config
        self._num_classes = num_classes

    def create_accumulator(self) -> Counts:
        k = self._num_classes
        return Counts(np.zeros((k + 1, k + 1), np.int64) if k else None)

    def add_input(self, accumulator: Counts, element) -> Counts:
        label, probabilities, _ = next(
            metric_util.to_label_prediction_example_weight(
                element,
                eval_config=self._eval_config,
                model_name=self._key.model_name,
                output_name=self._key.output_name,
                flatten=False,
                allow_none=True,
            )
        )
        accumulator.add(count(label, np.asarray(probabilities).reshape(-1)))
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Counts]) -> Counts:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.add(accumulator)
        return merged

    def extract_output(self, accumulator: Counts) -> dict:
        return {self._key: accumulator}


def _derived(figure: Callable[[Counts], float]) -> Callable:
    """Returns what makes the computations of a metric.

    All metrics of one model and output share one count: TFMA drops equal
    computations.
    """

    def computations(
        name: str,
        labels: Sequence[str] = (),
        eval_config: tfma.EvalConfig | None = None,
        model_name: str = "",
        output_name: str = "",
    ) -> metric_types.MetricComputations:
        key = metric_types.MetricKey(name, model_name, output_name)
        counts = metric_types.MetricKey(_COUNTS_NAME, model_name, output_name)

        def result(found: dict) -> dict:
            return {key: figure(found[counts])}

        return [
            metric_types.MetricComputation(
                keys=[counts],
                preprocessors=None,
                combiner=_CountClips(counts, eval_config, len(labels)),
            ),
            metric_types.DerivedMetricComputation(keys=[key], result=result),
        ]

    return metric_util.merge_per_key_computations(computations)


class MacroAveragePrecision(tfma.metrics.Metric):
    """MAP, macro average precision over all K classes (MEC 2017), 0 to 1.

    Args:
        name: Its name in the results.
        labels: The K class names; without them K is the predictions' size.
    """

    def __init__(self, name: str = MAP_NAME, labels: Sequence[str] = ()):
        super().__init__(
            _derived(macro_average_precision),
            name=name,
            labels=list(labels),
        )


class ClipAccuracy(tfma.metrics.Metric):
    """Accuracy over all clips, unanswered ones are wrong, 0 to 1.

    Args: as `MacroAveragePrecision`.
    """

    def __init__(self, name: str = ACCURACY_NAME, labels: Sequence[str] = ()):
        super().__init__(_derived(accuracy), name=name, labels=list(labels))


class AnsweredCrossEntropy(tfma.metrics.Metric):
    """Mean of -ln p(label) over answered clips, nats; NaN for none.

    Args: as `MacroAveragePrecision`.
    """

    def __init__(
        self, name: str = CROSS_ENTROPY_NAME, labels: Sequence[str] = ()
    ):
        super().__init__(
            _derived(cross_entropy), name=name, labels=list(labels)
        )


class UnmeasuredClips(tfma.metrics.Metric):
    """Clips without one of the K labels, or with answers that are no numbers.

    Args: as `MacroAveragePrecision`.
    """

    def __init__(self, name: str = UNMEASURED_NAME, labels: Sequence[str] = ()):
        super().__init__(_derived(unmeasured), name=name, labels=list(labels))
