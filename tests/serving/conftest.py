"""A toy model with signatures of every kind, and a server of it."""

import http.client
import json
import os
import pathlib

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.server.server import ModelServer

F32, STR = tf.float32, tf.string


class Toy(tf.Module):
    """Signatures whose answers are known by hand."""

    def __init__(self):
        self.w = tf.Variable([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 3], F32, "x")])
    def dense(self, x):
        return {"logits": x @ self.w, "rows": tf.reduce_sum(x, -1)}

    @tf.function(input_signature=[tf.TensorSpec([None], STR, "s")])
    def upper(self, s):
        return {"upper": tf.strings.upper(s)}

    @tf.function(input_signature=[tf.TensorSpec([None], STR, "s")])
    def raw(self, s):
        return {"raw_bytes": tf.identity(s)}

    @tf.function(input_signature=[tf.TensorSpec([None], STR, "examples")])
    def examples(self, examples):
        return {"raw_bytes": tf.identity(examples)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], F32, "a"),
            tf.TensorSpec([None], F32, "b"),
        ]
    )
    def add(self, a, b):
        return {"sum": a + b}

    @tf.function(input_signature=[tf.TensorSpec([None], F32, "x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(
        input_signature=[
            tf.TensorSpec(None, dtype, name)
            for name, dtype in (
                ("f32", F32),
                ("f64", tf.float64),
                ("f16", tf.float16),
                ("bf16", tf.bfloat16),
                ("u8", tf.uint8),
                ("i32", tf.int32),
                ("i64", tf.int64),
                ("flag", tf.bool),
                ("text", STR),
            )
        ]
    )
    def echo(self, f32, f64, f16, bf16, u8, i32, i64, flag, text):
        values = {"f32": f32, "f64": f64, "f16": f16, "bf16": bf16}
        values |= {"u8": u8, "i32": i32, "i64": i64}
        values |= {"flag": flag, "text": text}
        return {name: tf.identity(value) for name, value in values.items()}

    @tf.function(input_signature=[tf.TensorSpec([None], STR, "path")])
    def block(self, path):
        """Blocks on a named pipe until somebody opens it to read."""
        with tf.control_dependencies([tf.io.write_file(path[0], "x")]):
            return {"done": tf.ones([1], tf.int32)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], STR, "face"),
            tf.TensorSpec([None, None], STR, "context"),
        ]
    )
    def jpegs(self, face, context):
        return {
            "face_lengths": tf.strings.length(face),
            "context_lengths": tf.strings.length(context),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, 2], F32, "face_features"),
            tf.TensorSpec([None, None, 4], F32, "context_features"),
            tf.TensorSpec([None, None], tf.bool, "mask"),
        ]
    )
    def features(self, face_features, context_features, mask):
        joined = tf.concat([face_features, context_features], -1)
        kept = tf.reduce_sum(tf.cast(mask[..., None], F32) * joined, [1, 2])
        return {"kept": kept}


class Pipe:
    """A named pipe: the signature `block` blocks on it until `release`."""

    def __init__(self, path: pathlib.Path):
        self.path = str(path)
        os.mkfifo(path)
        self._opened: int | None = None

    def release(self) -> None:
        if self._opened is None:
            self._opened = os.open(self.path, os.O_RDWR)

    def close(self) -> None:
        self.release()
        os.close(self._opened)


@pytest.fixture
def pipe(tmp_path):
    pipe = Pipe(tmp_path / "pipe")
    yield pipe
    pipe.close()


def save(module: tf.Module, path: pathlib.Path, **signatures) -> None:
    tf.saved_model.save(module, str(path), signatures=signatures)


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory) -> pathlib.Path:
    """A base path with the toy model as version 1."""
    base = tmp_path_factory.mktemp("toy")
    toy = Toy()
    save(
        toy,
        base / "1",
        serving_default=toy.dense,
        upper=toy.upper,
        raw=toy.raw,
        add=toy.add,
        total=toy.total,
        echo=toy.echo,
        block=toy.block,
        jpegs=toy.jpegs,
        features=toy.features,
        feature_examples=toy.examples,
    )
    return base


@pytest.fixture(scope="module")
def server(toy_base):
    with ModelServer(
        str(toy_base),
        "toy",
        port=0,
        rest_port=0,
        max_message_bytes=8 << 20,
        max_concurrent=4,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    """TensorFlow Serving's own stub."""
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_service(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture
def ask(server):
    """Returns (status, content type, text) of one request."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.rest_port, timeout=60
    )

    def send(method, path, body=None, **headers):
        if isinstance(body, dict):
            body = json.dumps(body)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, response.headers["Content-Type"], text

    yield send
    connection.close()
