"""The records that clients sent, out of a model server's request logs."""

import dataclasses
from collections.abc import Iterator, Sequence

from emorec.errors import RecordError

# The signature of records; "" stands for it.
_SIGNATURES = ("", "serving_default")
_INPUT = "examples"


@dataclasses.dataclass
class Found:
    """What the logs hold.

    Attributes:
        files: Number of log files.
        requests: Logged requests with records.
        others: Logged requests of other signatures, which hold none.
        records: Records in them.
    """

    files: int
    requests: int = 0
    others: int = 0
    records: int = 0


def read_examples(paths: Sequence[str], found: Found) -> Iterator[bytes]:
    """Gives the serialized tf.Examples that clients sent.

    Args:
        paths: TFRecord files of PredictionLogs.
        found: Is counted up.

    Raises:
        RecordError: A file cannot be read or holds something else.
    """
    import tensorflow as tf
    from google.protobuf import message
    from tensorflow_serving.apis import prediction_log_pb2

    for path in paths:
        try:
            for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
                log = prediction_log_pb2.PredictionLog.FromString(record)
                examples = _examples(log)
                if not examples:
                    found.others += 1
                    continue
                found.requests += 1
                found.records += len(examples)
                yield from examples
        except (tf.errors.OpError, message.DecodeError) as e:
            reason = " ".join(str(e).split())[:200]
            raise RecordError(
                f"{path}: is no log of requests, or not a whole one "
                f"({reason}); give --logs the files that end in .tfrecord"
            ) from e


def _examples(log) -> list[bytes]:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        if request.model_spec.signature_name in _SIGNATURES:
            return list(request.inputs[_INPUT].string_val)
        return []
    if kind not in ("classify_log", "regress_log", "multi_inference_log"):
        return []
    sent = getattr(log, kind).request.input
    if sent.WhichOneof("kind") == "example_list":
        return [e.SerializeToString() for e in sent.example_list.examples]
    # The context's features are those of every example that lacks them.
    both = sent.example_list_with_context
    found = []
    for example in both.examples:
        merged = type(example)()
        merged.CopyFrom(both.context)
        for name, feature in example.features.feature.items():
            merged.features.feature[name].CopyFrom(feature)
        found.append(merged.SerializeToString())
    return found
