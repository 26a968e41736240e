"""`emorec loadtest` on a real port, and the loops behind it."""

import json
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from testing import commands, request_files

from serving.load import measure
from serving.server import external
from serving.server.server import ModelServer

ROW = np.ones((1, 3), np.float32)


class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    def double(self, x):
        return {"y": 2 * x}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Two signatures as version 7, with a warmup file."""
    base = tmp_path_factory.mktemp("load") / "toy"
    toy = Doubler()
    tf.saved_model.save(
        toy,
        str(base / "7"),
        signatures={"serving_default": toy.double, "second": toy.double},
    )
    request_files.write(
        base / "7" / "assets.extra" / "tf_serving_warmup_requests",
        [
            request_files.predict_log("", {"x": ROW}),
            request_files.predict_log("second", {"x": ROW}),
            request_files.predict_log("second", {"x": np.tile(ROW, (4, 1))}),
        ],
    )
    return base


@pytest.fixture(scope="module")
def address(base):
    with ModelServer(str(base), "toy", port=0) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def load(capsys, base, address):
    def run(*args, **flags):
        flags = {
            "server": address,
            "model_name": "toy",
            "requests": base / "7",
            "seconds": 0.5,
            **flags,
        }
        return commands.here(
            capsys, "loadtest", *(f"--{k}={v}" for k, v in flags.items()), *args
        )

    return run


def test_a_closed_loop_of_mixed_requests(load, tmp_path):
    done = load(concurrency=3, output=tmp_path / "out.json")
    assert done.code == 0, done.err
    assert done.out.startswith("closed loop of 3, 0.5 s: ")
    assert "errors: none" in done.out
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found["signatures"]) == {
        "serving_default x1",
        "second x1",
        "second x4",
    }
    assert found["versions"] == {"7": found["answered"]}
    assert found["answered"] > 10
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert found["errors"] == {} and found["not_sent"] == 0


def test_an_open_loop_keeps_its_rate(load, tmp_path):
    done = load(
        rate=100, seconds=2, signatures="second", batch=4, output=tmp_path / "o"
    )
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "o").read_text())
    assert list(found["signatures"]) == ["second x4"]
    # Poisson of 200: five deviations either way.
    assert 130 < found["answered"] + found["not_sent"] < 270


def test_errors_are_counted_by_code(load, base, tmp_path):
    bad = request_files.write(
        tmp_path / "bad", [request_files.predict_log("nope", {"x": ROW})]
    )
    done = load(concurrency=1, requests=bad, output=tmp_path / "out.json")
    assert done.code == 1
    assert "0 answers" in done.out
    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found["errors"]) == ["FAILED_PRECONDITION"]
    assert found["latency_ms"] == {}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ({}, 2, "give exactly one of --concurrency (closed loop) and --rate"),
        ({"concurrency": 1, "rate": 1}, 2, "give exactly one of --concurrency"),
        ({"concurrency": 1, "batch": 9}, 1, "Received: any, 9 rows; there is "),
        (
            {"concurrency": 1, "requests": "no"},
            1,
            "no: cannot be read as TFRecords of PredictionLog (no; No such "
            "file or directory); export",
        ),
        ({"concurrency": 1, "server": "x"}, 2, "`address` must be host:port"),
        ({"concurrency": 1, "model_name": "z"}, 1, "model 'z': NOT_FOUND"),
        ({"concurrency": 1, "tls_ca": "no"}, 2, "no: cannot be read (No such"),
        # Not a load in the clear.
        ({"concurrency": 1, "tls_ca": ""}, 2, "cannot be read"),
        ({"rate": "nan"}, 2, "must be numbers. Received: nan and "),
        ({"concurrency": 1, "seconds": "nan"}, 2, "Received: None and nan"),
    ],
)
def test_mistakes_are_one_line(load, flags, code, message):
    done = load(**flags)
    assert done.code == code
    assert message in done.fault()


def test_a_file_that_is_no_log(load, tmp_path):
    bad = request_files.write(tmp_path / "bad", [b"\xff\xff words"])
    fault = load(concurrency=1, requests=bad).fault()
    assert "cannot be read as TFRecords of PredictionLog" in fault


def test_nobody_there(load):
    nobody = f"127.0.0.1:{external.free_port()}"
    done = load(concurrency=1, server=nobody, timeout=0.5)
    assert "is not ready after 0.5 s" in done.fault()


def test_percentiles_by_hand():
    found = measure.percentiles([i / 100 for i in range(101)])
    assert found == pytest.approx(
        {
            "mean": 0.5,
            "p50": 0.5,
            "p90": 0.9,
            "p95": 0.95,
            "p99": 0.99,
            "max": 1,
        }
    )
    assert measure.percentiles([]) == {}


def test_an_open_loop_counts_from_when_a_request_was_due():
    # One at a time may run, each takes 20 ms, 200 a second are due: those that
    # find no place are not sent, and none of the others waited.
    lock = threading.Lock()

    def slow():
        with lock:
            time.sleep(0.02)

    alone = measure.open_loop(slow, 200, 0.3, max_in_flight=1)
    assert alone.not_sent > alone.answered
    # With places to wait in, they wait, and the wait counts.
    queued = measure.open_loop(slow, 200, 0.3, max_in_flight=64)
    assert queued.not_sent == 0
    assert max(queued.latencies) > 3 * min(queued.latencies)


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_a_fault_of_ours_ends_the_run(loop):
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        if loop == "closed":
            measure.closed_loop(broken, 4, 60)
        else:
            measure.open_loop(broken, 100, 60, 4)


def test_an_error_that_came_from_a_call_has_its_code():
    class Refused(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.RESOURCE_EXHAUSTED

    def call():
        try:
            raise Refused
        except Refused as e:
            raise RuntimeError("typed") from e

    samples = measure.closed_loop(call, 2, 0.05)
    assert list(samples.errors) == ["RESOURCE_EXHAUSTED"]
