"""`emorec.features.sessions`: graphs by TensorFlow's C API, or its Python."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from emorec.features import frozen, sessions, tensorflow_c

AFTER = """
import sys
import numpy as np
from emorec.features import sessions
graph = bytes.fromhex(sys.argv[2])
def doubled():
    return sessions.runner(graph)({"x": np.float32([1, 2])})["y"].tolist()
sessions.load()
assert doubled() == [2, 4]
absent = {"tensorflow", "keras", "google.protobuf", "pandas"}
assert not absent & set(sys.modules)
import tensorflow as tf
import keras
assert tf.executing_eagerly()
assert doubled() == [2, 4]
model = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(2)])
model.compile("adam", "mse")
model.fit(np.ones((8, 4, 3)), np.ones((8, 2)), verbose=0)
answer = model.predict(np.ones((1, 4, 3)), verbose=0)
model.export(sys.argv[1], verbose=False)
loaded = tf.saved_model.load(sys.argv[1])
again = loaded.serve(tf.ones((1, 4, 3)))
np.testing.assert_allclose(again, answer, atol=1e-6)
assert tf.data.Dataset.range(3).reduce(np.int64(0), tf.add).numpy() == 3
assert doubled() == [2, 4]
"""
ABSENT = """
import sys
import numpy as np
from emorec.features import sessions, tensorflow_c
tensorflow_c.files = lambda: None
graph = bytes.fromhex(sys.argv[2])
sessions.load()
assert "tensorflow" in sys.modules and "keras" not in sys.modules
run = sessions.runner(graph, bfloat16=True, optimized=False)
assert run({"x": np.float32([1, 2])})["y"].tolist() == [2, 4]
"""


@pytest.fixture(scope="module")
def graph():
    return frozen.graph_of_function(
        lambda x: {"y": x * tf.constant(2.0)}, {"x": ((None,), "float32")}
    )


@pytest.fixture(scope="module")
def network():
    """A convolution; its answers are of three types."""
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(3, 3, 3, 8)).astype(np.float32)

    def answer(pixels, bound):
        x = tf.nn.relu(tf.nn.conv2d(pixels, kernel, 1, "VALID"))
        return {"cells": tf.where(x > bound), "maps": x, "any": bound > 0.0}

    return frozen.graph_of_function(
        answer,
        {
            "pixels": ((None, None, None, 3), "float32"),
            "bound": ((), "float32"),
        },
    )


@pytest.mark.parametrize("code", [AFTER, ABSENT], ids=["C", "Python"])
def test_graphs_run_and_all_of_tensorflow_works_after_them(
    code, graph, tmp_path
):
    done = subprocess.run(
        [
            sys.executable,
            *("-W", "ignore", "-c", code),
            *(str(tmp_path / "model"), graph.hex()),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("optimized", [False, True])
def test_the_config_is_what_tensorflow_reads(bfloat16, optimized):
    config = sessions.config(bfloat16, optimized)
    read = tf.compat.v1.ConfigProto.FromString(config)
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    made = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=-1,
        allow_soft_placement=True,
    )
    rewriting = made.graph_options.rewrite_options
    rewriting.meta_optimizer_iterations = rewriting.ONE
    rewriting.disable_meta_optimizer = not optimized
    if bfloat16:
        rewriting.auto_mixed_precision_onednn_bfloat16 = rewriting.ON
    assert read == made


def test_the_process_s_threads_are_taken(monkeypatch):
    monkeypatch.setattr(
        tf.config.threading, "get_intra_op_parallelism_threads", lambda: 300
    )
    read = tf.compat.v1.ConfigProto.FromString(sessions.config(False, True))
    assert read.intra_op_parallelism_threads == 300


def test_by_c_and_by_python_a_graph_gives_the_same(network, monkeypatch):
    rng = np.random.default_rng(3)
    given = {
        "pixels": rng.normal(size=(2, 9, 12, 3)).astype(np.float32),
        "bound": np.float32(0.5),
    }
    by_c = sessions.runner(network)(given)
    monkeypatch.setattr(tensorflow_c, "library", lambda: None)
    by_python = sessions.runner(network)(given)
    assert list(by_c) == list(by_python)
    assert by_c["cells"].dtype == np.int64 and len(by_c["cells"]) > 100
    assert by_c["maps"].shape == (2, 7, 10, 8)
    assert by_c["any"].shape == () and by_c["any"]
    for name, value in by_python.items():
        np.testing.assert_array_equal(by_c[name], value)
