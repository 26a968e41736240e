"""The command line of the real server."""

import os

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
