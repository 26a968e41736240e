"""Graphs run in sessions of TensorFlow, of which they need its C API alone.

So a command that answers from graphs needs nothing of TensorFlow's Python, nor
of Keras; nothing here imports them where the shared library is found.
"""

import itertools
import sys
import threading
from collections.abc import Callable, Mapping

import numpy as np

from emorec.features import lean_tensorflow, tensorflow_c

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


def load() -> None:
    """Begins to load what runs graphs, unless it is there already.

    The first run of a graph waits for it; what else a command has to read and
    to decode is done meanwhile. To be called after NumPy, OpenCV and PyAV are
    imported: the loader takes one library at a time.
    """
    if tensorflow_c.files() is None:
        lean_tensorflow.load(keras=False)
    else:
        threading.Thread(target=tensorflow_c.library, daemon=True).start()


def runner(
    graph: bytes, *, bfloat16: bool = False, optimized: bool = True
) -> Run:
    """Returns what runs a graph, for any number of threads.

    It runs in a session of its own, whose options are not the process's: to
    eager TensorFlow, bfloat16 is one option for all, the face detector too.
    A session also needs half the time of a `tf.function` for its first
    answer, and no longer for the others. It is made by the first run.

    Args:
        graph: A serialized GraphDef of `emorec.features.frozen`.
        bfloat16: Whether it computes in bfloat16 where that is safe, which
            TensorFlow decides operation by operation; weights and answers
            stay as they are.
        optimized: Whether TensorFlow rewrites the graph first.

    Returns:
        Arrays by name -> arrays by name.
    """
    lock, made = threading.Lock(), []

    def run(given):
        with lock:
            if not made:
                made.append(_open(graph, config(bfloat16, optimized)))
        return made[0](given)

    return run


def _open(graph: bytes, options: bytes) -> Run:
    there = tensorflow_c.library() is not None
    session = (tensorflow_c.Session if there else _PythonSession)(
        graph, options
    )
    answers, inputs = [], []
    for name, _ in session.operations:
        if name.startswith(ANSWER):
            answers.append(name.removeprefix(ANSWER))
        elif name.startswith(INPUT):
            inputs.append(name.removeprefix(INPUT))
    # What is asked for is left as it is.
    asked = [ANSWER + name for name in answers]
    asked += _of_pixels(session.operations)
    run = session.callable([INPUT + name for name in inputs], asked)
    return lambda given: dict(
        zip(answers, run(*(given[name] for name in inputs)))
    )


def _of_pixels(operations):
    """Returns the matrix products before the first convolution, if any.

    They resize and mix pixels, to which bfloat16's eight bits do most harm:
    with them in float32, mini-XCEPTION's least cosine on 128 real crops is
    .99955, not .9986.
    """
    if not any("Conv" in kind for _, kind in operations):
        return []
    before = itertools.takewhile(lambda o: "Conv" not in o[1], operations)
    return [name for name, kind in before if "MatMul" in kind]


def config(bfloat16: bool, optimized: bool) -> bytes:
    """Returns a session's ConfigProto, serialized; threads are the process's.

    Its fields are few, and protocol buffers take longer to import than the
    rest of a session; `tests/features/test_sessions.py` reads them back.
    """
    # meta_optimizer_iterations: ONE. A second one takes as long, and no graph
    # of ours is faster for it.
    rewriting = _field(12, 1)
    if not optimized:
        rewriting += _field(19, 1)  # disable_meta_optimizer
    if bfloat16:
        # auto_mixed_precision_onednn_bfloat16: ON
        rewriting += _field(31, 1)
    return b"".join(
        [
            _field(2, _threads()),  # intra_op_parallelism_threads
            # inter_op_parallelism_threads, none of its own: a network's
            # operations wait for one another, and to hand them to other
            # threads took 4 % of a prediction.
            _field(5, -1),
            _field(7, 1),  # allow_soft_placement
            # graph_options.rewrite_options
            _field(10, _field(10, rewriting)),
        ]
    )


def _threads() -> int:
    """Returns this process's for one operation; 0: TensorFlow decides."""
    if "tensorflow" not in sys.modules:
        return 0
    # Another thread may be at it yet: this waits for it.
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads()


def _field(number: int, value: int | bytes) -> bytes:
    """Encodes a field of a protocol buffer, an integer or a message."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return _varint(number << 3) + _varint(value % (1 << 64))


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


class _PythonSession:
    """As `tensorflow_c.Session`, by TensorFlow's Python."""

    def __init__(self, graph: bytes, config: bytes):
        import tensorflow as tf

        v1 = tf.compat.v1
        with tf.Graph().as_default() as made:
            tf.graph_util.import_graph_def(
                v1.GraphDef.FromString(graph), name=""
            )
        self._session = v1.Session(
            graph=made, config=v1.ConfigProto.FromString(config)
        )
        self.operations = [(o.name, o.type) for o in made.get_operations()]

    def callable(self, inputs, answers):
        graph = self._session.graph
        tensors = [
            [graph.get_tensor_by_name(f"{name}:0") for name in names]
            for names in (answers, inputs)
        ]
        return self._session.make_callable(*tensors)
