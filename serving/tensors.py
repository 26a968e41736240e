"""TensorProto messages to numpy arrays and back, with numpy alone.

Works on any message with the fields of `tensorflow.TensorProto`: the server
passes TensorFlow's own, the light client its private one. Strings are arrays
of dtype object that hold `bytes`.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Kind:
    """One element type of tensorflow/core/framework/types.proto.

    Attributes:
        number: The DataType enum's number.
        name: What TensorFlow calls it in its messages (`float`, `string`).
        dtype: Its numpy dtype, little-endian as in `tensor_content`.
        field: The repeated field of TensorProto that holds its values.
    """

    number: int
    name: str
    dtype: np.dtype
    field: str


STRING = 7
HALF = 19

KINDS: Mapping[int, Kind] = types.MappingProxyType(
    {
        number: Kind(number, name, np.dtype(dtype), field)
        for number, name, dtype, field in (
            (1, "float", "<f4", "float_val"),
            (2, "double", "<f8", "double_val"),
            (3, "int32", "<i4", "int_val"),
            (4, "uint8", "u1", "int_val"),
            (5, "int16", "<i2", "int_val"),
            (6, "int8", "i1", "int_val"),
            (STRING, "string", "O", "string_val"),
            (9, "int64", "<i8", "int64_val"),
            (10, "bool", "?", "bool_val"),
            (17, "uint16", "<u2", "int_val"),
            (HALF, "half", "<f2", "half_val"),
            (22, "uint32", "<u4", "uint32_val"),
            (23, "uint64", "<u8", "uint64_val"),
        )
    }
)


def kind_of(array: np.ndarray) -> Kind:
    """Returns the kind of an array; text and bytes of any width are strings.

    Raises:
        ValueError: TensorProto has no such type, or we do not carry it.
    """
    if array.dtype.kind in "SUO":
        return KINDS[STRING]
    for kind in KINDS.values():
        if array.dtype == kind.dtype:
            return kind
    raise ValueError(f"arrays of dtype {array.dtype} cannot be sent")


def shape_of(proto: Any) -> tuple[int, ...]:
    """Returns the shape in a TensorShapeProto of a value.

    Raises:
        ValueError: A size or the rank is unknown.
    """
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("the shape of a value must be known")
    return shape


def fill(proto: Any, array: np.ndarray, *, content: bool = False) -> None:
    """Writes `array` into an empty TensorProto.

    Args:
        proto: The message, changed in place.
        array: Values of a dtype in `KINDS`; strings as bytes or text.
        content: Write numbers as one `tensor_content` (smaller and faster)
            rather than into the typed fields, as the real server answers.

    Raises:
        ValueError: The dtype cannot be sent.
    """
    kind = kind_of(array)
    proto.dtype = kind.number
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if kind.number == STRING:
        proto.string_val.extend(map(_to_bytes, array.ravel().tolist()))
        return
    values = np.ascontiguousarray(array, kind.dtype).ravel()
    if content:
        proto.tensor_content = values.tobytes()
        return
    if kind.number == HALF:
        values = values.view("<u2")
    getattr(proto, kind.field).extend(values.tolist())


def to_array(proto: Any, max_bytes: int) -> np.ndarray:
    """Returns the value of a TensorProto.

    As in TensorFlow, a typed list shorter than the shape repeats its last
    value, an empty one gives zeros, a longer one is cut. That lets a few
    bytes stand for a huge tensor, hence `max_bytes`.

    Args:
        proto: The message.
        max_bytes: Largest array that is made; a string counts 8 bytes.

    Returns:
        An array, read-only where it shares the message's bytes.

    Raises:
        ValueError: The type is not carried, the shape is unknown or too
            large, or the content does not fit the shape.
    """
    kind = KINDS.get(proto.dtype)
    if kind is None:
        raise ValueError(f"tensors of type {proto.dtype} cannot be read")
    shape = shape_of(proto.tensor_shape)
    size = math.prod(shape)
    if size * kind.dtype.itemsize > max_bytes:
        raise ValueError(f"a tensor of shape {shape} exceeds {max_bytes} bytes")
    if proto.tensor_content:
        return _from_content(kind, proto.tensor_content, size).reshape(shape)
    values = list(getattr(proto, kind.field)[:size])
    if kind.number == STRING:
        array = np.empty(len(values), object)
        array[:] = values
    elif kind.number == HALF:
        array = np.array(values, np.int64).astype("<u2").view(kind.dtype)
    elif kind.field == "int_val":
        # int8 to uint16 travel as int32 and are cut as C does.
        array = np.array(values, np.int64).astype(kind.dtype)
    else:
        array = np.array(values, kind.dtype)
    return _stretch(array, size, kind).reshape(shape)


def _stretch(array: np.ndarray, size: int, kind: Kind) -> np.ndarray:
    if len(array) == size:
        return array
    if not len(array):
        array = np.array([b"" if kind.number == STRING else 0], kind.dtype)
    full = np.full(size, array[-1], kind.dtype)
    full[: len(array)] = array[:size]
    return full


def _from_content(kind: Kind, content: bytes, size: int) -> np.ndarray:
    if kind.number == STRING:
        return _strings(content, size)
    if len(content) != size * kind.dtype.itemsize:
        raise ValueError(
            f"{len(content)} bytes do not fill {size} values of {kind.name}"
        )
    if kind.name == "bool":
        values = np.frombuffer(content, np.uint8)
        if (values > 1).any():
            raise ValueError("a bool is 0 or 1")
        return values.astype(bool)
    return np.frombuffer(content, kind.dtype)


def _strings(content: bytes, size: int) -> np.ndarray:
    """Reads TensorFlow's form of strings: all lengths as varints, then all."""
    lengths, at = [], 0
    for _ in range(size):
        length = shift = 0
        while True:
            if at >= len(content) or shift > 28:
                raise ValueError("the strings' lengths are cut short")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError("the strings' lengths do not fit their bytes")
    array = np.empty(size, object)
    for i, length in enumerate(lengths):
        array[i] = content[at : at + length]
        at += length
    return array


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f"a string tensor holds {type(value).__name__}")
