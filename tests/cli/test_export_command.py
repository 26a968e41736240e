"""emorec export: its flags, and ONNX by the command."""

import functools
import json
import shutil
import sys

import pytest
from testing import commands

from emorec.export import saved_model
from serving.server import version_folders


@pytest.fixture
def export(capsys, model_dir):
    return functools.partial(
        commands.here, capsys, "export", f"--model_dir={model_dir}"
    )


def test_versions_are_of_saved_models(export, tmp_path):
    done = export(
        f"--output_dir={tmp_path / 'onnx'}", "--format=onnx", "--version=2"
    )
    assert done.code == 2
    assert done.fault() == (
        "emorec export: --version goes with --format=saved_model: an ONNX "
        "directory has no versions below it. Received: --version=2"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sizes", ["0", "a", "1,-2", "1,,2"])
def test_batch_sizes_that_are_none(export, tmp_path, sizes):
    done = export(f"--output_dir={tmp_path}", f"--warmup_batch_sizes={sizes}")
    assert done.code == 2
    assert done.fault() == (
        "emorec export: --warmup_batch_sizes must be numbers from 1, with "
        f"commas between them. Received: {sizes!r}"
    )
    assert not list(tmp_path.iterdir())


def test_an_unknown_format(export, tmp_path):
    done = export(f"--output_dir={tmp_path}", "--format=tflite")
    assert done.code == 2
    assert "--format=tflite" in done.fault()
    assert "<saved_model|onnx>" in done.fault()


def test_a_folder_in_use(export, tmp_path):
    (tmp_path / "mine").write_text("mine")
    done = export(f"--output_dir={tmp_path}", "--format=onnx")
    assert done.code == 1
    assert done.fault() == (
        f"emorec export: {tmp_path}: exists already and is not an empty "
        "folder, and an export is not written over; name another folder"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_without_tf2onnx(export, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    done = export(f"--output_dir={tmp_path / 'onnx'}", "--format=onnx")
    assert done.code == 1
    assert done.fault().startswith(
        "emorec export: exporting to ONNX needs tf2onnx, onnx, onnxruntime ("
    )
    assert done.fault().endswith("); install emorec[onnx]")
    assert not list(tmp_path.iterdir())


def test_without_a_model_nothing_is_left(capsys, tmp_path):
    done = commands.here(
        capsys,
        "export",
        f"--model_dir={tmp_path / 'nowhere'}",
        f"--output_dir={tmp_path / 'onnx'}",
        "--format=onnx",
    )
    assert done.code == 1
    assert "no trained model" in done.fault()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["saved_model", "onnx"])
def test_an_evaluation_that_is_none(export, tmp_path, form):
    (tmp_path / "report").mkdir()
    done = export(
        f"--output_dir={tmp_path / 'out'}",
        f"--format={form}",
        f"--evaluation={tmp_path / 'report'}",
    )
    assert done.code == 1
    assert done.fault().startswith(
        f"emorec export: {tmp_path}/report/metrics.json: "
    )
    assert done.fault().endswith(
        "give a folder that `emorec evaluate` wrote for this model"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_the_cards_of_the_newest_version_lie_beside(
    export, base_path, tmp_path, monkeypatch
):
    # Written and proven elsewhere: a minute each.
    def write(bundle, folder):
        shutil.copytree(base_path / "1", folder, dirs_exist_ok=True)

    monkeypatch.setattr(saved_model, "_write", write)
    monkeypatch.setattr(saved_model, "_prove", lambda *_: {})
    for version in (5, 4):
        done = export(f"--output_dir={tmp_path}", f"--version={version}")
        assert (done.code, done.err) == (0, "")
        card = (tmp_path / f"{version}/assets/model_card.md").read_text()
        title = f"# Model card: CACA-RNN A, version {version}\n"
        assert card.startswith(title)
    names = ["4", "5", "data_card.md", "model_card.md"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    # A model server reads the base path.
    assert saved_model.versions(tmp_path) == [4, 5]
    assert sorted(version_folders.find_versions(str(tmp_path))) == [4, 5]
    for name in names[2:]:
        newest = (tmp_path / "5/assets" / name).read_bytes()
        assert (tmp_path / name).read_bytes() == newest


@pytest.mark.long
def test_onnx_by_the_command(model_dir, tmp_path):
    folder = tmp_path / "onnx"
    done = commands.apart(
        "export",
        f"--model_dir={model_dir}",
        f"--output_dir={folder}",
        "--format=onnx",
        timeout=300,
    )
    assert (done.code, done.err) == (0, "")
    *lines, warning, last = done.out.splitlines()
    assert last == str(folder)
    # The context encoder of the session's model.
    assert warning.startswith("WARNING: the context encoder has RANDOM")
    said = json.loads((folder / "onnx.json").read_text())
    assert [line.partition(": ")[0] for line in lines] == [*said["differences"]]
    for line in lines:
        assert ": largest difference " in line
