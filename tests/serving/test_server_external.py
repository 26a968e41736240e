"""The command line of the real server, and its process."""

import os
import time

import pytest

from emorec.errors import ServerError
from serving.server import external


def test_find_model_server(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert external.find_model_server() is None
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    assert external.find_model_server() == str(binary)


def test_command():
    assert external.command("tms", "models", model_name="emotion") == [
        "tms",
        "--model_name=emotion",
        f"--model_base_path={os.path.abspath('models')}",
        "--port=8500",
        "--rest_api_port=0",
    ]
    line = external.command(
        "tms",
        "gs://bucket/models",
        port=1,
        rest_port=2,
        batching_file="/b.pbtxt",
        extra=["--grpc_max_threads=4"],
    )
    assert "--model_base_path=gs://bucket/models" in line
    assert line[3:] == [
        "--port=1",
        "--rest_api_port=2",
        "--enable_batching",
        "--batching_parameters_file=/b.pbtxt",
        "--grpc_max_threads=4",
    ]


def script(path, text) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_version(tmp_path):
    says = 'echo "TensorFlow ModelServer: 2.16.1"; echo more'
    assert external.version(script(tmp_path / "a", says)) == (
        "TensorFlow ModelServer: 2.16.1"
    )
    assert external.version(script(tmp_path / "b", "exit 2")) == "unknown"
    late = script(tmp_path / "c", "exec sleep 60")
    assert external.version(late, timeout_s=0.1) == "unknown"
    with pytest.raises(ServerError, match="none: cannot be run .No such file"):
        external.version(str(tmp_path / "none"))


def test_a_process_ends_with_its_block(tmp_path):
    pid = tmp_path / "pid"
    line = [script(tmp_path / "server", f"echo $$ > {pid}; exec sleep 600")]
    with pytest.raises(KeyError), external.running(line) as check:
        while not (pid.exists() and pid.read_text().strip()):
            time.sleep(0.01)
        check()
        raise KeyError
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_process_that_ends_by_itself(tmp_path):
    text = "echo 'Error: no model' >&2\necho bye\nexit 3"
    line = [script(tmp_path / "server", text)]
    with (
        pytest.raises(ServerError) as caught,
        external.running(line) as check,
    ):
        while True:
            check()
            time.sleep(0.01)
    assert str(caught.value) == f"{line[0]} ended with code 3: Error: no model"
    with (
        pytest.raises(ServerError, match="cannot be run"),
        external.running([str(tmp_path / "none")]),
    ):
        pass


def test_a_free_port():
    assert 1024 <= external.free_port() <= 65535
