"""`emorec ui`: its flags and what it says of what is wrong."""

import importlib.util
import socket

import pytest

from emorec.cli import app


@pytest.fixture
def fault(capsys):
    """Runs the command, which must fail; returns (exit code, its line)."""

    def run(*args):
        code = app.run("ui", list(args))
        lines = capsys.readouterr().err.splitlines()
        assert code and len(lines) == 1, lines
        return code, lines[0]

    return run


@pytest.mark.parametrize(
    "args, told",
    [
        ((), "give exactly one of --model_dir, --saved_model, --onnx"),
        (("--onnx=a", "--model_dir=b"), "Received: --model_dir, --onnx"),
        (("--onnx=a", "clip.mp4"), "takes flags only. Received: clip.mp4"),
        (("--onnx=a", "--port=70000"), "--port"),
        (("--onnx=a", "--max_seconds=0"), "--max_seconds"),
        (("--onnx=a", "--max_upload_mb=-1"), "--max_upload_mb"),
    ],
)
def test_wrong_flags_are_told_in_one_line(fault, args, told):
    code, line = fault(*args)
    assert code == 2 and told in line


def test_a_folder_without_a_model_is_told(fault, tmp_path):
    code, line = fault(f"--onnx={tmp_path}")
    assert code == 1 and str(tmp_path) in line


def test_the_missing_extra_is_named(fault, monkeypatch):
    def absent(name, package=None):
        return None if name == "gradio" else real(name, package)

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    code, line = fault("--onnx=a")
    assert code == 1
    assert line == "emorec ui: the page needs gradio; install emorec[ui]"


def test_a_port_that_is_taken_is_told(fault, onnx_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = fault(f"--onnx={onnx_dir}", f"--port={port}")
    assert code == 1
    assert line == (
        f"emorec ui: 127.0.0.1:{port}: cannot be listened on (Address already "
        "in use); choose another --port or --host"
    )
