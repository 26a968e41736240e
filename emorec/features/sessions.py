"""Graphs run in sessions of TensorFlow, of which they need little.

A command that answers from graphs alone imports that little
(`lean_tensorflow.load_sessions`); elsewhere TensorFlow is imported as ever.
Neither Keras nor anything that builds networks is imported here.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from emorec.features import lean_tensorflow

# The one input of a network that has no names for its inputs.
IMAGES = "images"
# What the names of a graph's placeholders and answers begin with.
INPUT, ANSWER = "input_", "answer_"
# x86's names of the instructions that multiply bfloat16. Without them it is
# emulated, slower than float32.
_FLAGS = {"avx512_bf16", "amx_bf16"}

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


def runner(graph_def, *, bfloat16: bool = False, optimized: bool = True) -> Run:
    """Returns what runs a graph, for any number of threads.

    It runs in a session of its own, whose options are not the process's: to
    eager TensorFlow, bfloat16 is one option for all, the face detector too.
    A session also needs half the time of a `tf.function` for its first
    answer, and no longer for the others.

    Args:
        graph_def: A GraphDef of `emorec.features.frozen`.
        bfloat16: Whether it computes in bfloat16 where that is safe, which
            TensorFlow decides operation by operation; weights and answers
            stay as they are.
        optimized: Whether TensorFlow rewrites the graph first.

    Returns:
        Arrays by name -> arrays by name.
    """
    tf = lean_tensorflow.sessions()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    session = tf.Session(graph=graph, config=_options(tf, bfloat16, optimized))
    answers, inputs = {}, []
    for operation in graph.get_operations():
        if operation.name.startswith(ANSWER):
            name = operation.name.removeprefix(ANSWER)
            answers[name] = operation.outputs[0]
        elif operation.name.startswith(INPUT):
            inputs.append(operation)
    # What is asked for is left as it is; an operation gives nothing back.
    run = session.make_callable(
        (answers, _of_pixels(graph)), [i.outputs[0] for i in inputs]
    )
    names = [i.name.removeprefix(INPUT) for i in inputs]
    return lambda given: run(*(given[name] for name in names))[0]


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


def _options(tf, bfloat16, optimized):
    """Returns a session's options; threads are the process's."""
    options = tf.ConfigProto(
        intra_op_parallelism_threads=tf.threads(),
        # None of its own: a network's operations wait for one another, and
        # to hand them to other threads took 4 % of a prediction.
        inter_op_parallelism_threads=-1,
        allow_soft_placement=True,
    )
    rewriting = options.graph_options.rewrite_options
    rewriting.disable_meta_optimizer = not optimized
    if bfloat16:
        rewriting.auto_mixed_precision_onednn_bfloat16 = rewriting.ON
    return options
