"""Frozen networks on TensorFlow: one graph with the weights inside.

Weights that are constants let TensorFlow fold each normalisation into the
convolution before it, which it cannot do for variables, and one graph serves
batches of every length. Measured against `predict_on_batch`, on 2 cores that
did other work too: mini-XCEPTION 1.4 to 1.9 times faster, SqueezeNet, which
has no normalisation, 1.0 to 1.2 times. bfloat16 (avx512_bf16) is 1.3 to 1.5
and 1.7 to 1.8 times faster again, at any batch from 8 to 128.

A graph needs no Keras to run, which `emorec.features.graph_cache` makes use
of: nothing here imports it.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

# Features in bfloat16 lie within this cosine of those in float32. Measured on
# 128 real crops: SqueezeNet .99994, mini-XCEPTION .99955, at the least.
LEAST_COSINE = 0.999
# The one input of a network that has no names for its inputs.
IMAGES = "images"
# x86's names of the instructions that multiply bfloat16. Without them it is
# emulated, slower than float32.
_FLAGS = {"avx512_bf16", "amx_bf16"}
# What the names of a graph's placeholders and answers begin with.
_INPUT, _ANSWER = "input_", "answer_"

GraphDef = tf.compat.v1.GraphDef
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


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


def graph_of(model) -> GraphDef:
    """Returns a Keras network as a graph; see `graph_of_function`.

    Args:
        model: A functional `keras.Model` that gives a dict. Later changes of
            its weights are not seen.
    """
    weights = [
        [variable.numpy() for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
        )
    ]

    def answer(**inputs):
        constants = [[tf.constant(a) for a in part] for part in weights]
        given = inputs if isinstance(model.input, dict) else inputs[IMAGES]
        return model.stateless_call(*constants, given, training=False)[0]

    inputs = model.input
    inputs = inputs if isinstance(inputs, dict) else {IMAGES: inputs}
    return graph_of_function(
        answer, {k: (tuple(x.shape), x.dtype) for k, x in inputs.items()}
    )


def graph_of_function(
    function: Callable[..., Mapping[str, tf.Tensor]],
    inputs: Mapping[str, tuple[tuple, str]],
) -> GraphDef:
    """Returns a function as a graph that `runner` can run.

    Args:
        function: Tensors by name to tensors by name, without variables.
        inputs: Shape (None: any length) and dtype of each input.
    """

    def named(given):
        return {
            name: tf.identity(value, _ANSWER + name)
            for name, value in function(**given).items()
        }

    specs = {
        name: tf.TensorSpec(shape, dtype, _INPUT + name)
        for name, (shape, dtype) in inputs.items()
    }
    traced = tf.function(named, input_signature=[specs], autograph=False)
    return traced.get_concrete_function().graph.as_graph_def()


def runner(graph_def: GraphDef, *, bfloat16: bool = False) -> Run:
    """Returns what runs a graph, for any number of threads.

    It runs in a session of its own, whose options are not the process's: to
    eager TensorFlow, bfloat16 is one option for all, the face detector too.
    A session also needs half the time of a `tf.function` for its first
    answer, and no longer for the others.

    Args:
        graph_def: Of `graph_of` or `graph_of_function`.
        bfloat16: Whether it computes in bfloat16 where that is safe, which
            TensorFlow decides operation by operation; weights and answers
            stay as they are.

    Returns:
        Arrays by name -> arrays by name.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    session = tf.compat.v1.Session(graph=graph, config=_options(bfloat16))
    answers, inputs = {}, []
    for operation in graph.get_operations():
        if operation.name.startswith(_ANSWER):
            name = operation.name.removeprefix(_ANSWER)
            answers[name] = operation.outputs[0]
        elif operation.name.startswith(_INPUT):
            inputs.append(operation)
    # What is asked for is left as it is; an operation gives nothing back.
    run = session.make_callable(
        (answers, _of_pixels(graph)), [i.outputs[0] for i in inputs]
    )
    names = [i.name.removeprefix(_INPUT) for i in inputs]
    return lambda given: run(*(given[name] for name in names))[0]


def frozen(
    model, *, bfloat16: bool = False
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a network of images as a function: `runner` of `graph_of`.

    Args:
        model: A functional model, uint8 [N, h, w, 3] -> dict of kind -> f32
            [N, ...]; later changes of its weights are not seen.
        bfloat16: See `runner`.

    Returns:
        uint8 [N, h, w, 3] -> dict of kind -> f32 [N, ...].
    """
    run = runner(graph_of(model), bfloat16=bfloat16)
    return lambda images: run({IMAGES: images})


def _of_pixels(graph):
    """Returns the matrix products before the first convolution, if any.

    They resize and mix pixels, to which bfloat16's eight bits do most harm:
    with them in float32, mini-XCEPTION's least cosine on 128 real crops is
    .99955, not .9986.
    """
    operations = graph.get_operations()
    if not any("Conv" in operation.type for operation in operations):
        return []
    before = itertools.takewhile(lambda o: "Conv" not in o.type, operations)
    return [o for o in before if "MatMul" in o.type]


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
