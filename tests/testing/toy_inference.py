"""A SavedModel with signatures for Classify and Regress, right and wrong.

Written by the TF1 builder, which alone gives several signatures one input
tensor, as MultiInference demands.
"""

import pathlib

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import input_pb2

v1 = tf.compat.v1
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"


def example(**features) -> tf.train.Example:
    """Returns a record of float lists."""
    message = tf.train.Example()
    for name, values in features.items():
        message.features.feature[name].float_list.value.extend(values)
    return message


def examples(*records: tf.train.Example) -> input_pb2.Input:
    """Returns an Input of records without a context."""
    message = input_pb2.Input()
    message.example_list.examples.extend(records)
    return message


def save(path: pathlib.Path) -> None:
    """Writes the model: `x` of two floats, `bonus` added to their sum."""
    with tf.Graph().as_default(), v1.Session() as session:
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map=_signatures(),
        )
        builder.save()


def _signatures() -> dict:
    text = v1.placeholder(tf.string, [None], "tf_example")
    other = v1.placeholder(tf.string, [None], "other_example")
    numbers = v1.placeholder(tf.float32, [None], "numbers")
    x, bonus = _parse(text)
    total = tf.reduce_sum(x, 1) + bonus
    count = tf.shape(x)[0]
    classes = tf.tile([["low", "h\xefgh"]], [count, 1])
    wide = tf.tile([["a", "b", "c"]], [count, 1])
    bytes_ = tf.tile([[b"\xff\x00"]], [count, 1])
    one = tf.ones([1, 2])
    x64 = tf.cast(x, tf.float64)
    table = {
        "classify": (CLASSIFY, {"classes": classes, "scores": x}),
        "serving_default": (PREDICT, {"classes": classes, "scores": x}),
        "scores": (CLASSIFY, {"scores": x}),
        "labels": (CLASSIFY, {"classes": classes, "extra": total}),
        "bytes": (CLASSIFY, {"classes": bytes_}),
        "regress": (REGRESS, {"outputs": total}),
        "column": (REGRESS, {"outputs": total[:, None]}),
        "classes_flat": (CLASSIFY, {"classes": classes[:, 0]}),
        "classes_float": (CLASSIFY, {"classes": x}),
        "scores_flat": (CLASSIFY, {"scores": total}),
        "scores_double": (CLASSIFY, {"scores": x64}),
        "scores_short": (CLASSIFY, {"scores": one}),
        "uneven": (CLASSIFY, {"classes": wide, "scores": x}),
        "three": (CLASSIFY, {"classes": classes, "scores": x, "z": x}),
        "neither": (CLASSIFY, {"y": x}),
        "regress_square": (REGRESS, {"outputs": x}),
        "regress_short": (REGRESS, {"outputs": one[:, 0]}),
        "regress_double": (REGRESS, {"outputs": x64[:, 0]}),
        "regress_named": (REGRESS, {"y": total}),
    }
    found = {
        name: _signature({"inputs": text}, outputs, method)
        for name, (method, outputs) in table.items()
    }
    found["renamed"] = _signature({"examples": text}, {"scores": x}, CLASSIFY)
    found["elsewhere"] = _signature(
        {"inputs": other},
        {"outputs": tf.reduce_sum(_parse(other)[0], 1)},
        REGRESS,
    )
    found["two_inputs"] = _signature(
        {"inputs": text, "other": other}, {"outputs": total}, REGRESS
    )
    found["floats"] = _signature(
        {"inputs": numbers}, {"outputs": tf.identity(numbers)}, REGRESS
    )
    addend = v1.placeholder(tf.float32, [None], "addend")
    found["add"] = _signature(
        {"a": numbers, "b": addend}, {"sum": numbers + addend}, PREDICT
    )
    found["add"].defaults["b"].CopyFrom(tf.make_tensor_proto([10.0]))
    return found


def _parse(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    found = tf.io.parse_example(
        text,
        {
            "x": tf.io.FixedLenFeature([2], tf.float32),
            "bonus": tf.io.FixedLenFeature([], tf.float32, np.float32(0)),
        },
    )
    return found["x"], found["bonus"]


def _signature(inputs: dict, outputs: dict, method: str):
    def infos(tensors):
        return {
            name: v1.saved_model.build_tensor_info(tensor)
            for name, tensor in tensors.items()
        }

    return v1.saved_model.build_signature_def(
        infos(inputs), infos(outputs), method
    )
