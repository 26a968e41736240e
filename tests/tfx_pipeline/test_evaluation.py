"""TFX's Evaluator on clips: figures, verdicts in words, and bad input."""

import numpy as np
import pytest
import tensorflow as tf
from testing import tfx_artifacts, toy_model
from tfx.dsl.components.base import base_beam_executor
from tfx.types import channel_utils, standard_artifacts
from tfx.utils import json_utils, proto_utils

from emorec.errors import ConfigError, RecordError
from emorec.evaluation import metrics
from emorec.training import bundle as bundles
from tfx_pipeline import evaluation
from tfx_pipeline.components import clip_evaluator

NAMES = ("happy", "sad", "angry")
FIGURES = ("map", "acc", "cross_entropy")


def evaluate(
    folder,
    model,
    examples,
    *,
    baseline=None,
    split="test",
    names=NAMES,
    **given,
):
    """Runs the executor; returns its blessing and `read_result`."""
    inputs = {"examples": [examples], "model": [model]}
    if baseline:
        inputs["baseline_model"] = [baseline]
    outputs = {
        "evaluation": [
            tfx_artifacts.made(
                standard_artifacts.ModelEvaluation, folder / "evaluation"
            )
        ],
        "blessing": [
            tfx_artifacts.made(
                standard_artifacts.ModelBlessing, folder / "blessing"
            )
        ],
    }
    config = evaluation.eval_config(names, **given)
    executor = clip_evaluator.Executor(
        base_beam_executor.BaseBeamExecutor.Context(
            tmp_dir=str(folder), unique_id="1"
        )
    )
    executor.Do(
        inputs,
        outputs,
        {
            "eval_config": proto_utils.proto_to_json(config),
            "example_splits": json_utils.dumps(["test"]),
            "fairness_indicator_thresholds": "null",
        },
    )
    found = evaluation.read_result(outputs["evaluation"][0].uri)
    return outputs["blessing"][0], found


