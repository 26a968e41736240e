"""What is no request at all: both ports live on, and refuse by a code."""

import contextlib
import random
import socket

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
)

Code = grpc.StatusCode
SERVICE = "/tensorflow.serving.PredictionService"
PORTS = ("port", "rest_port")
# What a request may be told; anything else is a fault of ours.
REFUSALS = {
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
    Code.UNIMPLEMENTED,
    Code.RESOURCE_EXHAUSTED,
}


def dense(rows=1):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "toy"
    message.inputs["x"].CopyFrom(
        tf.make_tensor_proto(np.ones((rows, 3), np.float32))
    )
    return message


@contextlib.contextmanager
def connected(server, port):
    address = ("127.0.0.1", getattr(server, port))
    with socket.create_connection(address, timeout=10) as connection:
        yield connection


@pytest.fixture
def alive(prediction, ask):
    """Asserts, at the test's end, that both ports answer."""
    yield
    response = prediction.Predict(dense(), timeout=20)
    assert list(response.outputs["rows"].float_val) == [3.0]
    assert ask("GET", "/v1/models/toy")[0] == 200


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"\xff\xfe garbage\r\n\r\n",
        random.Random(1).randbytes(10_000),
        # HTTP/1.1 for the gRPC port; a broken one for REST.
        b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\n\r\n{}",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        # HTTP/2: its preface, alone and with frames that are none.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000,
        # A TLS ClientHello's first bytes.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=range(10),
)
def test_garbage_bytes(server, port, garbage):
    # The server may hang up at any moment.
    with (
        connected(server, port) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("port", PORTS)
def test_connections_that_say_nothing_or_stop_halfway(
    server, port, prediction, ask
):
    head = b"POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 99\r\n"
    with contextlib.ExitStack() as stack:
        for i in range(8):
            connection = stack.enter_context(connected(server, port))
            connection.sendall(head[: i * 10])
        # While they are open, others are answered.
        assert prediction.Predict(dense(), timeout=20).outputs
        assert ask("GET", "/v1/models/toy")[0] == 200


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(
    "method", ["Predict", "Classify", "Regress", "MultiInference"]
)
def test_a_message_that_does_not_parse(channel, method):
    raw = channel.unary_unary(f"{SERVICE}/{method}")
    for garbage in (b"\xff\xff\xff\xff", random.Random(2).randbytes(5000)):
        with pytest.raises(grpc.RpcError) as raised:
            raw(garbage, timeout=20)
        assert raised.value.code() == Code.INTERNAL
        assert "deserializing request" in raised.value.details()


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(
    "method",
    [
        f"{SERVICE}/Guess",
        # The real server has no reflection either.
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_a_method_that_does_not_exist(channel, method):
    raw = channel.unary_unary(method)
    with pytest.raises(grpc.RpcError) as raised:
        raw(b"", timeout=20)
    assert raised.value.code() == Code.UNIMPLEMENTED


def mutations(message, count, seed):
    """Yields messages that parse, from bytes changed at random."""
    numbers = random.Random(seed)
    start = message.SerializeToString()
    found = 0
    while found < count:
        data = bytearray(start)
        for _ in range(numbers.randint(1, 4)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        with contextlib.suppress(Exception):
            yield type(message).FromString(bytes(data))
            found += 1


def requests():
    record = tf.train.Example()
    record.features.feature["x"].float_list.value.extend([1, 2])
    echo = predict_pb2.PredictRequest()
    echo.model_spec.name = "toy"
    echo.model_spec.signature_name = "raw"
    echo.inputs["s"].CopyFrom(tf.make_tensor_proto([b"a", b"\xff"]))
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "toy"
    classify.input.example_list.examples.append(record)
    multi = inference_pb2.MultiInferenceRequest(input=classify.input)
    multi.tasks.add(
        method_name="tensorflow/serving/classify"
    ).model_spec.name = "toy"
    yield "Predict", dense(2)
    yield "Predict", echo
    yield "Classify", classify
    yield "MultiInference", multi


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(("method", "message"), requests(), ids=range(4))
def test_a_damaged_request_is_answered_or_refused(prediction, method, message):
    call = getattr(prediction, method)
    codes = set()
    for damaged in mutations(message, 300, seed=3):
        try:
            call(damaged, timeout=20)
        except grpc.RpcError as e:
            assert e.code() in REFUSALS, (e.code(), e.details(), damaged)
            codes.add(e.code())
    assert len(codes) > 1


@pytest.mark.usefixtures("alive")
def test_the_signature_of_the_init_op_cannot_be_run(prediction, ask):
    name = "__saved_model_init_op"
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "toy"
    message.model_spec.signature_name = name
    with pytest.raises(grpc.RpcError) as raised:
        prediction.Predict(message, timeout=20)
    assert raised.value.code() in REFUSALS
    body = {"signature_name": name, "inputs": {}}
    code, _, text = ask("POST", "/v1/models/toy:predict", body)
    assert code == 400
    assert f"Failed to get input map for signature: {name}" in text


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("predict", b'{"instances": [[1.5, 2, 3], [1e3, -4, 5]]}'),
        ("predict", b'{"signature_name": "raw", "inputs": [{"b64": "AA=="}]}'),
        ("classify", b'{"examples": [{"x": [1, 2], "y": ["a", "\\u00e9"]}]}'),
    ],
    ids=range(3),
)
def test_damaged_json_is_answered_or_refused(ask, method, body):
    numbers = random.Random(4)
    codes = set()
    for _ in range(300):
        data = bytearray(body)
        for _ in range(numbers.randint(1, 4)):
            data[numbers.randrange(len(data))] = numbers.choice(
                b'[]{}",:.\\eE+-0123456789ntfNI\x00\xc3\xa9\xff'
            )
        code, _, text = ask("POST", f"/v1/models/toy:{method}", bytes(data))
        assert code in (200, 400), (code, text, data)
        codes.add(code)
    assert 400 in codes
