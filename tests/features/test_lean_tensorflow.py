"""`emorec.features.lean_tensorflow`: a part of TensorFlow, and all after it."""

import os
import subprocess
import sys

HEAD = """
import sys
import numpy as np
from emorec.features import lean_tensorflow, sessions
"""
# A graph that doubles, as text: nothing of TensorFlow's makes it.
DOUBLED = """
def doubled():
    tf = lean_tensorflow.sessions()
    graph = tf.GraphDef()
    x = graph.node.add(name="input_x", op="Placeholder")
    x.attr["dtype"].type = 1
    y = graph.node.add(name="answer_y", op="AddV2", input=["input_x"] * 2)
    y.attr["T"].type = 1
    return sessions.runner(graph)({"x": np.float32([1, 2])})["y"].tolist()
"""
AFTER = """
lean_tensorflow.load_sessions()
assert doubled() == [2, 4]
assert not {"tensorflow", "keras", "pandas"} & set(sys.modules)
lean_tensorflow.load_sessions()
assert "tensorflow" not in sys.modules
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
"""
MOVED = """

def moved():
    from tensorflow.python.framework import ops
    from tensorflow.python.client import another_place

lean_tensorflow._of_inner_modules = moved
lean_tensorflow.load_sessions()
assert "tensorflow" in sys.modules and "keras" not in sys.modules
assert doubled() == [2, 4]
"""
LOADED = """
import tensorflow as tf
lean_tensorflow.load_sessions()
assert lean_tensorflow.sessions().Graph is tf.Graph
assert doubled() == [2, 4]
"""


def run(code, *words):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HEAD + DOUBLED + code, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_graphs_run_by_a_part_and_all_works_after_it(tmp_path):
    run(AFTER, str(tmp_path / "model"))


def test_where_inner_modules_have_moved_all_is_imported():
    run(MOVED)


def test_where_all_is_there_nothing_else_is_imported():
    run(LOADED)