def clips(n, seed=0):
    """Labels, answers, sources, coverage; some unanswered, no `angry`."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(2, n)
    rows = rng.dirichlet(np.ones(3), n) + 0.6 * np.eye(3)[labels]
    rows = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    rows[rng.random(n) < 0.2] = 0
    sources = rng.choice(["web", "film"], n)
    return labels, rows, sources, np.where(rows.any(axis=1), "all", "none")


def records(labels, rows, sources, coverage, steps=1):
    return [
        toy_model.record(row, label=i, source=s, coverage=c, steps=steps)
        for i, row, s, c in zip(
            labels, rows, sources.tolist(), coverage.tolist(), strict=True
        )
    ]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return tfx_artifacts.model(
        folder / "model", toy_model.save(folder / "saved", NAMES), 1
    )


@pytest.fixture(scope="module")
def wrong_toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    return tfx_artifacts.model(
        folder / "model", toy_model.save(folder / "saved", NAMES, shift=1.0), 2
    )


@pytest.fixture(scope="module")
def drawn():
    return clips(60)


@pytest.fixture(scope="module")
def drawn_examples(drawn, tmp_path_factory):
    """Three files, whose batches have attentions of different sizes."""
    parts = [
        records(*(v[i::3] for v in drawn), steps=2 + 3 * i) for i in range(3)
    ]
    return tfx_artifacts.examples(
        tmp_path_factory.mktemp("drawn"), {"train": [], "test": parts}
    )


def expected(labels, rows):
    return metrics.evaluate(labels, rows, rows.any(axis=1), NAMES)


@pytest.fixture(scope="module")
def evaluated(toy, drawn_examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    return evaluate(folder, toy, drawn_examples, min_map=0.1, min_accuracy=0.1)


def test_the_figures_are_emorecs_own(evaluated, drawn):
    blessing, found = evaluated
    labels, rows, sources, coverage = drawn
    assert found["labels"] == list(NAMES)
    assert found["baseline"] is None
    chosen = {"all": np.ones(60, bool)}
    for value in ("film", "web"):
        chosen[f"clip/source={value}"] = sources == value
    for value in ("all", "none"):
        chosen[f"frames/coverage={value}"] = coverage == value
    assert list(found["slices"]) == sorted(chosen)
    for name, where in chosen.items():
        wanted = expected(labels[where], rows[where])
        figures = found["slices"][name]
        assert figures["clips"] == wanted.n
        assert figures["unmeasured_clips"] == 0
        assert figures["confusion"] == wanted.confusion.tolist()
        for key in FIGURES:
            assert figures[key] == pytest.approx(getattr(wanted, key)), name
    areas = found["slices"]["all"]["pr_auc"]
    wanted = expected(labels, rows).average_precision
    assert areas["angry"] is None, "no clip is angry"
    for i, name in enumerate(NAMES[:2]):
        # TFMA interpolates between thresholds, emorec does not.
        assert areas[name] == pytest.approx(wanted[i], abs=0.02)
    assert found["blessed"] is True
    assert found["why_not"] == []
    assert blessing.get_int_custom_property("blessed") == 1


def test_the_result_as_text(evaluated):
    _, found = evaluated
    lines = evaluation.format_result(found)
    assert lines[0] == "blessed"
    refused = {**found, "blessed": False, "why_not": ["a", "b"]}
    assert evaluation.format_result(refused)[0] == "not blessed; a; b"
    shown = found["slices"]["all"]
    assert lines[2].split() == ["clips", "n", "MAP", "ACC", "cross-entropy"]
    assert lines[3].split() == [
        "all",
        "60",
        f"{100 * shown['map']:.2f}",
        "%",
        f"{100 * shown['acc']:.2f}",
        "%",
        f"{shown['cross_entropy']:.3f}",
    ]
    none = next(x for x in lines if x.startswith("frames/coverage=none"))
    assert none.split()[-1] == "-", "unanswered clips have no cross-entropy"
    angry = next(x for x in lines if "angry" in x)
    assert angry.split() == ["2", "angry", "-", "0", "0", "0", "0"]


def test_a_worse_model_is_not_blessed(
    toy, wrong_toy, drawn, drawn_examples, tmp_path
):
    labels, rows, *_ = drawn
    good = expected(labels, rows).map
    bad = expected(labels, np.roll(rows, 1, axis=1)).map
    blessing, found = evaluate(
        tmp_path,
        wrong_toy,
        drawn_examples,
        baseline=toy,
        min_map=0.5,
        max_map_drop=0.1,
    )
    assert found["blessed"] is False
    assert found["why_not"] == [
        f"map {bad:.2f} is below 0.50",
        f"map fell by {good - bad:.2f} against the last blessed model, "
        "0.10 is allowed",
    ]
    assert blessing.get_int_custom_property("blessed") == 0
    assert found["baseline"]["map"] == pytest.approx(good)
    assert found["slices"]["all"]["map"] == pytest.approx(bad)
    text = "\n".join(evaluation.format_result(found))
    assert "last blessed model" in text.splitlines()[4]


@pytest.mark.long
def test_the_same_model_again_is_blessed(toy, drawn_examples, tmp_path):
    _, found = evaluate(
        tmp_path, toy, drawn_examples, baseline=toy, max_map_drop=0.0
    )
    assert found["blessed"] is True
    assert found["baseline"] == found["slices"]["all"]


@pytest.mark.parametrize("files", [None, [], [[]]])
def test_an_empty_split(toy, tmp_path, files):
    splits = {"train": [[b""]]}
    if files is not None:
        splits["test"] = files
    examples = tfx_artifacts.examples(tmp_path / "features", splits)
    with pytest.raises(RecordError) as caught:
        evaluate(tmp_path, toy, examples)
    assert str(caught.value) == (
        f"{examples.uri}: the split 'test' has no records to evaluate on; its "
        f"splits are {', '.join(map(repr, splits))}; give clips to that "
        "split, or name another one"
    )


def test_a_clip_without_a_label(toy, drawn, tmp_path):
    labels, *rest = (v[:5] for v in drawn)
    labels = np.array([*labels[:3], -1, 3])
    examples = tfx_artifacts.examples(
        tmp_path / "features", {"test": [records(labels, *rest)]}
    )
    with pytest.raises(RecordError) as caught:
        evaluate(tmp_path, toy, examples)
    assert str(caught.value) == (
        "2 of 5 clips cannot be measured: their label is none of the model's, "
        "or the model's answer is no number; label them, or move them into a "
        "split that is not evaluated"
    )
    found = evaluation.read_result(str(tmp_path / "evaluation"))
    assert found["blessed"] is False
    assert found["why_not"][0] == (
        "map cannot be measured: 2 of 5 clips have none of the model's "
        "labels, or answers that are no numbers"
    )


@pytest.mark.parametrize(
    "given, message",
    [
        ({"min_map": 1.5}, "`min_map` must be 0 to 1. Received: 1.5"),
        ({"max_map_drop": -1}, "`max_map_drop` must be 0 to 1. Received: -1"),
        ({"labels": ["a"]}, "`labels` must be two or more names"),
    ],
)
def test_a_config_that_cannot_be(given, message):
    with pytest.raises(ConfigError) as caught:
        evaluation.eval_config(**{"labels": NAMES, **given})
    assert message in str(caught.value)


def test_no_results(tmp_path):
    with pytest.raises(RecordError, match="no results of an Evaluator"):
        evaluation.read_result(str(tmp_path))


def test_figures_that_differ_are_shown_to_differ():
    assert evaluation._told_apart(0.311, 0.4) == ("0.31", "0.40")
    assert evaluation._told_apart(0.3996, 0.4) == ("0.3996", "0.4000")


# An exported model, which refuses features of other encoders.


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture(scope="module")
def exported(base_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return tfx_artifacts.model(folder / "model", base_path / "1", 3)


@pytest.fixture(scope="module")
def features(prepared, bundle):
    (file,) = prepared.files("test")
    return tfx_artifacts.feature_records(file, bundle)


def test_an_exported_model(exported, base_path, bundle, features, tmp_path):
    edited = tfx_artifacts.edited
    empty = edited(
        features[0],
        frames__with_face=0,
        frame__time=[],
        face__features=[],
        context__features=[],
        frames__coverage="none",
    )
    examples = tfx_artifacts.examples(
        tmp_path / "features", {"test": [features[:4], [empty, *features[4:]]]}
    )
    _, found = evaluate(tmp_path, exported, examples, names=bundle.labels.names)
    rows = (
        tf.saved_model.load(str(base_path / "1"))
        .signatures["feature_examples"](tf.constant([*features, empty]))[
            "probabilities"
        ]
        .numpy()
    )
    labels = [
        tf.train.Example.FromString(r)
        .features.feature["clip/label_id"]
        .int64_list.value[0]
        for r in (*features, empty)
    ]
    wanted = metrics.evaluate(
        np.array(labels), rows, rows.any(axis=1), bundle.labels.names
    )
    assert wanted.answered == wanted.n - 1
    figures = found["slices"]["all"]
    for key in FIGURES:
        assert figures[key] == pytest.approx(getattr(wanted, key), abs=1e-6)
    assert figures["confusion"] == wanted.confusion.tolist()
    assert found["slices"]["frames/coverage=none"]["clips"] == 1


def test_features_of_another_encoder(exported, bundle, features, tmp_path):
    other = tfx_artifacts.edited(features[0], face__encoder="0123456789abcdef")
    examples = tfx_artifacts.examples(
        tmp_path / "features", {"test": [[other]]}
    )
    with pytest.raises(ConfigError) as caught:
        evaluate(tmp_path, exported, examples, names=bundle.labels.names)
    assert str(caught.value) == (
        f"{exported.uri}: it reads features of the face encoder "
        f"{bundle.encoders.face.hash}, the records have those of "
        "0123456789abcdef; evaluate it on features of its own encoders"
    )


def test_other_labels(exported, features, tmp_path):
    examples = tfx_artifacts.examples(
        tmp_path / "features", {"test": [features]}
    )
    with pytest.raises(ConfigError, match="its labels are happy, sad, angry,"):
        evaluate(tmp_path, exported, examples)


@pytest.mark.long
def test_a_baseline_of_other_encoders_is_left_out(
    toy, exported, drawn_examples, tmp_path
):
    blessing, found = evaluate(tmp_path, toy, drawn_examples, baseline=exported)
    assert found["blessed"] is True
    assert found["baseline"] is None
    reason = blessing.get_string_custom_property("baseline_left_out")
    assert reason.startswith("its labels are happy, sad, angry, surprise")


def test_the_component_is_tfxs_own_with_the_codes_hash():
    component = clip_evaluator.ClipEvaluator(
        examples=channel_utils.as_channel([standard_artifacts.Examples()]),
        model=channel_utils.as_channel([standard_artifacts.Model()]),
        eval_config=evaluation.eval_config(NAMES),
        example_splits=["test"],
    )
    assert set(component.outputs) == {"evaluation", "blessing"}
    assert len(component.exec_properties["code"]) == 16
    assert component.executor_spec.executor_class is clip_evaluator.Executor
