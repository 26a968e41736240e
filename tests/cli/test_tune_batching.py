"""`emorec tune_batching`: servers are started, measured, and leave nothing."""

import json
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
from testing import commands, request_files

from serving.configs import schemas


class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def double(self, x):
        return {"y": 2 * x}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model as version 7, with a warmup record of two rows."""
    base = tmp_path_factory.mktemp("tune") / "toy"
    toy = Doubler()
    tf.saved_model.save(
        toy, str(base / "7"), signatures={"serving_default": toy.double}
    )
    request_files.write(
        base / "7" / "assets.extra" / "tf_serving_warmup_requests",
        [
            request_files.predict_log("", {"x": np.ones((n, 3), np.float32)})
            for n in (1, 2)
        ],
    )
    return base


@pytest.fixture
def line(base, tmp_path):
    """The flags of a short run."""
    flags = {
        "model_base_path": base,
        "model_name": "toy",
        "output": tmp_path / "out.txt",
        "target_p99_ms": 60_000,
        "batch_sizes": "1,2",
        "timeouts_micros": 0,
        "seconds": 0.3,
        "concurrency": 4,
        "embedded": "true",
    }

    def make(**changed):
        return [
            "tune_batching",
            *(f"--{k}={v}" for k, v in {**flags, **changed}.items()),
        ]

    return make


@pytest.fixture
def importable(monkeypatch):
    """Lets the servers that a command starts import the checkout."""
    monkeypatch.setenv("PYTHONPATH", str(commands.ROOT))


@pytest.mark.parametrize(
    "flags, code, message",
    [
        ({"batch_sizes": "0"}, 2, "`--batch_sizes` must be whole numbers"),
        ({"batch_sizes": "4,x"}, 2, "Received: 4,x"),
        ({"batch_sizes": ""}, 2, "`--batch_sizes` must name a number"),
        ({"timeouts_micros": "-1"}, 2, "`--timeouts_micros` must be whole"),
        ({"batch_sizes": "1"}, 2, "must have one of 2 or more"),
        ({"model_base_path": "/none"}, 2, "must be a folder of version"),
        ({"target_p99_ms": "0"}, 2, "target_p99_ms"),
        ({"output": "/none/out.txt"}, 1, "cannot be written there"),
        ({"signature": "zz"}, 1, "holds no request of that signature"),
        ({"rows": "5"}, 1, "holds no request of that signature"),
    ],
)
def test_what_cannot_be_measured_is_refused_first(
    capsys, line, flags, code, message
):
    done = commands.here(capsys, *line(**flags))
    assert message in done.fault()
    assert done.code == code


@pytest.mark.long
def test_candidates_are_measured_and_a_file_is_written(
    capsys, line, tmp_path, importable
):
    done = commands.here(capsys, *line())
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("note: no --batch_sizes of 1: the warmup file")
    assert lines[1] == (
        "embedded: signature serving_default, 1 row a request, 4 callers, "
        "0.3 s each"
    )
    assert lines[3].split()[:2] == ["no", "batching"]
    assert lines[4].split()[:2] == ["2", "0"]
    assert lines[4].endswith("  none")
    assert lines[5].startswith("chosen: max_batch_size 2, timeout 0 us: ")
    out = tmp_path / "out.txt"
    assert lines[-2:] == [str(out), f"{out}.json"]
    params = schemas.read("batching", str(out))
    schemas.check_batching(params)
    assert list(params.allowed_batch_sizes) == [1, 2]
    found = json.loads((tmp_path / "out.txt.json").read_text())
    assert found["chosen"]["max_batch_size"] == 2
    assert found["server"] == "embedded"
    assert found["machine"]["processors"] >= 1
    assert [c["candidate"]["max_batch_size"] for c in found["candidates"]] == [
        None,
        2,
    ]
    assert all(c["report"]["answered"] for c in found["candidates"])
    assert sorted(os.listdir(tmp_path)) == ["out.txt", "out.txt.json"]


@pytest.mark.long
def test_where_none_is_within_the_target_it_says_so(
    capsys, line, tmp_path, importable
):
    done = commands.here(capsys, *line(target_p99_ms=0.001))
    assert done.code == 1
    assert "no candidate answers everything with a p99 within 0.001" in (
        done.fault()
    )
    # The measurements are there, and no file that somebody might use.
    assert os.listdir(tmp_path) == ["out.txt.json"]
    found = json.loads((tmp_path / "out.txt.json").read_text())
    assert found["chosen"] is None
    assert len(found["candidates"]) == 2


def servers(pid: int) -> list[int]:
    """The children of a process that are servers, and no short helpers."""
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(child) for child in path.read_text().split()]
    return [child for child in children if b"serve" in words(child)]


def words(pid: int) -> list[bytes]:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def runs(pid: int) -> bool:
    """Whether a process has not ended; who collects it may take a while."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_server_and_no_file(line, tmp_path, number):
    process = subprocess.Popen(
        commands.line(*line(seconds=600)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=commands.environment(),
    )
    try:
        ends = time.monotonic() + 120
        while not (started := servers(process.pid)):
            assert process.poll() is None and time.monotonic() < ends
            time.sleep(0.05)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert len(error.splitlines()) == 1
    assert not os.listdir(tmp_path)
    assert not any(map(runs, started))
