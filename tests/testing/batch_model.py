"""A model that tells which batch it ran in, and a server of it with queues."""

import contextlib
import pathlib
import time
from collections.abc import Iterator, Sequence

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from emorec.export import names
from serving.configs import schemas
from serving.server.server import ModelServer
from testing import request_files

# Longer than any test: such a batch runs only once it is full.
NEVER_MICROS = 600_000_000
TIMEOUT_S = 60.0


class BatchModel(tf.Module):
    """Each signature's answers depend on the whole batch."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def rows(self, x):
        batch = tf.shape(x)[0]
        return {
            "rows": tf.fill([batch], batch),
            "sums": tf.fill([batch], tf.reduce_sum(x)),
            "x": tf.identity(x),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def positive(self, x):
        with tf.control_dependencies([tf.debugging.assert_positive(x)]):
            return {"rows": tf.fill(tf.shape(x), tf.shape(x)[0])}

    @tf.function(
        input_signature=[
            tf.TensorSpec(None, tf.float32, "a"),
            tf.TensorSpec(None, tf.float32, "b"),
        ]
    )
    def add(self, a, b):
        return {"sum": a + b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def tail(self, x):
        return {"tail": x[1:]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "path")])
    def block(self, path):
        """Blocks on a named pipe until somebody opens it to read."""
        with tf.control_dependencies([tf.io.write_file(path[0], "x")]):
            return {"done": tf.ones(tf.shape(path), tf.int32)}


def save(base: pathlib.Path) -> pathlib.Path:
    """Writes the model as version 1 of a base path."""
    model = BatchModel()
    tf.saved_model.save(
        model,
        str(base / "1"),
        signatures={
            "serving_default": model.rows,
            "positive": model.positive,
            "add": model.add,
            "total": model.total,
            "tail": model.tail,
            "block": model.block,
        },
    )
    return base


def parameters(*sizes: int, pad: bool = False, **fields: int) -> Message:
    """Returns BatchingParameters: allowed sizes, and fields by name."""
    params = schemas.message_class("batching")(
        allowed_batch_sizes=sizes, pad_variable_length_inputs=pad
    )
    for name, value in fields.items():
        getattr(params, name).value = value
    return params


@contextlib.contextmanager
def served(base: pathlib.Path, params: Message) -> Iterator:
    """Serves the model with batching; gives a PredictionService stub."""
    with (
        ModelServer(str(base), "m", port=0, batching=params) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(
    inputs: dict, signature: str = "", outputs=()
) -> predict_pb2.PredictRequest:
    """Returns a request; numbers are sent as float32."""
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = "m"
    message.model_spec.signature_name = signature
    for name, value in inputs.items():
        array = np.asarray(value)
        if array.dtype.kind in "if":
            array = array.astype(np.float32)
        message.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return message


def first_done(calls: Sequence, count: int) -> list:
    """Waits until so many calls are done; returns those that are."""
    ends = time.monotonic() + TIMEOUT_S
    while time.monotonic() < ends:
        done = [call for call in calls if call.done()]
        if len(done) >= count:
            return done
        time.sleep(0.01)
    raise AssertionError(f"only {len(done)} of {count} calls are done")


def write_warmup(version: pathlib.Path, *records) -> pathlib.Path:
    """Writes a warmup file of PredictionLogs, requests or bytes."""
    logs = []
    for record in records:
        if isinstance(record, predict_pb2.PredictRequest):
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(record)
            record = log
        logs.append(record)
    return request_files.write(version / names.WARMUP, logs)
