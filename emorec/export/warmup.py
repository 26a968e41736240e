"""Warmup requests: what a server runs before a version answers anybody.

The first request to a signature pays for what TensorFlow puts off: the
graph's optimisation, kernels, memory, and on a GPU cuDNN's choice of an
algorithm for each size. A server that loads a version first runs the records
of a file in it, for every signature and every batch size that batching may
make.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from emorec.data import records
from emorec.errors import ExportError
from emorec.export import made_up
from emorec.export.graph_session import GraphSession
from emorec.export.names import MAX_WARMUP_RECORDS, WARMUP
from emorec.export.network import CHUNK_FRAMES
from emorec.training.bundle import Bundle
from emorec.video.clip import encode_jpeg

# What `allowed_batch_sizes` may hold.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# Side of the pictures of `frames`, which are no JPEGs: at 224 pixels, 32 clips
# of 32 steps would be 308 MB.
_SIDE = 32
_GREY = 128
_QUALITY = 95


def message_class():
    """Returns the class PredictionLog.

    Raises:
        ExportError: The package that holds them is not installed.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as e:
        raise ExportError(
            "warmup requests need the package tensorflow-serving-api "
            f"({e}); install emorec[serving], or export without them"
        ) from e
    return prediction_log_pb2.PredictionLog


def write(
    bundle: Bundle,
    folder: pathlib.Path,
    session: GraphSession,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> int:
    """Writes the warmup requests of a SavedModel, and runs each one of them.

    Args:
        bundle: What was exported.
        folder: The SavedModel.
        session: It, as a server holds it.
        batch_sizes: Of the requests to each signature, at least 1 each.

    Returns:
        The number of records.

    Raises:
        ExportError: A request fails, or there would be more than
            `MAX_WARMUP_RECORDS`.
    """
    path = folder / WARMUP
    names = [n for n in session.signatures if not n.startswith("__")]
    planned = len(names) * len(batch_sizes)
    if not 1 <= planned <= MAX_WARMUP_RECORDS or min(batch_sizes) < 1:
        raise ExportError(
            f"{path}: must hold 1 to {MAX_WARMUP_RECORDS} requests of 1 clip "
            f"or more. Received: the batch sizes {list(batch_sizes)} for each "
            f"of {len(names)} signatures; name others"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    logs = (
        _log(name, session.signatures[name].method_name, inputs)
        for size in batch_sizes
        for name, inputs in _requests(bundle, names, size).items()
    )
    count = records.write(path, logs)
    run(path, session)
    return count


def run(path: pathlib.Path, session: GraphSession) -> None:
    """Runs the warmup requests of a file, as a server does.

    Raises:
        ExportError: One fails.
    """
    message = message_class()
    for data in records.open_files([path]).as_numpy_iterator():
        name, inputs = _read(message.FromString(data))
        try:
            session.run(name, inputs)
        except (tf.errors.OpError, ValueError) as e:
            size = len(next(iter(inputs.values())))
            raise ExportError(
                f"{path}: the warmup of the signature {name} with a batch of "
                f"{size} fails ({' '.join(str(e).split())[:300]})"
            ) from e


def _requests(bundle, names, size) -> dict[str, dict]:
    """Returns one request of `size` clips for each signature.

    A single clip is full. Of several, each has its first frame only: the
    shapes are those of full clips, so that the network's work is too, and
    the encoders do not see thousands of frames (which they read in chunks,
    whatever the batch).
    """
    config = bundle.config
    # Beyond a chunk, a longer clip meets nothing new.
    steps = min(config.clip.clip_frames, CHUNK_FRAMES)
    shown = steps if size == 1 else 1
    mask = made_up.masked([shown] * size, steps)
    side = config.clip.crop_size
    grey = encode_jpeg(np.full((side, side, 3), _GREY, np.uint8), _QUALITY)
    crops = [grey] * shown
    examples = made_up.frame_records(
        [made_up.clip(crops, crops, config)] * size
    )
    frames, times = made_up.whole_frames(
        [made_up.FACE * shown] * size, steps, config
    )
    features = {
        name: _filled(0.5, (*mask.shape, *bundle.encoders.shapes[name]))
        for name in bundle.inputs
    }
    shown_features = {
        name: np.full((size, shown, *bundle.encoders.shapes[name]), 0.5)
        for name in bundle.inputs
    }
    pixels = _filled(_GREY, (*mask.shape, _SIDE, _SIDE, 3), tf.uint8)
    made = {
        "serving_default": {"examples": made_up.serialized(examples)},
        "feature_examples": {
            "examples": made_up.serialized(
                made_up.feature_records(bundle, examples, shown_features)
            )
        },
        "features": {**features, "mask": mask},
        "frames": {**dict.fromkeys(bundle.streams, pixels), "mask": mask},
        "jpegs": dict.fromkeys(
            bundle.streams, made_up.padded([crops] * size, steps)
        ),
        "video": {"frames": frames, "times": times},
        "classify": {"inputs": made_up.serialized(examples)},
        "describe": {"query": made_up.strings([b""] * size)},
    }
    absent = sorted(set(names) - set(made))
    if absent:
        raise ExportError(f"nothing warms up {', '.join(absent)}")
    return made


def _filled(value, shape, dtype=tf.float32):
    """Returns a TensorProto of one value; a short list repeats its last."""
    field = "float_val" if dtype == tf.float32 else "int_val"
    return tensor_pb2.TensorProto(
        dtype=dtype.as_datatype_enum,
        tensor_shape=tf.TensorShape(shape).as_proto(),
        **{field: [value]},
    )


def _log(name, method, inputs: Mapping):
    """Returns the PredictionLog of a request."""
    log = message_class()()
    if method == tf.saved_model.CLASSIFY_METHOD_NAME:
        request = log.classify_log.request
        for data in inputs["inputs"]:
            request.input.example_list.examples.add().ParseFromString(data)
    else:
        request = log.predict_log.request
        for key, value in inputs.items():
            if not isinstance(value, tensor_pb2.TensorProto):
                value = tf.make_tensor_proto(value)
            request.inputs[key].CopyFrom(value)
    request.model_spec.signature_name = name
    return log


def _read(log) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the signature's name and the inputs of a PredictionLog."""
    if log.HasField("classify_log"):
        request = log.classify_log.request
        inputs = {
            "inputs": made_up.serialized(request.input.example_list.examples)
        }
    else:
        request = log.predict_log.request
        inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
    return request.model_spec.signature_name, inputs
