"""The proof of an export: every signature, loaded twice, against the model.

`tf.saved_model.load` is how Python reads it; a TF1 graph session is how
TensorFlow Serving does, and it fails where variables were not tracked.
"""

import pathlib

import cv2
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from emorec.data import keys, records
from emorec.errors import ExportError
from emorec.export import signatures
from emorec.training.bundle import Bundle
from emorec.video.clip import Clip, encode_jpeg

# Largest difference of a probability or an attention weight.
TOLERANCE = 1e-4
# A CPU server has no kernel for these, or they pin the graph to a device.
_FORBIDDEN_OPS = ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3")


def check(bundle: Bundle, folder: pathlib.Path) -> dict[str, float]:
    """Compares every signature of a SavedModel with the Keras model.

    Args:
        bundle: What was exported.
        folder: The SavedModel.

    Returns:
        Signature -> largest difference of its probabilities.

    Raises:
        ExportError: A signature is absent, fails, or answers otherwise.
    """
    check_graph(folder)
    try:
        return _differences(bundle, folder)
    except tf.errors.OpError as e:
        raise ExportError(
            f"{folder}: a model server could not answer from it "
            f"({' '.join(str(e).split())[:300]})"
        ) from e


def _differences(bundle, folder) -> dict[str, float]:
    built = signatures.build(bundle)
    requests = _requests(bundle)
    loaded = tf.saved_model.load(str(folder))
    missing = sorted(set(built) - set(loaded.signatures))
    if missing:
        raise ExportError(f"{folder}: no signature {', '.join(missing)}")
    worst = {}
    with _Session(folder) as session:
        for name, signature in built.items():
            for inputs in requests[name]:
                expected = signature.function(
                    *(tf.constant(inputs[s.name]) for s in signature.inputs)
                )
                for answer in (
                    loaded.signatures[name](
                        **{k: tf.constant(v) for k, v in inputs.items()}
                    ),
                    session.run(name, inputs),
                ):
                    worst[name] = max(
                        worst.get(name, 0.0), _compare(name, expected, answer)
                    )
    return worst


def check_graph(folder: pathlib.Path) -> None:
    """Refuses a graph that is tied to a device or needs a GPU's library."""
    saved = saved_model_pb2.SavedModel.FromString(
        (folder / "saved_model.pb").read_bytes()
    )
    graph = saved.meta_graphs[0]
    functions = graph.graph_def.library.function
    # TensorFlow pins its own saving and restoring to the CPU in every
    # SavedModel; what a request runs lies in the other functions.
    answering = [f for f in functions if "_traced_" not in f.signature.name]
    nodes = [
        *((n, "CPU:0" in n.device) for n in graph.graph_def.node),
        *((n, False) for f in answering for n in f.node_def),
    ]
    for node, savers in nodes:
        if node.op in _FORBIDDEN_OPS:
            raise ExportError(
                f"{folder}: the graph holds {node.op}, which no CPU runs; load "
                "the model with use_cudnn=False"
            )
        if node.device and not savers:
            raise ExportError(
                f"{folder}: {node.name} is pinned to {node.device}; export "
                "outside of any device scope"
            )
        if "_XlaMustCompile" in node.attr and node.attr["_XlaMustCompile"].b:
            raise ExportError(f"{folder}: {node.name} must be compiled by XLA")


class _Session:
    """A SavedModel in a TF1 session, as the model server holds it."""

    def __init__(self, folder):
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        with self._graph.as_default():
            meta = tf.compat.v1.saved_model.load(
                self._session, ["serve"], str(folder)
            )
        self._signatures = meta.signature_def

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.close()

    def run(self, name, inputs):
        signature = self._signatures[name]
        return self._session.run(
            {k: v.name for k, v in signature.outputs.items()},
            {signature.inputs[k].name: v for k, v in inputs.items()},
        )


