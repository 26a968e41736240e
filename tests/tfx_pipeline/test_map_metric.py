"""The metrics in TFMA against emorec's own."""

import ast
import json

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_model_analysis as tfma

from emorec.evaluation import metrics
from tfx_pipeline import map_metric

NAMES = ("a", "b", "c", "d")
FIGURES = {
    "map": map_metric.macro_average_precision,
    "acc": map_metric.accuracy,
    "cross_entropy": map_metric.cross_entropy,
}


def counted(labels, probabilities) -> map_metric.Counts:
    total = map_metric.Counts(None)
    for label, row in zip(labels, probabilities, strict=True):
        total.add(map_metric.count(label, row))
    return total


def figures(labels, probabilities) -> dict:
    found = counted(np.array(labels), np.array(probabilities, np.float32))
    return {name: figure(found) for name, figure in FIGURES.items()}


def clips(seed, n, k=4, unanswered=0.2, labels=None):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(k, 0.5), n).astype(np.float32)
    rows[rng.random(n) < unanswered] = 0
    return rng.choice(k if labels is None else labels, n), rows


def expected(labels, rows, names=NAMES) -> dict:
    found = metrics.evaluate(labels, rows, rows.any(axis=1), names)
    return {name: getattr(found, name) for name in FIGURES}


def close(value):
    return pytest.approx(value, abs=1e-6, nan_ok=True)


def test_by_hand():
    # Class 0: 1 of 2 answers is right; class 1: 1 of 1; class 2 is never
    # predicted; class 3 once, wrongly. One clip of five has no answer.
    found = figures(
        [0, 1, 1, 2, 2],
        [
            [0.7, 0.1, 0.1, 0.1],
            [0.1, 0.7, 0.1, 0.1],
            [0.6, 0.2, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.7],
            [0, 0, 0, 0],
        ],
    )
    assert found["map"] == close((0.5 + 1 + 0 + 0) / 4)
    assert found["acc"] == close(2 / 5)
    assert found["cross_entropy"] == close(-np.log([0.7, 0.7, 0.2, 0.1]).mean())


def test_the_first_of_equals_is_the_answer():
    assert figures([1], [[0.1, 0.4, 0.4, 0.1]])["acc"] == 1
    assert figures([2], [[0.1, 0.4, 0.4, 0.1]])["acc"] == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labels", [None, [0, 2], [3]])
def test_random_clips_are_measured_as_by_emorec(seed, labels):
    drawn = clips(seed, 60, labels=labels)
    assert figures(*drawn) == close(expected(*drawn))


def test_nothing_is_answered():
    found = figures([0, 1], np.zeros((2, 4)))
    assert found == {"map": 0, "acc": 0, "cross_entropy": close(np.nan)}


@pytest.mark.parametrize(
    "label, row",
    [
        (-1, [0.25, 0.25, 0.25, 0.25]),
        (4, [0.25, 0.25, 0.25, 0.25]),
        ([], [0.25, 0.25, 0.25, 0.25]),
        ([0, 1], [0.25, 0.25, 0.25, 0.25]),
        (0, [0.25, np.nan, 0.25, 0.25]),
        (0, [np.inf, 0, 0, 0]),
    ],
)
def test_a_clip_that_cannot_be_measured_spoils_the_figures(label, row):
    total = counted(*clips(0, 10))
    total.add(map_metric.count(label, np.array(row, np.float32)))
    assert map_metric.unmeasured(total) == 1
    assert {n: f(total) for n, f in FIGURES.items()} == dict.fromkeys(
        FIGURES, close(np.nan)
    )


def test_answers_of_another_number_of_classes_are_refused():
    total = counted(*clips(0, 3))
    with pytest.raises(ValueError, match="of 3 classes among those of 4"):
        total.add(map_metric.count(0, np.array([1, 0, 0], np.float32)))


def evaluated(parts, config, slices, file):
    """Runs TFMA's evaluator over extracts; returns slice -> name -> value."""

    def keep(result):
        # Through a file: Beam runs a copy of this function.
        found = [(k, {m.name: v for m, v in vs.items()}) for k, vs in result]
        file.write_text(repr(found))

    eval_config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(prediction_key="probabilities")],
        slicing_specs=[
            tfma.SlicingSpec(),
            *(tfma.SlicingSpec(feature_keys=[s]) for s in slices),
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(
                        class_name=name,
                        module="tfx_pipeline.map_metric",
                        config=json.dumps(config),
                    )
                    for name in (
                        "MacroAveragePrecision",
                        "ClipAccuracy",
                        "AnsweredCrossEntropy",
                    )
                ]
            )
        ],
    )
    evaluator = tfma.evaluators.MetricsPlotsAndValidationsEvaluator(eval_config)
    slicer = tfma.extractors.SliceKeyExtractor(
        eval_config=eval_config, materialize=False
    )
    with beam.Pipeline() as pipeline:
        # Several sources are several bundles, whose counts are merged.
        branches = [
            pipeline | f"part {i}" >> beam.Create(part)
            for i, part in enumerate(parts)
        ]
        _ = (
            (
                branches
                | beam.Flatten()
                | slicer.ptransform
                | evaluator.ptransform
            )["metrics"]
            | beam.combiners.ToList()
            | beam.Map(keep)
        )
    return dict(ast.literal_eval(file.read_text()))


def extract(label, row, source) -> dict:
    return {
        tfma.LABELS_KEY: np.array([label]),
        tfma.PREDICTIONS_KEY: {
            "probabilities": row,
            "labels": np.array([b"x"], object),
        },
        tfma.EXAMPLE_WEIGHTS_KEY: None,
        tfma.FEATURES_KEY: {"clip/source": np.array([source])},
    }


@pytest.mark.parametrize("config", [{}, {"labels": list(NAMES)}])
def test_in_beam_over_several_parts_and_slices(config, tmp_path):
    labels, rows = clips(7, 90)
    sources = np.random.default_rng(1).choice([b"web", b"film"], 90)
    made = [extract(*clip) for clip in zip(labels, rows, sources)]
    found = evaluated(
        [made[:40], made[40:41], made[41:]],
        config,
        ["clip/source"],
        tmp_path / "found",
    )
    assert found[()] == close(expected(labels, rows))
    for source in ("web", "film"):
        chosen = sources == source.encode()
        assert found[(("clip/source", source),)] == close(
            expected(labels[chosen], rows[chosen])
        )


def test_two_parts_merged_are_the_whole():
    combiner = map_metric._CountClips(None, None, 0)
    labels, rows = clips(3, 50)
    parts = [counted(labels[a:b], rows[a:b]) for a, b in ((0, 20), (20, 50))]
    empty = combiner.create_accumulator()
    merged = combiner.merge_accumulators([empty, *parts])
    whole = counted(labels, rows)
    assert (merged.counts == whole.counts).all()
    assert merged.loss == close(whole.loss)
