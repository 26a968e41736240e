"""Classify and Regress: what a signature must have, and its outputs' messages.

The order of the checks and their words are the real server's.
"""

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.server import status

INPUTS = tf.saved_model.CLASSIFY_INPUTS  # The same name for Regress.
CLASSIFY = tf.saved_model.CLASSIFY_METHOD_NAME
REGRESS = tf.saved_model.REGRESS_METHOD_NAME
_CLASSES = tf.saved_model.CLASSIFY_OUTPUT_CLASSES
_SCORES = tf.saved_model.CLASSIFY_OUTPUT_SCORES
_OUTPUTS = tf.saved_model.REGRESS_OUTPUTS

_Signature = meta_graph_pb2.SignatureDef
_Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Method:
    """How one kind of inference reads a signature and writes its answer.

    Attributes:
        outputs: Returns the outputs to fetch; refuses another signature.
        fill: Writes the fetched arrays of so many records into a result.
        field: The result's field in an InferenceResult.
    """

    outputs: Callable[[_Signature], list[str]]
    fill: Callable[[Any, _Arrays, int], None]
    field: str


def _check_input(signature: _Signature, kind: str) -> None:
    if INPUTS not in signature.inputs:
        raise status.invalid(
            f"No {kind} inputs found in SignatureDef: {_text(signature)}"
        )


def _classify_outputs(signature: _Signature) -> list[str]:
    if len(signature.inputs) != 1:
        raise status.invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise status.invalid(
            "Expected one or two output Tensors, found "
            f"{len(signature.outputs)}"
        )
    _check_input(signature, "classification")
    found = [name for name in (_CLASSES, _SCORES) if name in signature.outputs]
    if not found:
        raise status.invalid(
            "Expected classification signature outputs to contain at least "
            f'one of "{_CLASSES}" or "{_SCORES}". Signature was: '
            f"{_text(signature)}"
        )
    return found


def _regress_outputs(signature: _Signature) -> list[str]:
    if len(signature.inputs) != 1:
        raise status.invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise status.invalid("Expected one output Tensor.")
    _check_input(signature, "regression")
    if _OUTPUTS not in signature.outputs:
        raise status.invalid(
            f"No regression outputs found in SignatureDef: {_text(signature)}"
        )
    return [_OUTPUTS]


def _fill_classes(
    result: classification_pb2.ClassificationResult,
    arrays: _Arrays,
    count: int,
) -> None:
    for name, dtype in ((_CLASSES, "DT_STRING"), (_SCORES, "DT_FLOAT")):
        if name in arrays:
            _check_classes(name, arrays[name], dtype, count)
    classes, scores = arrays.get(_CLASSES), arrays.get(_SCORES)
    if classes is None:
        labels = [[""] * scores.shape[1]] * count
    else:
        # `label` is text: what is not UTF-8 cannot be sent as it is.
        labels = [
            [label.decode(errors="replace") for label in row] for row in classes
        ]
    if scores is None:
        scores = np.zeros(classes.shape)
    if classes is not None and classes.shape[1] != scores.shape[1]:
        raise status.invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    for names, values in zip(labels, scores.tolist()):
        row = result.classifications.add()
        for label, score in zip(names, values):
            row.classes.add(label=label, score=score)


def _check_classes(
    name: str, array: np.ndarray, dtype: str, count: int
) -> None:
    if array.ndim != 2:
        raise status.invalid(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"{_shape(array)}"
        )
    if _dtype(array) != dtype:
        raise status.invalid(
            f"Expected {name} Tensor of {dtype}. Got: {_dtype(array)}"
        )
    if len(array) != count:
        raise status.invalid(
            f"Expected {name} output batch size of {count}. Got: {len(array)}"
        )


def _fill_values(
    result: regression_pb2.RegressionResult, arrays: _Arrays, count: int
) -> None:
    array = arrays[_OUTPUTS]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise status.invalid(
            "Expected output Tensor shape to be either [batch_size] or "
            f"[batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise status.invalid(
            f"Input batch size did not match output batch size: {count} vs. "
            f"{len(array)}"
        )
    if _dtype(array) != "DT_FLOAT":
        raise status.invalid(
            f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}"
        )
    for value in array.ravel().tolist():
        result.regressions.add(value=value)


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _dtype(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(tf.as_dtype(array.dtype).as_datatype_enum)


def _text(signature: _Signature) -> str:
    return text_format.MessageToString(signature)


METHODS: Mapping[str, Method] = types.MappingProxyType(
    {
        CLASSIFY: Method(
            _classify_outputs, _fill_classes, "classification_result"
        ),
        REGRESS: Method(_regress_outputs, _fill_values, "regression_result"),
    }
)
