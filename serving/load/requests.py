"""Requests to put a server under load with, ready to be sent.

They are those of a model's own warmup file, or of a request log: TFRecords of
PredictionLog. So every SavedModel that has one can be put under load, with
inputs that it accepts.
"""

import dataclasses
import os
import re
from collections.abc import Sequence

import tensorflow as tf
from google.protobuf import message
from tensorflow_serving.apis import prediction_log_pb2

from emorec.errors import ServerError
from emorec.export import names

# Most records and bytes that are read of a file.
MAX_RECORDS = names.MAX_WARMUP_RECORDS
MAX_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Request:
    """A Predict request.

    Attributes:
        signature_name: Its signature.
        rows: Its batch size.
        data: A serialized PredictRequest of the model's name.
    """

    signature_name: str
    rows: int
    data: bytes


def read(
    path: str,
    model_name: str,
    signatures: Sequence[str] = (),
    rows: int | None = None,
) -> list[Request]:
    """Reads the Predict requests of a file, for a model of another name.

    Args:
        path: TFRecords of PredictionLog, or a version folder that holds them
            as its warmup file.
        model_name: The name on the server; versions in the file are dropped.
        signatures: Those that are wanted; none are all.
        rows: The batch size that is wanted; None is any.

    Raises:
        ServerError: The file cannot be read, or holds no such request.
    """
    if tf.io.gfile.isdir(path):
        path = os.path.join(path, names.WARMUP)
    found, seen = [], set()
    try:
        for log in _logs(path):
            if log.WhichOneof("log_type") != "predict_log":
                continue
            request = _request(log.predict_log.request, model_name)
            seen.add((request.signature_name, request.rows))
            if (not signatures or request.signature_name in signatures) and (
                rows is None or request.rows == rows
            ):
                found.append(request)
    except (tf.errors.OpError, message.DecodeError) as e:
        raise ServerError(
            f"{path}: cannot be read as TFRecords of PredictionLog "
            f"({_reason(e)}); export the model again, or name a request log"
        ) from e
    if not found:
        there = ", ".join(f"{s} of {n} rows" for s, n in sorted(seen))
        raise ServerError(
            f"{path}: holds no request of that signature and batch size. "
            f"Received: {', '.join(signatures) or 'any'}, "
            f"{rows or 'any'} rows; there is {there or 'none'}"
        )
    return found


def _reason(error: Exception) -> str:
    # Without the name of the op that read.
    text = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", str(error))
    return " ".join(text.split())[:200]


def _logs(path: str):
    size = 0
    for record in tf.data.TFRecordDataset(path).take(MAX_RECORDS):
        data = record.numpy()
        size += len(data)
        if size > MAX_BYTES:
            return
        yield prediction_log_pb2.PredictionLog.FromString(data)


def _request(request, model_name) -> Request:
    signature = request.model_spec.signature_name or "serving_default"
    request.model_spec.Clear()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    sizes = [
        t.tensor_shape.dim[0].size
        for t in request.inputs.values()
        if t.tensor_shape.dim
    ]
    return Request(
        signature, max(sizes, default=1), request.SerializeToString()
    )
