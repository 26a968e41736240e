"""`emorec serve`, and what `emorec predict --server` says of what it finds."""

import contextlib
import os
import signal
import socket
import subprocess

import pytest
import tensorflow as tf
from testing import commands

from serving.server.server import ModelServer

# Stands in for the real binary, which is not on every machine: says how it
# was called, then waits for its end as the real one does.
BINARY = """#!/bin/sh
trap 'echo ended by $1; exit 0' TERM INT
for word in "$@"; do echo "$word"; done
if [ -n "$FAILS" ]; then exit "$FAILS"; fi
echo ready
while :; do sleep 0.1; done
"""


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, *args)


@pytest.fixture
def path_with_binary(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    binary = folder / "tensorflow_model_server"
    binary.write_text(BINARY)
    binary.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def serve(path, *args, **environment):
    return subprocess.Popen(
        commands.line("serve", *args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**commands.environment(), "PATH": path, **environment},
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_real_server_is_run_where_it_is(path_with_binary, tmp_path, number):
    process = serve(
        path_with_binary,
        "--port=8600",
        "--rest_api_port=8601",
        "--model_name=emotion",
        f"--model_base_path={tmp_path}",
    )
    try:
        lines = []
        while not lines or lines[-1] not in ("ready", ""):
            lines.append(process.stdout.readline().strip())
        assert lines[0].endswith("listens on every address of this machine")
        assert lines[1:-1] == [
            "--model_name=emotion",
            f"--model_base_path={tmp_path}",
            "--port=8600",
            "--rest_api_port=8601",
        ]
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert out.startswith("ended by")
    finally:
        # The group, so that a failure leaves no server behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_real_servers_failure_is_its_exit_code(path_with_binary, tmp_path):
    process = serve(
        path_with_binary, f"--model_base_path={tmp_path}", FAILS="7"
    )
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (7, "")


def test_host_is_refused_where_it_would_mean_nothing(
    path_with_binary, tmp_path
):
    process = serve(
        path_with_binary, f"--model_base_path={tmp_path}", "--host=127.0.0.1"
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert err.startswith("emorec serve: `--host` needs --embedded: ")
    assert err.count("\n") == 1


def test_a_port_in_use(here, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        done = here(
            "serve",
            "--embedded",
            f"--port={port}",
            f"--model_base_path={tmp_path}",
        )
    assert done.code == 1
    assert done.fault() == (
        f"emorec serve: port {port} of 127.0.0.1 is in use: stop what listens "
        "there, or choose another port (0 takes a free one)"
    )


def test_a_folder_without_a_model_that_loads(here, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"not one")
    done = here(
        "serve", "--embedded", "--port=0", f"--model_base_path={tmp_path}"
    )
    assert done.code == 1
    assert done.fault().startswith("emorec serve: ")
    assert str(tmp_path / "1") in done.fault()


class Doubler(tf.Module):
    """A model that is not ours."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def double(self, x):
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "query")])
    def describe(self, query):
        return {"config": tf.fill(tf.shape(query), "[1, 2]")}


@pytest.fixture(params=["no describe", "another describe"])
def foreign(request, tmp_path):
    model = Doubler()
    signatures = {"serving_default": model.double}
    if request.param == "another describe":
        signatures["describe"] = model.describe
    path = tmp_path / "models" / "doubler"
    tf.saved_model.save(model, str(path / "1"), signatures)
    with ModelServer(str(path), "doubler", port=0) as server:
        yield f"127.0.0.1:{server.port}"


def test_a_server_of_another_kind_of_model(here, foreign):
    args = ["predict", "clip.mp4", f"--server={foreign}", "--timeout=30"]
    done = here(*args, "--model_name=doubler")
    assert done.code == 1
    fault = done.fault()
    assert "export" in fault
    assert "is not one of emorec's" in fault or "not complete" in fault
    done = here(*args, "--model_name=emotion")
    assert done.code == 1
    assert "Servable not found for request: Latest(emotion)" in done.fault()
    assert "check the model's name and version" in done.fault()


@pytest.fixture
def waiting(tmp_path):
    """`emorec serve` on a folder that is still empty, past its first line."""
    base_path = tmp_path / "served"
    base_path.mkdir()
    process = serve(
        os.environ["PATH"],
        "--embedded",
        "--port=0",
        f"--model_base_path={base_path}",
    )
    try:
        line = process.stdout.readline()
        assert line == f"waiting for a version folder in {base_path}\n"
        yield process, base_path
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_empty_folder_is_waited_for_till_a_signal(waiting, number):
    process, _ = waiting
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_a_version_that_appears_is_served(waiting, tmp_path):
    process, base_path = waiting
    ready = tmp_path / "1"
    tf.saved_model.save(Doubler(), str(ready))
    # At once, or half a copy would be looked at.
    ready.rename(base_path / "1")
    assert process.stdout.readline().startswith("embedded server (for ")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
