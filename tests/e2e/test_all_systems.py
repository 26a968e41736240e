"""Every system goes the whole way, by the same commands."""

import json

import numpy as np
import pytest
from testing.evaluations import check_same, metrics_of, rows_of

from emorec.models import presets
from serving.server.server import ModelServer

SMALL = (
    "--set=train.epochs=1",
    "--set=model.encoder_units=8",
    "--set=model.rnn_units=8",
    "--set=model.conv_filters=4",
)


def answers(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def probabilities(values) -> list[float]:
    return list(values["probabilities"].values())


# The default system goes this way in test_main_job too, which is not long.
@pytest.mark.long
@pytest.mark.parametrize("system", presets.SYSTEMS)
def test_trained_evaluated_exported_served_and_asked(
    run, prepared, sample_set, tmp_path, system
):
    model, base = tmp_path / "model", tmp_path / "serving"
    out = run(
        "train",
        f"--data_dir={prepared.path}",
        f"--system={system}",
        f"--output_dir={model}",
        "--missing_weights=random",
        "--quiet",
        *SMALL,
        *(["--members=caca_rnn_a,cnn_2d3d"] if system == "ensemble" else []),
    ).out
    assert f"{system}: " in out and " parameters" in out
    described = json.loads((model / "model.json").read_text())
    inputs = described["inputs"]
    read = {name.partition("_")[0] for name in inputs}
    assert {p.name for p in model.glob("encoders/*")} == read
    out = run(
        "export",
        f"--model_dir={model}",
        f"--output_dir={base}",
        "--warmup_batch_sizes=1",
    ).out
    assert "largest difference of a probability" in out
    onnx = tmp_path / "onnx"
    run(
        "export",
        f"--model_dir={model}",
        f"--output_dir={onnx}",
        "--format=onnx",
    )

    video = sorted((sample_set.parent / "videos").glob("*.mp4"))[-1]
    found, reports = {}, {}
    with ModelServer(str(base), "emotion", port=0, rest_port=None) as server:
        for kind, place in (
            ("model_dir", model),
            ("saved_model", base),
            ("onnx", onnx),
            ("server", f"127.0.0.1:{server.port}"),
        ):
            report = tmp_path / f"report_{kind}"
            run(
                "evaluate",
                f"--data_dir={prepared.path}",
                "--split=test",
                f"--{kind}={place}",
                f"--output_dir={report}",
                "--quiet",
            )
            values = metrics_of(report)
            assert values["system"] == system
            assert values["notes"] == described["info"]["notes"]
            reports[kind] = report
            path = tmp_path / f"{kind}.jsonl"
            # An exported model computes in float32.
            exact = ["--bfloat16=none"] if kind == "model_dir" else []
            run(
                "predict",
                video,
                f"--{kind}={place}",
                *exact,
                f"--output={path}",
            )
            found[kind] = answers(path)
    assert len(rows_of(reports["server"])) == 8
    for kind in ("model_dir", "saved_model", "onnx"):
        check_same(reports[kind], reports["server"])
        assert len(found[kind]) == len(found["server"]) >= 1
        for ours, theirs in zip(found[kind], found["server"], strict=True):
            assert ours["label"] == theirs["label"]
            np.testing.assert_allclose(
                probabilities(ours), probabilities(theirs), atol=3e-6
            )
            assert sum(probabilities(ours)) == pytest.approx(1, abs=1e-4)


def test_what_a_face_classifier_cannot_say_is_said(run, prepared, tmp_path):
    """By `train`, and wherever its answers are shown."""
    model = tmp_path / "model"
    said = (
        "the face classifier cannot give: worried, anxious",
        "answers of the face classifier that no label takes, spread over the "
        "others: fear",
    )
    out = run(
        "train",
        f"--data_dir={prepared.path}",
        "--system=face_average",
        f"--output_dir={model}",
    ).out
    assert out.splitlines()[-2:] == [f"note: {line}" for line in said]
    out = run(
        "evaluate",
        f"--data_dir={prepared.path}",
        f"--model_dir={model}",
        f"--output_dir={tmp_path / 'report'}",
    ).out
    assert out.splitlines()[-2:] == [f"note: {line}" for line in said]
