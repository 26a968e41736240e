"""The JSON of a REST classify or regress request, into its records.

The texts of the refusals are those of the real server; it speaks of classify
where the method is regress, too.
"""

import math
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import input_pb2

from serving.server.json_request import (
    as_parsed,
    decode_base64,
    is_base64,
    type_name,
)
from serving.server.json_text import short, shown
from serving.server.status import invalid

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}
_MAX_FLOAT = float(np.finfo(np.float32).max)


def fill_input(document: dict[str, Any], message: input_pb2.Input) -> None:
    """Writes `examples`, and `context` where there is one, into a message.

    Args:
        document: The request.
        message: An empty Input.

    Raises:
        StatusError: There are no examples, or one is none.
    """
    if "context" in document:
        listed = message.example_list_with_context
        listed.context.SetInParent()
        _fill_example(document["context"], listed.context)
    else:
        listed = message.example_list
    if "examples" not in document:
        raise invalid(
            f"{shown(document)} When method is classify, key 'examples' is "
            "expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"{shown(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid(f"{shown(document)} 'examples' value is an empty array")
    for example in examples:
        _fill_example(example, listed.examples.add())


def _fill_example(value: Any, example: example_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise invalid(
            f"Example must be JSON object but got JSON {type_name(value)}"
        )
    for name, content in value.items():
        feature = example.features.feature[name]
        values = content if isinstance(content, list) else [content]
        if not _fill_alike(values, feature):
            for item in values:
                _append(name, item, feature)


def _fill_alike(values: list, feature: feature_pb2.Feature) -> bool:
    """Fills a feature at once if its values need no look at each."""
    found = set(map(type, values))
    if found == {float} and max(map(abs, values)) <= _MAX_FLOAT:
        feature.float_list.value.extend(values)
    elif found == {int} and -(2**63) <= min(values) <= max(values) < 2**63:
        feature.int64_list.value.extend(values)
    elif found == {str}:
        feature.bytes_list.value.extend(value.encode() for value in values)
    else:
        return False
    return True


def _append(name: str, value: Any, feature: feature_pb2.Feature) -> None:
    """Appends one value; all of a feature must be of one kind."""
    number = type(value) in (int, float)
    if number:
        value = as_parsed(value)
    if isinstance(value, float):
        kind = "float_list"
    elif isinstance(value, int):
        kind = "int64_list"
    elif isinstance(value, str) or is_base64(value):
        kind = "bytes_list"
    else:
        raise invalid(
            f"Feature: {name} has element with unexpected JSON type: "
            f"{type_name(value)}"
        )
    before = feature.WhichOneof("kind")
    if before not in (None, kind):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{_KINDS[before]}"
        )
    getattr(feature, kind).value.append(_checked(name, value))


def _checked(name: str, value: Any) -> float | int | bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return decode_base64(value)
    if isinstance(value, float):
        if math.isfinite(value) and abs(value) > _MAX_FLOAT:
            raise invalid(
                f"Cannot convert JSON value: {short(value)} to float without "
                "loss of precision."
            )
    elif value >= 2**63:
        raise invalid(
            f"Feature: {name} has uint64 element. Only int64 is supported."
        )
    return value
