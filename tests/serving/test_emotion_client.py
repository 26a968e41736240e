"""The light client against the embedded server."""

import math
import os
import pathlib
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from emorec.errors import ServerError, UsageError
from serving.client import errors
from serving.client.emotion_client import EmotionClient
from serving.client.specs import TensorSpec, VersionStatus
from serving.server import external
from serving.server.server import ModelServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
ONE_ROW = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def client(server):
    with EmotionClient(f"127.0.0.1:{server.port}", "toy", 20.0) as client:
        yield client


@pytest.fixture
def free_port():
    return external.free_port()


def test_predict(client):
    found = client.predict("", {"x": ONE_ROW})
    assert sorted(found) == ["logits", "rows"]
    assert found["logits"].dtype == np.float32
    np.testing.assert_array_equal(found["logits"], [[9, 12]])
    assert list(client.predict("", {"x": ONE_ROW}, ["rows"])) == ["rows"]
    found = client.predict("upper", {"s": ["a", "b"]})["upper"]
    assert found.tolist() == [b"A", b"B"]


def test_one_version(server):
    address = f"127.0.0.1:{server.port}"
    with EmotionClient(address, "toy", version=1) as client:
        assert client.predict("total", {"x": np.float32([2])})["total"] == 2
    with (
        EmotionClient(address, "toy", version=2) as client,
        pytest.raises(errors.ModelNotFound) as raised,
    ):
        client.predict("total", {"x": np.float32([2])})
    assert str(raised.value) == (
        f"model server {address}, model 'toy': NOT_FOUND: Servable not found "
        "for request: Specific(toy, 2); check the model's name and version "
        "against the server's"
    )


def test_status_and_metadata(client):
    client.wait_ready(5)
    assert client.status() == [VersionStatus(1, "AVAILABLE", 0, "")]
    found = client.metadata()
    assert "__saved_model_init_op" not in found
    assert found["serving_default"].inputs == {
        "x": TensorSpec("float", (None, 3))
    }
    assert found["jpegs"].inputs["face"] == TensorSpec("string", (None, None))
    assert found["echo"].outputs["text"] == TensorSpec("string", None)


def test_jpegs_are_padded_to_the_longest_clip(client):
    found = client.jpegs(
        [[b"1", b"22", b"333"], [b"4444"]], [[b"a"] * 3, [b"bb"]]
    )
    assert found["face_lengths"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert found["context_lengths"].tolist() == [[1, 1, 1], [2, 0, 0]]


def test_jpegs_of_a_clip_without_a_face(client):
    found = client.jpegs([[]], [[]])
    assert found["face_lengths"].tolist() == [[0]]


@pytest.mark.parametrize(
    ("face", "context", "message"),
    [
        ([[b"a"]], [[b"a", b"b"]], "must have clips of equal lengths"),
        ([[b"a"]], [[b"a"]] * 2, "must have clips of equal lengths"),
        (None, None, "must have clips of equal lengths"),
        ([[b"a", b""]], [[b"a"] * 2], "`face` must hold encoded JPEGs as b"),
        ([["a"]], [[b"a"]], "clip 0, frame 0 is 'a'"),
        ([], [], "`face` must hold at least one row. Received: an array of"),
    ],
)
def test_jpegs_that_do_not_fit(client, face, context, message):
    with pytest.raises(errors.BadRequest) as raised:
        client.jpegs(face, context)
    assert message in str(raised.value)


def test_features(client):
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    found = client.features(np.ones((2, 3, 2)), np.ones((2, 3, 4)), mask)
    assert found["kept"].tolist() == [12, 6]


def test_a_stream_that_the_model_needs(client):
    with pytest.raises(errors.BadRequest, match=r"Missing but required: {fac"):
        client.features(None, np.ones((2, 3, 4)), np.ones((2, 3)))
    with pytest.raises(errors.BadRequest, match=r"Missing but required: {con"):
        client.jpegs([[b"a"]], None)


def test_examples(client):
    # Bytes that end in zeros stay whole.
    found = client.examples([b"a\x00", b"b"], "feature_examples")
    assert found["raw_bytes"].tolist() == [b"a\x00", b"b"]
    with pytest.raises(errors.BadRequest, match=r"Signature input alias: x"):
        client.examples([b"a"])


def test_a_batch_of_no_rows_is_not_sent(free_port):
    # Nothing listens there, and nothing is tried.
    with EmotionClient(f"127.0.0.1:{free_port}") as client:
        for call in (
            lambda: client.examples([]),
            lambda: client.features(None, np.ones((0, 1, 1)), np.ones((0, 1))),
            lambda: client.predict("", {"x": np.ones((0, 3))}),
        ):
            with pytest.raises(errors.BadRequest, match="at least one row"):
                call()


@pytest.mark.parametrize(
    ("signature", "inputs", "kind", "message"),
    [
        ("nope", {"x": ONE_ROW}, errors.BadRequest, "FAILED_PRECONDITION"),
        ("", {"x": np.ones((1, 3))}, errors.BadRequest, "but double is prov"),
        ("", {"x": [[1j]]}, errors.BadRequest, "dtype complex128 cannot be"),
        (
            "",
            {"x": np.ones((900_000, 3), np.float32)},
            errors.Overloaded,
            "larger than max",
        ),
    ],
)
def test_refusals_are_typed_and_one_line(
    client, signature, inputs, kind, message
):
    with pytest.raises(kind) as raised:
        client.predict(signature, inputs)
    assert isinstance(raised.value, ServerError)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_more_than_the_4_mib_of_grpc(client):
    sent = [b"x" * 6_000_000]
    found = client.predict("raw", {"s": sent})
    assert found["raw_bytes"].tolist() == sent


def test_nobody_there(free_port):
    address = f"127.0.0.1:{free_port}"
    with EmotionClient(address, "emotion", 1.0) as client:
        with pytest.raises(errors.Unavailable) as raised:
            client.status()
        message = str(raised.value)
        assert message.startswith(
            f"model server {address}, model 'emotion': UNAVAILABLE: "
        )
        assert message.endswith("check the address and that the server runs")
        assert "\n" not in message
        with pytest.raises(errors.Unavailable, match=r"not ready after 0.3 s"):
            client.wait_ready(0.3)


def test_a_server_that_says_nothing():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            EmotionClient(address, timeout_s=0.5) as client,
            pytest.raises(errors.DeadlineExceeded, match="raise `timeout_s`"),
        ):
            client.status()