def _compare(name, expected, answer) -> float:
    worst = 0.0
    if sorted(expected) != sorted(answer):
        raise ExportError(
            f"signature {name}: outputs {sorted(answer)}, not "
            f"{sorted(expected)}"
        )
    for key, value in expected.items():
        a, b = np.asarray(value), np.asarray(answer[key])
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                raise ExportError(f"signature {name}: {key} differs")
            continue
        if a.shape != b.shape:
            raise ExportError(
                f"signature {name}: {key} has the shape {b.shape}, not the "
                f"model's {a.shape}"
            )
        difference = float(np.abs(a - b).max(initial=0.0))
        # Logits are unbounded: compare them on their own scale.
        scale = max(1.0, float(np.abs(a).max(initial=0.0)))
        if not difference <= TOLERANCE * scale:
            raise ExportError(
                f"signature {name}: {key} differs by {difference:.2g} from "
                f"the model's; at most {TOLERANCE:g} is right"
            )
        if key == "probabilities":
            worst = difference
    return worst


def _requests(bundle) -> dict[str, list[dict]]:
    """Made-up requests: one clip and three, short, long and empty ones."""
    rng = np.random.default_rng(0)
    size = bundle.config.clip.crop_size
    longest = min(bundle.config.clip.clip_frames, 8)
    made: dict[str, list[dict]] = {}
    for lengths in ((2,), (1, 0, longest)):
        clips = [_clip(rng, n, size, bundle.config) for n in lengths]
        for name, inputs in _of_clips(bundle, clips, rng).items():
            made.setdefault(name, []).append(inputs)
    return made


def _clip(rng, frames, size, config) -> Clip:
    def image():
        # Smooth noise: a JPEG of plain noise is nothing like a crop.
        small = rng.integers(0, 255, (8, 8, 3), np.uint8)
        return encode_jpeg(cv2.resize(small, (size, size)), 95)

    return Clip(
        track=0,
        window=0,
        start=0.0,
        end=frames / config.video.fps,
        times=(np.arange(frames) / config.video.fps).astype(np.float32),
        boxes=np.zeros((frames, 4), np.float32),
        face=tuple(image() for _ in range(frames)),
        context=tuple(image() for _ in range(frames)),
        frames_total=frames,
        frame_size=(size, size),
    )


def _of_clips(bundle, clips, rng) -> dict[str, dict]:
    longest = max(c.frames_with_face for c in clips)
    counts = np.array([c.frames_with_face for c in clips])
    features = {
        name: np.abs(
            rng.normal(
                size=(len(clips), longest, *bundle.encoders.shapes[name])
            )
        ).astype(np.float32)
        for name in bundle.inputs
    }
    examples = [
        records.to_example(c, clip_id=str(i)) for i, c in enumerate(clips)
    ]
    described = [
        _described(
            bundle, example, {n: v[i, : counts[i]] for n, v in features.items()}
        )
        for i, example in enumerate(examples)
    ]
    return {
        "serving_default": {
            "examples": np.array(
                [e.SerializeToString() for e in examples], object
            )
        },
        "feature_examples": {"examples": np.array(described, object)},
        "features": {
            **features,
            "mask": np.arange(longest)[None] < counts[:, None],
        },
        "jpegs": {
            s: _padded([getattr(c, s) for c in clips], longest)
            for s in bundle.streams
        },
        "describe": {"query": np.array([b""] * len(clips), object)},
    }


def _described(bundle, example, features) -> bytes:
    """Returns a record of frames as one of features too."""
    made = tf.train.Example.FromString(example.SerializeToString())
    feature = made.features.feature
    for name, values in features.items():
        feature[keys.feature_key(name)].float_list.value.extend(
            values.reshape(-1)
        )
    for stream, encoder in bundle.encoders.items():
        feature[keys.encoder_key(stream)].bytes_list.value.append(
            encoder.hash.encode()
        )
    return made.SerializeToString()


def _padded(rows, length) -> np.ndarray:
    return np.array(
        [[*row, *[b""] * (length - len(row))] for row in rows], object
    )
