"""Warmup: the requests that a version answers before anybody else's.

A TFRecord of PredictionLog in the version folder, the real server's own file.
Without it the first requests of each batch size are slow, since TensorFlow
prepares a graph at its first run.
"""

import contextlib
import posixpath
from collections.abc import Iterator
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from emorec.export import names
from serving.server import status

# Of the file, and of each tensor in it.
MAX_BYTES = 1 << 30


def run(model: Any, path: str) -> int:
    """Runs the warmup requests of a version.

    Args:
        model: What answers them; has `signatures` and `run`.
        path: The version folder; without a warmup file nothing is run.

    Returns:
        How many there are.

    Raises:
        StatusError: The file cannot be read or is too large, or a record
            fails; says which.
    """
    file = posixpath.join(path, names.WARMUP)
    if not tf.io.gfile.exists(file):
        return 0
    if tf.io.gfile.stat(file).length > MAX_BYTES:
        raise status.invalid(f"{file} is larger than {MAX_BYTES} bytes")
    number = 0
    for number, record in enumerate(_records(file), 1):
        # A larger file is most likely a request log.
        if number > names.MAX_WARMUP_RECORDS:
            raise status.invalid(
                "Number of warmup records exceeds the maximum "
                f"({names.MAX_WARMUP_RECORDS}) at {file}"
            )
        try:
            _answer(_One(model), record)
        except Exception as e:
            error = status.from_exception(e)
            raise status.StatusError(
                error.code, f"warmup record {number} of {file}: {error.message}"
            ) from e
    return number


class _One:
    """The model that is not served yet, in place of the server's models."""

    def __init__(self, model: Any):
        self._model = model

    @contextlib.contextmanager
    def use(self, request: Any) -> Iterator[tuple[int, Any]]:
        # Whatever name and version the record was made for.
        yield 0, self._model

    def request_log(self, name: str) -> None:
        return None


def _records(file: str) -> Iterator[bytes]:
    try:
        for record in tf.data.TFRecordDataset(file):
            yield record.numpy()
    except tf.errors.DataLossError as e:
        raise status.StatusError(
            grpc.StatusCode.DATA_LOSS,
            f"{file}: {e.message}. Please verify your warmup data is in "
            "TFRecord format.",
        ) from e


def _answer(models: _One, record: bytes) -> None:
    # Here, since these modules know Models, which know how to load.
    from serving.server import inference, predict

    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as e:
        raise status.invalid("is not a PredictionLog") from e
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict.predict(models, log.predict_log.request, MAX_BYTES)
    elif kind == "classify_log":
        inference.classify(models, log.classify_log.request, MAX_BYTES)
    elif kind == "regress_log":
        inference.regress(models, log.regress_log.request, MAX_BYTES)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        inference.multi_inference(models, request, MAX_BYTES)
    elif kind == "session_run_log":
        # Its feeds and fetches are tensors, not a signature's names.
        raise status.StatusError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Unsupported log_type for warmup: {kind}",
        )
