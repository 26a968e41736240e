"""TFRecords of PredictionLog, as warmup files and request logs hold them."""

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2


def predict_log(
    signature: str, inputs: Mapping[str, np.ndarray], model: str = "other"
) -> prediction_log_pb2.PredictionLog:
    """Returns the log of one Predict request."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.version.value = 99
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )


def write(path: pathlib.Path, logs: Iterable) -> pathlib.Path:
    """Writes messages, or bytes as they are, and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(
                log if isinstance(log, bytes) else log.SerializeToString()
            )
    return path


def read(folder: pathlib.Path) -> list[prediction_log_pb2.PredictionLog]:
    """Returns all finished logs of a folder, in the order of their names."""
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for path in sorted(pathlib.Path(folder).glob("*.tfrecord"))
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
