"""The JSON of a REST predict request, into one array per input.

The texts of the refusals are those of the real server (its
tensorflow_serving/util/json_tensor.cc), on which clients rely.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from serving import tensors
from serving.server.json_text import short, shown
from serving.server.status import StatusError, invalid

# numpy's limit is 32, and rows are stacked to one more.
_MAX_RANK = 31


def signature_name(document: dict[str, Any]) -> str:
    """Returns the request's signature name, "" where it has none.

    Raises:
        StatusError: It is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"{shown(document)} not formatted correctly. 'signature_name' "
            "key must be a string value."
        )
    return name


def arrays(
    document: dict[str, Any], inputs: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the arrays of a request, and whether it has the row form.

    Args:
        document: The request, with `instances` (rows) or `inputs` (columns).
        inputs: The DataType number of each of the signature's inputs.

    Raises:
        StatusError: The request does not fit the inputs.
    """
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"{shown(document)} Not formatted correctly expecting only one "
            "of 'inputs' or 'instances' keys to exist "
        )
    if "inputs" in document:
        return _columns(document["inputs"], inputs), False
    if "instances" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(
            f"{shown(document)} Expecting 'instances' to be an list/array"
        )
    if not rows:
        raise invalid(f"{shown(document)} No values in 'instances' array")
    return _rows(rows, inputs), True


def _columns(value: Any, inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as "
                "multiple input tensors required as per tensorinfo_map"
            )
        return {name: _array(value, number) for name, number in inputs.items()}
    for name in sorted(inputs):
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {
        name: _array(value[name], number) for name, number in inputs.items()
    }


def _rows(rows: list, inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as "
            "multiple input tensors required as per tensorinfo_map"
        )
    objects = _is_object(rows[0])
    found: dict[str, list[np.ndarray]] = {}
    for i, row in enumerate(rows):
        if _is_object(row) != objects:
            raise invalid(
                f"Expecting object but got list at item {i} of input list"
                if objects
                else f"Expecting value/list but got object at item {i} of "
                "input list"
            )
        if not objects:
            _add(next(iter(inputs)), row, inputs, found, f"{i}")
            continue
        for name, value in row.items():
            _add(name, value, inputs, found, f"{i} key: {name}")
        if set(row) != set(inputs):
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON "
                f"object: {short(row)} keys must be equal to: "
                f"{','.join(sorted(inputs))}"
            )
    return {name: np.stack(values) for name, values in found.items()}


def _add(name, value, inputs, found, where) -> None:
    """Appends one element's array, of the first one's shape."""
    try:
        if name not in inputs:
            raise invalid(f"JSON object: does not have named input: {name}")
        array = _array(value, inputs[name])
        before = found.setdefault(name, [array])
        if before[0] is array:
            return
        if before[0].size != array.size:
            raise invalid(
                f"Expecting tensor size: {before[0].size} but got: {array.size}"
            )
        if before[0].shape != array.shape:
            raise invalid(
                f"Expecting shape {_brackets(before[0])} but got: "
                f"{_brackets(array)}"
            )
        before.append(array)
    except StatusError as e:
        raise invalid(
            f"Failed to process element: {where} of 'instances' list. "
            f"Error: {e.code.name}: {e.message}"
        ) from e


def _brackets(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _array(value: Any, number: int) -> np.ndarray:
    """Returns a (nested) JSON value as an array; its first items set the shape.

    Raises:
        StatusError: The lists are ragged, or a value has another type.
    """
    kind = tensors.KINDS.get(number)
    if kind is None or kind.number == tensors.HALF:
        name = kind.name if kind else f"DataType {number}"
        raise StatusError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of {shown(value)} to type: {name}",
        )
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > _MAX_RANK:
        raise invalid(f"Encountered more than {_MAX_RANK} levels of lists")
    leaves: list = []
    _collect(value, 0, tuple(shape), kind, leaves)
    array = np.empty(len(leaves), kind.dtype)
    array[:] = leaves
    return array.reshape(shape)


def _collect(value, level, shape, kind, leaves) -> None:
    """Appends the values below `value` to `leaves`, checked."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"{shown(value)} found at incorrect level: {level + 1} in "
                f"the JSON DOM. Expected at level: {len(shape)}"
            )
        leaves.append(_leaf(value, kind))
        return
    if level >= len(shape):
        raise invalid(
            f"Encountered list at unexpected level: {level} expected < "
            f"{len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: "
            f"{level} expected size: {shape[level]}"
        )
    if level == len(shape) - 1 and _all_plain(value, kind):
        leaves.extend(value)
        return
    for item in value:
        _collect(item, level + 1, shape, kind, leaves)


def _all_plain(values: list, kind: tensors.Kind) -> bool:
    """Whether a whole list needs no look at each value (most lists)."""
    found = set(map(type, values))
    if kind.dtype.kind == "f" and found == {float}:
        # NaN is not greater, and infinity is taken.
        return kind.number == 2 or not any(
            3.4e38 < abs(v) < float("inf") for v in values
        )
    if kind.dtype.kind in "iu" and found == {int}:
        limits = np.iinfo(kind.dtype)
        return limits.min <= min(values) and max(values) <= limits.max
    return kind.dtype.kind == "b" and found == {bool}


def _leaf(value: Any, kind: tensors.Kind) -> Any:
    """Checks one value; returns it, text and base64 as bytes."""
    is_number = type(value) in (int, float)
    if kind.number == tensors.STRING:
        if isinstance(value, dict):
            return decode_base64(value)
        if isinstance(value, str):
            return value.encode(errors="surrogatepass")
    elif kind.dtype.kind == "f" and is_number:
        limits = np.finfo(kind.dtype)
        value = as_parsed(value)
        if isinstance(value, int):
            fits = abs(value) < 2 ** (limits.nmant + 1)
        else:
            fits = not np.isfinite(value) or abs(value) <= limits.max
        if not fits:
            raise invalid(
                f"Cannot convert JSON value: {short(value)} to {kind.name} "
                "without loss of precision."
            )
        return value
    elif kind.dtype.kind in "iu" and type(value) is int:
        limits = np.iinfo(kind.dtype)
        if limits.min <= value <= limits.max:
            return value
    elif kind.dtype.kind == "b" and isinstance(value, bool):
        return value
    raise invalid(
        f"{shown(value)} Type: {type_name(value)} is not of expected type: "
        f"{kind.name}"
    )


def is_base64(value: Any) -> bool:
    """Whether a value is `{"b64": TEXT}`, which stands for bytes."""
    return (
        isinstance(value, dict)
        and set(value) == {"b64"}
        and isinstance(value["b64"], str)
    )


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def decode_base64(value: dict) -> bytes:
    """Returns the bytes of `{"b64": TEXT}`.

    Raises:
        StatusError: The value is something else, or TEXT is no base64.
    """
    if not is_base64(value):
        raise invalid(f"{shown(value)} not formatted correctly for base64 data")
    # As in the real server, white space and the padding may be left out.
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as e:
        raise invalid("Unable to base64 decode") from e


def as_parsed(number: int | float) -> int | float:
    """Returns a number as the real server's parser holds it.

    To it an integer that neither int64 nor uint64 holds is a double.
    """
    if isinstance(number, int) and not -(2**63) <= number < 2**64:
        try:
            return float(number)
        except OverflowError as e:
            raise invalid(
                "JSON Parse error: Number too big to be stored in double."
            ) from e
    return number


def type_name(value: Any) -> str:
    """Returns what error messages call the JSON type of a value."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")
