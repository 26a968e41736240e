"""`emorec.features.tensorflow_c`: memory, threads and faults."""

import concurrent.futures
import gc
import pathlib
import weakref

import numpy as np
import pytest
import tensorflow as tf

from emorec import aligned
from emorec.features import frozen, tensorflow_c

MB = 1 << 20


@pytest.fixture(scope="module")
def session():
    graph = frozen.graph_of_function(
        lambda x: {"y": x + 1.0, "none": x[:0]}, {"x": ((None, 2), "float32")}
    )
    return tensorflow_c.Session(graph, b"")


def run(session, *arrays, answers=("answer_y",)):
    return session.callable(["input_x"], answers)(*arrays)


def resident():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def test_the_operations_are_those_of_the_graph(session):
    assert ("input_x", "Placeholder") in session.operations
    assert ("answer_y", "Identity") in session.operations


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_arrays_go_in_and_come_out(session, count):
    x = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    y, none = run(session, x, answers=["answer_y", "answer_none"])
    np.testing.assert_array_equal(y, x + 1)
    assert none.shape == (0, 2) and none.dtype == np.float32


@pytest.mark.parametrize("offset", [0, 4, 16])
def test_memory_at_any_place_is_read(session, offset):
    memory = aligned.empty((4096 + 64,), np.uint8)
    x = memory[offset : offset + 4096].view(np.float32).reshape(-1, 2)
    x[:] = 3
    assert (run(session, x)[0] == 4).all()
    x = aligned.empty((6, 4), np.float32)
    x[:] = np.arange(4)
    np.testing.assert_array_equal(run(session, x[::2, ::2])[0], x[::2, ::2] + 1)


def test_an_answer_stays_when_others_come(session):
    first = run(session, np.full((500, 2), 1, np.float32))[0]
    for value in range(50):
        run(session, np.full((500, 2), value, np.float32))
    gc.collect()
    assert (first == 2).all()


def test_answers_give_their_memory_back(session):
    x = aligned.empty((MB, 2), np.float32)
    x[:] = 0
    run(session, x)
    before = resident()
    for _ in range(100):
        run(session, x)
    assert resident() - before < 50 * MB


def test_a_session_ends_with_its_last_reference():
    graph = frozen.graph_of_function(
        lambda x: {"y": x * 2.0}, {"x": ((None, 2), "float32")}
    )
    one = np.ones((1, 2), np.float32)
    for _ in range(50):
        made = tensorflow_c.Session(graph, b"")
        call = made.callable(["input_x"], ["answer_y"])
        assert call(one)[0].tolist() == [[2, 2]]
        gone = weakref.ref(made)
        del made
        assert call(one)[0].tolist() == [[2, 2]]
        del call
        assert gone() is None


def test_many_threads_run_it_at_once(session):
    call = session.callable(["input_x"], ["answer_y"])

    def work(value):
        return call(np.full((3000, 2), value, np.float32))[0]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for value, found in enumerate(threads.map(work, range(400))):
            assert (found == value + 1).all()


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 1, 2), ()])
def test_another_shape_is_refused(session, shape):
    with pytest.raises(
        ValueError, match=r"input_x: must be of shape \[-1, 2\]"
    ):
        run(session, np.zeros(shape, np.float32))


def test_faults_of_tensorflow_are_told(session):
    with pytest.raises(tensorflow_c.TensorFlowError, match="int32"):
        run(session, np.zeros((1, 2), np.int32))
    with pytest.raises(tensorflow_c.TensorFlowError, match="GraphDef"):
        tensorflow_c.Session(b"no graph", b"")
    graph = tf.Graph().as_graph_def().SerializeToString()
    with pytest.raises(tensorflow_c.TensorFlowError, match="ConfigProto"):
        tensorflow_c.Session(graph, b"no config")


def test_where_there_is_no_tensorflow_there_is_no_library(monkeypatch):
    monkeypatch.setattr(
        tensorflow_c.importlib.util, "find_spec", lambda name: None
    )
    assert tensorflow_c.files() is None
