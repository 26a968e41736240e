"""What the Evaluator measures, what a model must reach, and its results.

The model is asked through its signature `feature_examples`, on records of
features, so that no CNN runs again. `read_result` turns what TensorFlow Model
Analysis wrote into plain numbers and reasons in words.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.writers import eval_config_writer

from emorec.data import files, keys
from emorec.errors import ConfigError, RecordError
from tfx_pipeline import map_metric

SIGNATURE = "feature_examples"
SLICES = (keys.CLIP_SOURCE, keys.FRAMES_COVERAGE)
OVERALL = "all"
PR_AUC = "auc_precision_recall"
# TFMA's own default is 10 000 for each class and slice. Measured on 2000
# clips: the area by 1000 differs from that by 0.0001.
_THRESHOLDS = 1000


def eval_config(
    labels: Sequence[str],
    min_map: float = 0.0,
    min_accuracy: float = 0.0,
    max_map_drop: float = 0.0,
    slices: Sequence[str] = SLICES,
) -> tfma.EvalConfig:
    """Returns the config of TFX's Evaluator.

    Thresholds hold for all clips together: a slice of three clips says
    little. Without a baseline the change threshold is left out by TFX.

    Args:
        labels: The K class names, in the order of the model's answers.
        min_map: Least MAP, 0 to 1.
        min_accuracy: Least accuracy, 0 to 1.
        max_map_drop: How far MAP may lie below the baseline's, 0 to 1.
        slices: Features of one string each by whose values the clips are
            measured apart.

    Raises:
        ConfigError: A number is not 0 to 1, or there are less than 2 labels.
    """
    for name, value in (
        ("min_map", min_map),
        ("min_accuracy", min_accuracy),
        ("max_map_drop", max_map_drop),
    ):
        if not 0 <= value <= 1:
            raise ConfigError(f"`{name}` must be 0 to 1. Received: {value}")
    if len(labels) < 2:
        raise ConfigError(
            f"`labels` must be two or more names. Received: {list(labels)}"
        )
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=SIGNATURE,
                label_key=keys.CLIP_LABEL_ID,
                prediction_key="probabilities",
                # Else TFMA looks for a Keras model in the SavedModel.
                model_type=tfma.TF_GENERIC,
            )
        ],
        slicing_specs=[
            tfma.SlicingSpec(),
            *(tfma.SlicingSpec(feature_keys=[key]) for key in slices),
        ],
        metrics_specs=_metrics(
            list(labels),
            map=_threshold(min_map, max_map_drop),
            acc=_threshold(min_accuracy),
        ),
    )


def _metrics(labels: list[str], **thresholds) -> list[tfma.MetricsSpec]:
    ours = [
        tfma.MetricConfig(
            class_name=kind.__name__,
            module=map_metric.__name__,
            config=json.dumps({"name": name, "labels": labels}),
            per_slice_thresholds=[thresholds[name]]
            if name in thresholds
            else [],
        )
        for name, kind in (
            (map_metric.MAP_NAME, map_metric.MacroAveragePrecision),
            (map_metric.ACCURACY_NAME, map_metric.ClipAccuracy),
            (map_metric.CROSS_ENTROPY_NAME, map_metric.AnsweredCrossEntropy),
            (map_metric.UNMEASURED_NAME, map_metric.UnmeasuredClips),
        )
    ]
    pr_auc = tfma.MetricConfig(
        class_name="AUCPrecisionRecall",
        config=json.dumps({"name": PR_AUC, "num_thresholds": _THRESHOLDS}),
    )
    return [
        tfma.MetricsSpec(
            metrics=[
                *ours,
                tfma.MetricConfig(class_name="ExampleCount"),
                # A clip without an answer is in its column -1: its threshold
                # of 0 is not passed by probabilities of 0.
                tfma.MetricConfig(class_name="MultiClassConfusionMatrixPlot"),
            ]
        ),
        tfma.MetricsSpec(
            metrics=[pr_auc],
            binarize=tfma.BinarizationOptions(
                class_ids={"values": list(range(len(labels)))}
            ),
        ),
    ]


def _threshold(least: float, drop: float | None = None):
    """A threshold for all clips together.

    A `MetricConfig.threshold` would hold for every slice.
    """
    threshold = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": least})
    )
    if drop is not None:
        threshold.change_threshold.CopyFrom(
            tfma.GenericChangeThreshold(
                absolute={"value": -drop},
                direction=tfma.MetricDirection.HIGHER_IS_BETTER,
            )
        )
    return tfma.PerSliceMetricThreshold(
        slicing_specs=[tfma.SlicingSpec()], threshold=threshold
    )


def labels_of(config: tfma.EvalConfig) -> list[str]:
    """Returns the class names in a config of `eval_config`.

    Empty where it is another one's.
    """
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            if metric.module == map_metric.__name__:
                return json.loads(metric.config).get("labels", [])
    return []


def read_result(evaluation_uri: str) -> dict[str, Any]:
    """Reads what an Evaluator wrote.

    Args:
        evaluation_uri: URI of its output `evaluation`.

    Returns:
        A dict of plain values: `labels` (K names), `blessed` (None where
        there were no thresholds), `why_not` (reasons in words, empty where
        it is blessed), `slices` (name -> figures; `all` first) and
        `baseline` (figures of the baseline over all clips, or None). Figures
        are `clips`, `unmeasured_clips`, `map`, `acc`, `cross_entropy`,
        `pr_auc` (label -> area) and `confusion` ([K][K + 1], rows are true
        classes, the last column counts clips without an answer); None stands
        for what is not defined, as the area of a class without clips.

    Raises:
        RecordError: There are no results, or they are of another config.
    """
    files.open_file_system(evaluation_uri)
    # Not tfma.load_eval_result, which wants to know the names of the models.
    config, *_ = eval_config_writer.load_eval_run(evaluation_uri)
    labels = labels_of(config) if config else []
    if not labels:
        raise RecordError(
            f"{evaluation_uri}: no results of an Evaluator whose config is "
            "`tfx_pipeline.evaluation.eval_config`; run the Evaluator with it"
        )
    slices, baseline = _figures(evaluation_uri, labels)
    overall = slices.get(OVERALL, _empty(labels))
    blessed, why_not = _verdict(evaluation_uri, overall)
    return {
        "labels": labels,
        "blessed": blessed,
        "why_not": why_not,
        "slices": {OVERALL: overall, **dict(sorted(slices.items()))},
        "baseline": baseline,
    }


def _empty(labels) -> dict:
    k = len(labels)
    return {
        "clips": 0,
        "unmeasured_clips": 0,
        "map": None,
        "acc": None,
        "cross_entropy": None,
        "pr_auc": dict.fromkeys(labels),
        "confusion": [[0] * (k + 1) for _ in range(k)],
    }


def _figures(uri: str, labels) -> tuple[dict, dict | None]:
    """Returns the candidate's figures by slice, the baseline's over all."""
    slices, baseline = {}, {}
    places = {tfma.BASELINE_KEY: baseline}

    def place(message, key):
        of_model = places.get(key.model_name, slices)
        name = _slice_name(message.slice_key)
        return of_model.setdefault(name, _empty(labels))

    for message in tfma.load_metrics(uri):
        for found in message.metric_keys_and_values:
            if not found.key.is_diff:
                _put(
                    place(message, found.key),
                    found.key,
                    found.value.double_value.value,
                    labels,
                )
    for message in tfma.load_plots(uri):
        for found in message.plot_keys_and_values:
            matrix = place(message, found.key)["confusion"]
            plot = found.value.multi_class_confusion_matrix_at_thresholds
            for entry in plot.matrices[0].entries:
                row, column = entry.actual_class_id, entry.predicted_class_id
                # A clip without a label is told by `unmeasured_clips`.
                if 0 <= row < len(labels):
                    matrix[row][column] = int(entry.num_weighted_examples)
    for figures in (*slices.values(), *baseline.values()):
        for name, row in zip(labels, figures["confusion"], strict=True):
            if not any(row):
                # TFMA says 0, but no clip could have been found.
                figures["pr_auc"][name] = None
    return slices, baseline.get(OVERALL)


def _put(figures: dict, key, value: float, labels) -> None:
    """Puts one metric into the figures of its slice."""
    value = None if math.isnan(value) else value
    if key.name == "example_count":
        figures["clips"] = int(value)
    elif key.name == map_metric.UNMEASURED_NAME:
        figures[key.name] = int(value)
    elif key.name == PR_AUC:
        figures["pr_auc"][labels[key.sub_key.class_id.value]] = value
    elif key.name in figures:
        figures[key.name] = value


def _slice_name(key) -> str:
    """Returns `clip/source=web`; `all` for all clips."""
    parts = [
        f"{part.column}="
        + (
            part.bytes_value.decode(errors="replace")
            if part.WhichOneof("kind") == "bytes_value"
            else str(getattr(part, part.WhichOneof("kind")))
        )
        for part in key.single_slice_keys
    ]
    return ", ".join(parts) or OVERALL


def _verdict(uri: str, overall: dict) -> tuple[bool | None, list[str]]:
    """Returns whether the model is blessed, and the reasons where not."""
    found = tfma.load_validation_result(uri)
    if found.missing_thresholds:
        return None, []
    if found.validation_ok:
        return True, []
    reasons = [
        _reason(failure, overall)
        for part in found.metric_validations_per_slice
        for failure in part.failures
    ]
    if found.missing_slices or not overall["clips"]:
        reasons.append("no clips were measured")
    return False, list(dict.fromkeys(reasons))


def _reason(failure, overall: dict) -> str:
    name, value = failure.metric_key.name, failure.metric_value
    value = value.double_value.value
    if overall["unmeasured_clips"]:
        return (
            f"{name} cannot be measured: {overall['unmeasured_clips']} of "
            f"{overall['clips']} clips have none of the model's labels, or "
            "answers that are no numbers"
        )
    if failure.message:
        return f"{name}: {' '.join(failure.message.split())}"
    threshold = failure.metric_threshold
    if threshold.HasField("change_threshold"):
        fall, allowed = _told_apart(
            -value, -threshold.change_threshold.absolute.value
        )
        return (
            f"{name} fell by {fall} against the last blessed model, "
            f"{allowed} is allowed"
        )
    is_, least = _told_apart(value, threshold.value_threshold.lower_bound.value)
    return f"{name} {is_} is below {least}"


def _told_apart(a: float, b: float) -> tuple[str, str]:
    """Returns two unequal numbers as texts that differ."""
    for digits in range(2, 7):
        texts = f"{a:.{digits}f}", f"{b:.{digits}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(a), repr(b)


def format_result(result: dict[str, Any]) -> list[str]:
    """Returns the lines that tell people what `read_result` gave."""
    verdict = {True: "blessed", False: "not blessed", None: "no thresholds"}
    lines = [
        "; ".join([verdict[result["blessed"]], *result["why_not"]]),
        "",
    ]
    rows = list(result["slices"].items())
    if result["baseline"]:
        rows.insert(1, ("last blessed model", result["baseline"]))
    width = max(len(name) for name, _ in rows)
    lines.append(
        f"{'clips':<{width}}{'n':>7}{'MAP':>10}{'ACC':>10}{'cross-entropy':>15}"
    )
    for name, figures in rows:
        loss = figures["cross_entropy"]
        lines.append(
            f"{name:<{width}}{figures['clips']:>7}"
            f"{_percent(figures['map'])}{_percent(figures['acc'])}"
            f"{'-' if loss is None else f'{loss:.3f}':>15}"
        )
    return [*lines, "", *_class_lines(result)]


def _class_lines(result) -> list[str]:
    labels = result["labels"]
    overall = result["slices"][OVERALL]
    width = max(len("class"), *map(len, labels))
    heads = "".join(f"{i:>5}" for i in [*range(len(labels)), "none"])
    lines = [f"{'':>4}{'class':<{width}}{'PR-AUC':>10}  answers{heads[7:]}"]
    for i, name in enumerate(labels):
        cells = "".join(f"{n:>5}" for n in overall["confusion"][i])
        lines.append(
            f"{i:>3} {name:<{width}}{_percent(overall['pr_auc'][name])}  "
            f"{cells}"
        )
    return lines


def _percent(share: float | None) -> str:
    return f"{'-' if share is None else f'{100 * share:.2f} %':>10}"
