"""The proof of an export: every signature, loaded twice, against the model.

`tf.saved_model.load` is how Python reads it; a TF1 graph session is how
TensorFlow Serving does.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from emorec.errors import ExportError
from emorec.export import signatures, trials
from emorec.export.graph_session import GraphSession
from emorec.training.bundle import Bundle

# Largest difference of a probability or an attention weight.
TOLERANCE = 1e-4
# OpenCV cuts and encodes the crops that `video` is held against: measured
# 2e-8, but a box at the edge of a pixel could round to the other side.
_VIDEO_TOLERANCE = 1e-3
_PROBABILITIES = ("probabilities", "scores")
# A CPU server has no kernel for these.
_FORBIDDEN_OPS = "Cudnn"


def check(
    bundle: Bundle, folder: pathlib.Path, session: GraphSession
) -> dict[str, float]:
    """Compares every signature of a SavedModel with the Keras model.

    Args:
        bundle: What was exported.
        folder: The SavedModel.
        session: It, as a server holds it.

    Returns:
        Signature -> largest difference of its probabilities.

    Raises:
        ExportError: A signature is absent, fails, or answers otherwise.
    """
    built = signatures.build(bundle)
    _check_signatures(folder, built, session.signatures)
    try:
        return _differences(bundle, folder, session, built)
    except tf.errors.OpError as e:
        raise ExportError(
            f"{folder}: a model server could not answer from it "
            f"({' '.join(str(e).split())[:300]})"
        ) from e


def _check_signatures(
    folder: pathlib.Path,
    built: Mapping[str, signatures.Signature],
    found: Mapping[str, meta_graph_pb2.SignatureDef],
) -> None:
    """Refuses absent signatures, and ones of other inputs or methods."""
    missing = sorted(set(built) - set(found))
    if missing:
        raise ExportError(f"{folder}: no signature {', '.join(missing)}")
    for name, signature in built.items():
        method = found[name].method_name
        if method != signature.method:
            raise ExportError(
                f"{folder}: the signature {name} must have the method "
                f"{signature.method}. Received: {method!r}"
            )
        wanted = {s.name: s for s in signature.inputs}
        given = {
            k: tf.TensorSpec(tf.TensorShape(v.tensor_shape), v.dtype, k)
            for k, v in found[name].inputs.items()
        }
        if given != wanted:
            raise ExportError(
                f"{folder}: the signature {name} takes "
                f"{sorted(given.items())}, not {sorted(wanted.items())}"
            )


def _differences(bundle, folder, session, built) -> dict[str, float]:
    loaded = tf.saved_model.load(str(folder))
    # The session has them all: what is missing here was not saved for Python.
    missing = sorted(set(built) - set(loaded.signatures))
    if missing:
        raise ExportError(f"{folder}: no signature {', '.join(missing)}")
    worst = {}
    for trial in trials.make(bundle):
        name = trial.signature
        tensors = {k: tf.constant(v) for k, v in trial.inputs.items()}
        for answer in (
            loaded.signatures[name](**tensors),
            session.run(name, trial.inputs),
        ):
            worst[name] = max(worst.get(name, 0.0), _compare(trial, answer))
    untried = sorted(set(built) - set(worst))
    if untried:
        raise ExportError(f"{folder}: nothing tries {', '.join(untried)}")
    return worst


def check_graph(folder: pathlib.Path) -> None:
    """Refuses a graph that is tied to a device or needs a GPU's library."""
    saved = saved_model_pb2.SavedModel.FromString(
        (folder / "saved_model.pb").read_bytes()
    )
    graph = saved.meta_graphs[0].graph_def
    # TensorFlow pins its own saving and restoring to the CPU in every
    # SavedModel; what a request runs lies in the other functions.
    answering = [
        f for f in graph.library.function if "_traced_" not in f.signature.name
    ]
    for node in graph.node:
        _check_node(folder, node, node.device and "CPU:0" in node.device)
    for function in answering:
        _check_compiled(folder, function.signature.name, function.attr)
        for node in function.node_def:
            _check_node(folder, node, False)


def _check_node(folder, node, saves) -> None:
    if node.op.startswith(_FORBIDDEN_OPS):
        raise ExportError(
            f"{folder}: the graph holds {node.op}, which no CPU runs; load "
            "the model with use_cudnn=False"
        )
    if node.device and not saves:
        raise ExportError(
            f"{folder}: {node.name} is pinned to {node.device}; export "
            "outside of any device scope"
        )
    _check_compiled(folder, node.name, node.attr)


def _check_compiled(folder, name, attributes) -> None:
    if "_XlaMustCompile" in attributes and attributes["_XlaMustCompile"].b:
        raise ExportError(f"{folder}: {name} must be compiled by XLA")


def _compare(trial, answer) -> float:
    """Returns the largest difference of a probability.

    Raises:
        ExportError: An output is absent, or differs by more than it may.
    """
    worst = 0.0
    name, expected = trial.signature, trial.expected
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
        # Logits and pixels are unbounded: compared on their own scale.
        allowed = _VIDEO_TOLERANCE if name == "video" else TOLERANCE
        allowed *= max(1.0, float(np.abs(a).max(initial=0.0)))
        if not difference <= allowed:
            raise ExportError(
                f"signature {name}: {key} differs by {difference:.2g} from "
                f"the model's; at most {allowed:.2g} is right"
            )
        if key in _PROBABILITIES:
            worst = difference
    return worst
