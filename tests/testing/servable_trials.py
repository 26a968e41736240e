"""Trials of ServableValidator's executor, and what they are made with."""

import json
import pathlib
import stat

from tfx.components.pusher import executor as pusher
from tfx.types import standard_artifacts

from testing import tfx_artifacts, toy_model
from tfx_pipeline.components import servable_validator

NAMES = ("happy", "sad", "angry")
GIVEN = {
    "max_clips": 3,
    "tolerance": 1e-3,
    "server": "embedded",
    "split": "",
    "deadline_s": 120.0,
    "code": "",
}


def validate(folder, model, examples, features=None, run=None, **given):
    """Runs the executor; returns the blessing and its report."""
    blessing = tfx_artifacts.made(
        standard_artifacts.InfraBlessing, folder / "blessing"
    )
    inputs = {"model": [model], "examples": [examples]}
    inputs |= {"features": [features]} if features else {}
    inputs |= {"model_run": [run]} if run else {}
    servable_validator.Executor().Do(
        inputs, {"blessing": [blessing]}, {**GIVEN, **given}
    )
    report = json.loads((folder / "blessing" / "report.json").read_text())
    assert report["reason"] == blessing.get_string_custom_property("reason")
    assert "\n" not in report["reason"]
    blessed = blessing.get_int_custom_property("blessed")
    assert report["blessed"] is bool(blessed)
    name = "INFRA_BLESSED" if blessed else "INFRA_NOT_BLESSED"
    assert sorted(p.name for p in (folder / "blessing").iterdir()) == sorted(
        [name, "report.json"]
    )
    # Pusher's own judgement.
    assert pusher.Executor().CheckBlessing({"infra_blessing": [blessing]}) is (
        bool(blessed)
    )
    return blessing, report


def toy_examples(folder, rows=((0.5, 0.3, 0.2), (0.1, 0.1, 0.8)), **more):
    """Writes records that the toy answers with `rows`, in the split eval."""
    data = [toy_model.record(row) for row in rows]
    splits = {"train": [[]], "eval": [data]}
    return tfx_artifacts.examples(folder, splits, **more)


def script(path: pathlib.Path, text: str) -> str:
    """Writes a program; returns its path."""
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)
