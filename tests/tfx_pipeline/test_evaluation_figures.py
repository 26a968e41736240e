"""An Evaluator's figures: from TFMA's files, or from the run's own JSON."""

import shutil

import pytest
from testing import tfx_artifacts, toy_model
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts
from tfx.utils import json_utils, proto_utils

from emorec.data import files
from tfx_pipeline import evaluation, evaluation_figures
from tfx_pipeline.components import clip_evaluator

NAMES = ("happy", "sad")
RUN = "2026-01-01T00:00:00"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A model with one wrong answer of four, which is not blessed."""
    root = tmp_path_factory.mktemp("evaluated")
    answers = [(0, [0.9, 0.1]), (0, [0.8, 0.2]), (1, [0.1, 0.9]), (1, [1, 0])]
    examples = tfx_artifacts.examples(
        root / "examples",
        {"test": [[toy_model.record(row, label=i) for i, row in answers]]},
    )
    model = tfx_artifacts.model(
        root / "model", toy_model.save(root / "saved", NAMES)
    )
    outputs = {
        key: [tfx_artifacts.made(kind, root / "Evaluator" / key / "7")]
        for key, kind in (
            ("evaluation", standard_artifacts.ModelEvaluation),
            ("blessing", standard_artifacts.ModelBlessing),
        )
    }
    executor = clip_evaluator.Executor(
        base_beam_executor.BaseBeamExecutor.Context(
            tmp_dir=str(root), unique_id="1"
        )
    )
    config = evaluation.eval_config(NAMES, min_accuracy=0.9)
    executor.Do(
        {"examples": [examples], "model": [model]},
        outputs,
        {
            "eval_config": proto_utils.proto_to_json(config),
            "example_splits": json_utils.dumps(["test"]),
            "fairness_indicator_thresholds": "null",
        },
    )
    [measured], [blessing] = outputs.values()
    return root, measured.uri, blessing.mlmd_artifact


def test_figures_and_reasons(evaluated):
    _, uri, blessing = evaluated
    found = evaluation_figures.details(uri, blessing, RUN)
    assert found["blessed"] is False
    assert found["figures"]["clips"] == 4
    assert found["figures"]["acc"] == 0.75
    assert found["figures"]["map"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["baseline"] is None
    assert evaluation_figures.words(found) == (
        "not blessed: acc 0.75 is below 0.90"
    )


@pytest.mark.parametrize("name", ["why_not", "figures"])
def test_a_run_keeps_the_figures(evaluated, tmp_path, name):
    _, uri, blessing = evaluated
    # As where the evaluation was removed since, or TFMA is not there.
    moved = tmp_path / "Evaluator" / "evaluation" / "7"
    shutil.copytree(uri, moved)
    found = evaluation_figures.details(str(moved), blessing)
    shutil.rmtree(moved)
    lost = evaluation_figures.details(str(moved), blessing, RUN)
    assert not lost[name]
    assert lost["blessed"] is False
    files.write_json(
        evaluation_figures.run_file(str(tmp_path), RUN),
        {"rows": [{"details": {}}, {"details": found}]},
    )
    assert evaluation_figures.details(str(moved), blessing, RUN) == found


def test_in_words():
    figures = {"clips": 8, "map": 0.5, "acc": None, "cross_entropy": 1.0}
    found = {
        "blessed": True,
        "why_not": [],
        "figures": figures,
        "baseline": {**figures, "map": 0.25},
        "baseline_left_out": "",
    }
    assert evaluation_figures.words(found) == (
        "blessed: MAP 50.00 %, ACC - of 8 clips (last blessed model: MAP "
        "25.00 %, ACC - of 8 clips)"
    )
    left_out = {**found, "baseline": None, "baseline_left_out": "other CNN"}
    assert evaluation_figures.words(left_out) == (
        "blessed: MAP 50.00 %, ACC - of 8 clips (last blessed model left out: "
        "other CNN)"
    )
    told = "(last blessed model left out: other CNN)"
    bare = {**left_out, "figures": None}
    assert evaluation_figures.words(bare) == f"blessed {told}"
    refused = {**bare, "blessed": False}
    assert evaluation_figures.words(refused) == f"not blessed {told}"
    refused["why_not"] = ["acc is low"]
    assert evaluation_figures.words(refused) == (
        f"not blessed: acc is low {told}"
    )
    assert evaluation_figures.words({**found, "blessed": None}).startswith(
        "measured, without thresholds: MAP"
    )
