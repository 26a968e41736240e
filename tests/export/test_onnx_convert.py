"""TensorFlow functions as ONNX: what tf2onnx alone gets wrong, and errors."""

import gc
import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from emorec.errors import ExportError
from emorec.export import onnx_convert
from emorec.export.onnx_convert import Part


def converted(function, *, dtype=tf.float32, names=("x",), shape=("n", 3)):
    part = Part(
        function, dict.fromkeys(names, (dtype, shape)), {"y": tuple(shape)}
    )
    return onnx_convert.convert(part, "part.onnx")


def run(model, *values):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [i.name for i in session.get_inputs()]
    return session.run(["y"], dict(zip(names, values, strict=True)))[0]


def test_sizes_are_named_and_the_opset_is_stated():
    model = converted(lambda x: {"y": x + 1.0})
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    (x,), (y,) = model.graph.input, model.graph.output
    for value, name in ((x, "x"), (y, "y")):
        sizes = value.type.tensor_type.shape.dim
        assert value.name == name
        assert [s.dim_param or s.dim_value for s in sizes] == ["n", 3]
    assert model.graph.name == "part.onnx"
    assert not model.doc_string and not model.graph.doc_string


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
def test_floor_division_goes_down(dtype):
    model = converted(
        lambda a, b: {"y": tf.math.floordiv(a, b)},
        dtype=tf.as_dtype(dtype),
        names=("a", "b"),
    )
    a = np.array([[7, -7, 8], [-8, 7, -1]], dtype)
    b = np.array([[4, 4, 4], [4, -4, -9]], dtype)
    np.testing.assert_array_equal(run(model, a, b), [[1, -2, 2], [-2, -2, 0]])


def test_what_is_not_chosen_does_not_count():
    model = converted(lambda x: {"y": tf.where(x > 0, x, tf.zeros_like(x))})
    x = np.array([[1, -2, np.nan], [-np.inf, 0, 5]], np.float32)
    np.testing.assert_array_equal(run(model, x), [[1, 0, 0], [0, 0, 5]])


def test_tensors_that_a_function_holds_are_constants():
    held = tf.constant([1.0, 2.0, 3.0])
    model = converted(lambda x: {"y": x * held})
    assert [i.name for i in model.graph.input] == ["x"]
    np.testing.assert_array_equal(
        run(model, np.ones((2, 3), np.float32)), [[1, 2, 3], [1, 2, 3]]
    )


def test_nodes_in_loops_are_found():
    def function(x):
        return {
            "y": tf.while_loop(
                lambda i, y: i < tf.shape(x)[0],
                lambda i, y: (i + 1, tf.math.atan(y)),
                (0, x),
                shape_invariants=(
                    tf.TensorShape(()),
                    tf.TensorShape((None, 3)),
                ),
            )[1]
        }

    model = converted(function)
    assert "Atan" not in [n.op_type for n in model.graph.node]
    assert "Atan" in [n.op_type for n in onnx_convert.nodes(model.graph)]


@pytest.mark.parametrize(
    "function, message",
    [
        (
            lambda x: {"y": tf.math.igamma(x, x)},
            "part.onnx: Igamma is no operator of ONNX; choose another network",
        ),
        (
            lambda x: {
                "y": tf.cast(
                    tf.cast(x, tf.bfloat16)
                    * tf.constant([1, 2, 3], tf.bfloat16),
                    tf.float32,
                )
            },
            "part.onnx: cannot be converted to ONNX (",
        ),
        (
            lambda x: {"z": x + 1.0},
            "part.onnx: must have y. Received: z; use the versions of "
            "requirements.lock",
        ),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(function, message, capfd):
    with pytest.raises(ExportError) as caught:
        converted(function)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_tensorflow_is_left_as_it_was(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    onnx_convert.check_packages()
    converted(lambda x: {"y": x})
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"
    assert tf.executing_eagerly()
    variable = tf.Variable(2.0)
    assert float(tf.function(lambda: variable * 3.0)()) == 6


@pytest.mark.parametrize("is_frozen", [False, True])
def test_what_tf2onnx_drops_is_freed_at_once(is_frozen):
    # Python's collector is as it was afterwards, after an error too.
    before = gc.get_threshold()
    seen = []

    def function(x):
        seen.append((gc.get_threshold(), gc.get_freeze_count()))
        raise ValueError("no")

    if is_frozen:
        gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        with pytest.raises(ExportError):
            converted(function)
        # Not the same count: a frozen object, too, ends with its last
        # reference, whichever thread drops that.
        assert (gc.get_freeze_count() > frozen / 2) == is_frozen
    finally:
        gc.unfreeze()
    assert gc.get_threshold() == before
    ((threshold, count),) = seen
    assert (threshold != before) == (not is_frozen)
    assert count > 10_000


@pytest.mark.parametrize("package", onnx_convert.PACKAGES)
def test_a_package_is_absent(package, monkeypatch):
    # As where it was never installed.
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError) as caught:
        onnx_convert.check_packages()
    assert str(caught.value) == (
        "exporting to ONNX needs tf2onnx, onnx, onnxruntime (import of "
        f"{package} halted; None in sys.modules); install emorec[onnx]"
    )


def test_the_checker_of_onnx_takes_it():
    onnx.checker.check_model(
        converted(lambda x: {"y": tf.nn.softmax(x)}), full_check=True
    )
