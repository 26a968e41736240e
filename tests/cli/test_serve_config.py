"""`emorec serve` with the files and flags of tensorflow_model_server."""

import contextlib
import os
import signal
import subprocess

import grpc
import pytest
from testing import commands, pem_files, times_model
from testing.times_model import Caller

from serving.configs import schemas


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, "serve", "--embedded", *args)


def test_there_must_be_a_model(here):
    done = here()
    assert done.code == 2
    assert done.fault() == (
        "emorec serve: give one of --model_base_path, --model_config_file. "
        "Received: none"
    )


FILES = {
    "model_config_file": "models",
    "batching_parameters_file": "batching",
    "monitoring_config_file": "monitoring",
    "ssl_config_file": "ssl",
}


@pytest.mark.parametrize("flag", FILES)
def test_a_file_that_is_not_one(here, tmp_path, flag):
    path = tmp_path / "file"
    args = [f"--model_base_path={tmp_path}", "--enable_batching"]
    done = here(*args, f"--{flag}={path}")
    assert done.code == 2
    assert done.fault() == (
        f"emorec serve: {path}: `--{flag}` must be a file; write one with "
        "`emorec serving_config`"
    )
    path.write_text("max_batch_size: 32 nonsense {")
    done = here(*args, f"--{flag}={path}")
    assert done.code == 2
    assert done.fault().startswith(
        f"emorec serve: {path}: is not a {FILES[flag]} config of the model "
        "server: "
    )


def text_of(*models) -> str:
    return schemas.to_text(times_model.config(*models))


LABEL = 'version_labels { key: "stable" value: 1 }'


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        (
            "model_config_file",
            text_of('name: "a" base_path: "/a"', 'name: "a" base_path: "/b"'),
            "`models`: Illegal to list model a multiple times in config list",
        ),
        (
            "model_config_file",
            text_of(f'name: "a" base_path: "/a" {LABEL}'),
            "`models`: Request to assign label to version 1 of model "
            "a, which is not currently available for inference; labels in "
            "the first config need "
            "`allow_version_labels_for_unavailable_models`",
        ),
        (
            "batching_parameters_file",
            "num_batch_threads { value: 0 }",
            "{path}: `num_batch_threads` must be 1 to 2147483647. Received: 0",
        ),
        (
            "monitoring_config_file",
            'prometheus_config { enable: true path: "metrics" }',
            "`monitoring`: `path` must begin with `/`. Received: 'metrics'",
        ),
    ],
)
def test_a_file_that_breaks_a_rule(here, tmp_path, flag, text, message):
    path = tmp_path / "file"
    path.write_text(text)
    args = [f"--model_base_path={tmp_path}", "--enable_batching", "--port=0"]
    done = here(*args, f"--{flag}={path}")
    assert done.code == 2
    assert done.fault() == f"emorec serve: {message.format(path=path)}"


def test_parameters_of_batching_that_is_off(here, tmp_path):
    done = here(
        f"--model_base_path={tmp_path}",
        f"--batching_parameters_file={tmp_path / 'file'}",
    )
    assert done.code == 2
    assert done.fault() == (
        "emorec serve: `--batching_parameters_file` needs --enable_batching"
    )


def test_one_look_that_finds_nothing(here, tmp_path):
    done = here(
        f"--model_base_path={tmp_path}",
        "--port=0",
        "--file_system_poll_wait_seconds=0",
    )
    assert done.code == 1
    assert done.out == ""
    assert done.fault() == (
        "emorec serve: no version of model 'default' in "
        f"{tmp_path}: it holds no folder named by an integer, and with a poll "
        "wait of 0 s there is no second look"
    )


def start(path, *args):
    return subprocess.Popen(
        commands.line("serve", *args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**commands.environment(), "PATH": path},
        start_new_session=True,
    )


@contextlib.contextmanager
def ended(process):
    """Leaves no process behind, whatever fails."""
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_real_server_gets_the_same_files(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    binary = folder / "tensorflow_model_server"
    # Stands in for the real one: says how it was called.
    binary.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    binary.chmod(0o755)
    # What is in them is its own affair.
    for name in FILES.values():
        (tmp_path / name).write_text("")
    files = [f"--{flag}={tmp_path / kind}" for flag, kind in FILES.items()]
    with ended(
        start(
            f"{folder}{os.pathsep}{os.environ['PATH']}",
            *files,
            f"--model_base_path={tmp_path}",
            "--port=8600",
            "--enable_batching",
            "--file_system_poll_wait_seconds=0",
            "--allow_version_labels_for_unavailable_models",
            "--enable_grpc_healthcheck_service",
        )
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines() == [
        f"{binary}: listens on every address of this machine",
        "--model_config_file is given: --model_name and --model_base_path are "
        "not used",
        "metrics are told over REST: none without --rest_api_port",
        f"--model_config_file={tmp_path / 'models'}",
        "--port=8600",
        "--rest_api_port=0",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'batching'}",
        f"--monitoring_config_file={tmp_path / 'monitoring'}",
        f"--ssl_config_file={tmp_path / 'ssl'}",
        "--file_system_poll_wait_seconds=0",
        "--allow_version_labels_for_unavailable_models",
        "--enable_grpc_healthcheck_service",
    ]


@pytest.mark.long
def test_the_embedded_server_with_every_file(tmp_path):
    models = times_model.save(tmp_path / "models", (1, 2))
    for number in (1, 2):
        times_model.put(models, number, tmp_path / "times", number)
        times_model.put(models, number, tmp_path / "other", number)
    pems = pem_files.write(tmp_path)
    ssl = schemas.message_class("ssl")(
        server_key=pems.key.read_text(), server_cert=pems.cert.read_text()
    )
    (tmp_path / "ssl").write_text(schemas.to_text(ssl))
    policy = "model_version_policy { all {} }"
    (tmp_path / "models.config").write_text(
        text_of(
            times_model.model("times", tmp_path / "times", policy + LABEL),
            times_model.model("other", tmp_path / "other"),
        )
    )
    (tmp_path / "batching").write_text("max_batch_size { value: 2 }")
    with ended(
        start(
            os.environ["PATH"],
            "--embedded",
            "--port=0",
            f"--model_config_file={tmp_path / 'models.config'}",
            "--enable_batching",
            f"--batching_parameters_file={tmp_path / 'batching'}",
            f"--ssl_config_file={tmp_path / 'ssl'}",
            "--allow_version_labels_for_unavailable_models",
            "--enable_grpc_healthcheck_service",
        )
    ) as process:
        line = process.stdout.readline()
        head, port = line.rsplit(" ", 1)
        assert head == (
            "embedded server (for development, tests and small loads): "
            "'times', 'other' on 127.0.0.1, gRPC on"
        )
        credentials = grpc.ssl_channel_credentials(pems.ca.read_bytes())
        address = f"127.0.0.1:{int(port)}"
        with grpc.secure_channel(address, credentials) as channel:
            caller = Caller(None, channel)
            assert caller.factor() == caller.factor("other") == 2.0
            assert caller.factor(version_label="stable") == 1.0
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            assert check(b"", timeout=30) == b"\x08\x01"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "stopped\n", "")