def test_the_deadline(server, pipe):
    address = f"127.0.0.1:{server.port}"
    with (
        EmotionClient(address, "toy", timeout_s=0.3) as client,
        pytest.raises(errors.DeadlineExceeded) as raised,
    ):
        client.predict("block", {"path": [pipe.path]})
    assert "DEADLINE_EXCEEDED" in str(raised.value)
    assert "raise `timeout_s` or send fewer clips" in str(raised.value)


def test_a_server_that_starts_meanwhile(toy_base, free_port):
    later = ModelServer(str(toy_base), "toy", port=free_port)
    timer = threading.Timer(0.3, later.start)
    with EmotionClient(f"127.0.0.1:{free_port}", "toy") as client:
        timer.start()
        client.wait_ready(30)
        assert client.predict("total", {"x": np.float32([2])})["total"] == 2
    timer.join()
    later.stop()


def test_wait_ready_for_an_unknown_model(server):
    with (
        EmotionClient(f"127.0.0.1:{server.port}", "other") as client,
        pytest.raises(errors.ModelNotFound, match="any versions of model ot"),
    ):
        client.wait_ready(30)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "http://localhost:8500",
        "host:http",
        ":1",
        "localhost:0",
        "localhost:74036",
        "localhost:" + "9" * 5000,
    ],
)
def test_bad_addresses(address):
    with pytest.raises(UsageError) as raised:
        EmotionClient(address)
    assert str(raised.value) == (
        "`address` must be host:port, such as 127.0.0.1:8500. "
        f"Received: {address!r}"
    )


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_times_that_are_none(client, seconds):
    message = r"`timeout_s` must be more than 0 and at most 1e\+09. Received: "
    with pytest.raises(UsageError, match=message + str(seconds)):
        EmotionClient("127.0.0.1:1", timeout_s=seconds)
    with pytest.raises(UsageError, match=message + str(seconds)):
        client.predict("", {"x": ONE_ROW}, timeout_s=seconds)


@pytest.mark.parametrize("version", [-1, 2**63])
def test_versions_that_are_none(version):
    with pytest.raises(UsageError) as raised:
        EmotionClient("127.0.0.1:1", version=version)
    assert str(raised.value) == (
        f"`version` must be 0 to 2**63 - 1. Received: {version}"
    )


def test_what_is_no_array(client):
    ragged = [[1, 2], [3]]
    for call, name in (
        (lambda: client.predict("", {"x": ragged}), "`x` must be one array"),
        (
            lambda: client.features(ragged, None, [[True]]),
            "`face_features` must be one array of float32, its rows of equal",
        ),
        (
            lambda: client.features([["a"]], None, [[True]]),
            "could not convert string to float: 'a'",
        ),
        (
            lambda: client.features(None, [[[1.0]]], [[True], []]),
            "`mask` must be one array of bool",
        ),
        (lambda: client.frames(ragged, None, [[True]]), "`face` must be"),
        (lambda: client.video([[b"a"]], [["b"]]), "`times` must be one array"),
    ):
        with pytest.raises(errors.BadRequest) as raised:
            call()
        assert name in str(raised.value)


def test_a_closed_client(server):
    client = EmotionClient(f"127.0.0.1:{server.port}", "toy")
    with client:
        client.status()
    with pytest.raises(ServerError) as raised:
        client.status()
    assert str(raised.value) == (
        f"the client of 127.0.0.1:{server.port} is closed: make another one"
    )


PROGRAM = """
import sys
from serving.client.emotion_client import EmotionClient
with EmotionClient(sys.argv[1], "toy") as client:
    client.wait_ready()
    print(client.status()[0].state, len(client.metadata()) > 5)
    print(client.jpegs([[b"abc"]], [[b"d"]])["face_lengths"].tolist())
print(sorted(
    name for name in ("tensorflow", "tensorflow_serving", "keras")
    if name in sys.modules
))
"""


def test_the_client_needs_no_tensorflow(server):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"127.0.0.1:{server.port}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["AVAILABLE True", "[[3]]", "[]"]


def test_a_proxy_of_the_environment_is_not_used(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    with EmotionClient(f"127.0.0.1:{server.port}", "toy", 5.0) as client:
        assert client.status()[0].state == "AVAILABLE"
