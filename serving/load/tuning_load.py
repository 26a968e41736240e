"""What a server is asked while its batching is tuned: its warmup requests."""

import dataclasses
import os

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from emorec.errors import ServerError, UsageError
from emorec.export import names
from serving.load import requests
from serving.server.loading import BATCHING_FILE
from serving.server.versions import find_versions


@dataclasses.dataclass(frozen=True)
class Load:
    """What every candidate is asked.

    Attributes:
        base_path: The served model's base path.
        version: Its newest version, which a server takes.
        model_name: Its name on the server.
        requests: Requests of one signature and one shape.
        least_batch: The fewest rows that a batch must be able to hold: a
            server runs the whole warmup file, and ends where a record is
            larger.
    """

    base_path: str
    version: int
    model_name: str
    requests: tuple[requests.Request, ...]
    least_batch: int

    @property
    def signature_name(self) -> str:
        """The signature that is asked."""
        return self.requests[0].signature_name

    @property
    def rows(self) -> int:
        """Rows of each request."""
        return self.requests[0].rows


def read(
    base_path: str, model_name: str, signature: str, rows: int | None = None
) -> Load:
    """Reads what to ask from the warmup file of a model's newest version.

    Args:
        base_path: The folder of the version folders.
        model_name: The name on the server.
        signature: The signature to ask.
        rows: The batch size of the requests; None takes the smallest.

    Raises:
        ServerError: There is no version, or no such request in its file.
        UsageError: The version has batching parameters of its own, which a
            server would take instead of a candidate's.
    """
    try:
        found = find_versions(base_path)
    except tf.errors.OpError as e:
        raise ServerError(
            f"{base_path}: cannot be read ({' '.join(e.message.split())})"
        ) from e
    if not found:
        raise ServerError(
            f"{base_path}: holds no version folder; make one with "
            "`emorec export`"
        )
    version = max(found)
    own = os.path.join(found[version], BATCHING_FILE)
    if tf.io.gfile.exists(own):
        raise UsageError(
            f"{own}: a server takes this version's own parameters, not those "
            "to be tried; move the file away"
        )
    asked = requests.read(found[version], model_name, [signature], rows)
    least = min(request.rows for request in asked)
    return Load(
        base_path,
        version,
        model_name,
        _of_one_shape([r for r in asked if r.rows == least]),
        _largest_record(found[version]),
    )


def _of_one_shape(found) -> tuple[requests.Request, ...]:
    """Returns the most requests that may be in one batch."""
    shapes: dict[tuple, list] = {}
    for request in found:
        message = predict_pb2.PredictRequest.FromString(request.data)
        shape = tuple(
            (name, *(d.size for d in tensor.tensor_shape.dim[1:]))
            for name, tensor in sorted(message.inputs.items())
        )
        shapes.setdefault(shape, []).append(request)
    return tuple(max(shapes.values(), key=len))


def _largest_record(version_path: str) -> int:
    """Returns the most rows of a warmup record, of any signature and kind."""
    largest = 1
    path = os.path.join(version_path, names.WARMUP)
    for record in tf.data.TFRecordDataset(path).take(requests.MAX_RECORDS):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            for tensor in log.predict_log.request.inputs.values():
                dims = tensor.tensor_shape.dim
                largest = max([largest, *(d.size for d in dims[:1])])
        elif kind in ("classify_log", "regress_log", "multi_inference_log"):
            sent = getattr(log, kind).request.input
            if of := sent.WhichOneof("kind"):
                largest = max(largest, len(getattr(sent, of).examples))
    return largest
