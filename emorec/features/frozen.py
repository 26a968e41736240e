"""Frozen networks on TensorFlow: one graph with the weights inside.

Weights that are constants let TensorFlow fold each normalisation into the
convolution before it, which it cannot do for variables, and one graph serves
batches of every length. Measured against `predict_on_batch`, on 2 cores that
did other work too: mini-XCEPTION 1.4 to 1.9 times faster, SqueezeNet, which
has no normalisation, 1.0 to 1.2 times. bfloat16 (avx512_bf16) is 1.3 to 1.5
and 1.7 to 1.8 times faster again, at any batch from 8 to 128.
"""

import itertools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

# Features in bfloat16 lie within this cosine of those in float32. Measured on
# 128 real crops: SqueezeNet .99994, mini-XCEPTION .99955, at the least.
LEAST_COSINE = 0.999
# x86's names of the instructions that multiply bfloat16. Without them it is
# emulated, slower than float32.
_FLAGS = {"avx512_bf16", "amx_bf16"}


def has_bfloat16(path: str = "/proc/cpuinfo") -> bool:
    """Says whether this machine's CPU multiplies bfloat16 numbers.

    Args:
        path: What Linux tells of the CPU; elsewhere the answer is no.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = [line for line in f if line.startswith("flags")]
    except OSError:
        return False
    return bool(lines) and bool(_FLAGS & set(lines[0].split()))


def frozen(
    model: keras.Model, *, bfloat16: bool = False
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a network as a function of images, for any number of threads.

    It runs in a session of its own, whose options are not the process's: to
    eager TensorFlow, bfloat16 is one option for all, the face detector too.
    A session also needs half the time of a `tf.function` for its first
    answer, and no longer for the others.

    Args:
        model: A functional model, uint8 [N, h, w, 3] -> dict of kind -> f32
            [N, ...]; later changes of its weights are not seen.
        bfloat16: Whether it computes in bfloat16 where that is safe, which
            TensorFlow decides operation by operation; weights and answers
            stay float32.

    Returns:
        uint8 [N, h, w, 3] -> dict of kind -> f32 [N, ...].
    """
    traced = _traced(model)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(traced.graph.as_graph_def(), name="")
    session = tf.compat.v1.Session(graph=graph, config=_options(bfloat16))
    answers = {
        kind: tensor.name for kind, tensor in traced.structured_outputs.items()
    }
    # What is asked for is left as it is; an operation gives nothing back.
    run = session.make_callable(
        (answers, _of_pixels(graph)), [traced.inputs[0].name]
    )
    return lambda images: run(images)[0]


def _traced(model):
    """Returns the network as a concrete function without variables."""
    weights = [
        [variable.numpy() for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
        )
    ]

    def answer(images):
        constants = [[tf.constant(a) for a in part] for part in weights]
        return model.stateless_call(*constants, images, training=False)[0]

    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    function = tf.function(answer, input_signature=[spec], autograph=False)
    return function.get_concrete_function()


def _of_pixels(graph):
    """Returns the matrix products before the first convolution.

    They resize and mix pixels, to which bfloat16's eight bits do most harm:
    with them in float32, mini-XCEPTION's least cosine on 128 real crops is
    .99955, not .9986.
    """
    operations = itertools.takewhile(
        lambda operation: "Conv" not in operation.type, graph.get_operations()
    )
    return [o for o in operations if "MatMul" in o.type]


def _options(bfloat16):
    """Returns a session's options; threads are the process's."""
    threading = tf.config.threading
    options = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=(
            threading.get_intra_op_parallelism_threads()
        ),
        inter_op_parallelism_threads=(
            threading.get_inter_op_parallelism_threads()
        ),
        allow_soft_placement=True,
    )
    if bfloat16:
        rewriting = options.graph_options.rewrite_options
        rewriting.auto_mixed_precision_onednn_bfloat16 = rewriting.ON
    return options
