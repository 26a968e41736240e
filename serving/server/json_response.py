"""The outputs of a signature as the JSON of a REST answer.

Laid out as the real server's: 4 spaces of indent, a row's values on one line,
whole floats as `2.0`, NaN and Infinity bare.
"""

import base64
import json
import math
from collections.abc import Mapping

import numpy as np
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.server.status import invalid

_INDENT = "    "
_SPECIAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def error(message: str) -> str:
    """Returns the body of a refusal."""
    return json.dumps({"error": message}, indent=4, ensure_ascii=False)


def rows(outputs: Mapping[str, np.ndarray]) -> str:
    """Returns the answer to the row form: `predictions`, one per row.

    Raises:
        StatusError: The outputs do not have equal batch sizes.
    """
    batch = None
    for name, array in sorted(outputs.items()):
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch is not None and len(array) != batch:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: "
                f"{len(array)} expecting: {batch}"
            )
        batch = len(array)
    texts = {
        name: _lines(_tokens(name, array), array.shape)
        for name, array in sorted(outputs.items())
    }
    if not batch:
        body = "[]"
    elif len(texts) == 1:
        (items,) = texts.values()
        body = f"[{', '.join(items)}\n{_INDENT}]"
    else:
        items = [
            _object({name: text[i] for name, text in texts.items()}, 2)
            for i in range(batch)
        ]
        start = f"\n{_INDENT * 2}"
        body = f"[{start}{f',{start}'.join(items)}\n{_INDENT}]"
    return _object({"predictions": body}, 0)


def columns(outputs: Mapping[str, np.ndarray]) -> str:
    """Returns the answer to the column form: `outputs`, whole tensors."""
    level = 2 if len(outputs) > 1 else 1
    texts = {
        name: _indented(_tokens(name, array), array.shape, level)
        for name, array in sorted(outputs.items())
    }
    if len(texts) == 1:
        (body,) = texts.values()
    else:
        body = _object(texts, 1)
    return _object({"outputs": body}, 0)


def classifications(result: classification_pb2.ClassificationResult) -> str:
    """Returns the answer to classify: `results`, label and score by row."""
    items = []
    for row in result.classifications:
        scores = _decimals(np.array([c.score for c in row.classes], np.float32))
        pairs = [
            f"[{_text(c.label)}, {score}]"
            for c, score in zip(row.classes, scores)
        ]
        items.append(f"[{', '.join(pairs)}]")
    return _object({"results": f"[{', '.join(items)}\n{_INDENT}]"}, 0)


def regressions(result: regression_pb2.RegressionResult) -> str:
    """Returns the answer to regress: `results`, one number per row."""
    values = np.array([r.value for r in result.regressions], np.float32)
    return _object({"results": f"[{', '.join(_decimals(values))}]"}, 0)


def _object(texts: Mapping[str, str], level: int) -> str:
    start = "\n" + _INDENT * (level + 1)
    items = [f"{start}{json.dumps(k)}: {text}" for k, text in texts.items()]
    return "{" + ",".join(items) + "\n" + _INDENT * level + "}"


def _lines(tokens: list[str], shape: tuple[int, ...]) -> list[str]:
    """Returns one line for each item of a tensor's first axis."""
    for axis in reversed(range(1, len(shape))):
        tokens = [
            f"[{', '.join(group)}]" for group in _groups(tokens, shape, axis)
        ]
    return tokens


def _indented(tokens: list[str], shape: tuple[int, ...], level: int) -> str:
    """Returns a whole tensor, one value on a line."""
    for axis in reversed(range(len(shape))):
        inner = "\n" + _INDENT * (level + axis + 1)
        outer = "\n" + _INDENT * (level + axis)
        tokens = [
            f"[{inner}{f',{inner}'.join(group)}{outer}]" if group else "[]"
            for group in _groups(tokens, shape, axis)
        ]
    return tokens[0]


def _groups(tokens, shape, axis) -> list[list[str]]:
    count, size = math.prod(shape[:axis]), shape[axis]
    return [tokens[i * size : (i + 1) * size] for i in range(count)]


def _tokens(name: str, array: np.ndarray) -> list[str]:
    """Returns each value of an array as JSON, in row-major order."""
    if array.dtype == object:
        if name.endswith("_bytes"):
            return [_base64(value) for value in array.ravel()]
        # JSON is UTF-8: what is not cannot be shown (see `_bytes`).
        return [
            _text(value.decode(errors="replace")) for value in array.ravel()
        ]
    if array.dtype == bool:
        return ["true" if value else "false" for value in array.ravel()]
    if array.dtype.kind in "iu":
        return list(map(str, array.ravel().tolist()))
    if array.dtype.kind == "f":
        return _decimals(array.ravel())
    raise invalid(
        f"Failed to write JSON value for tensor type: {array.dtype.name}"
    )


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _base64(value: bytes) -> str:
    return f'{{"b64": "{base64.b64encode(value).decode()}"}}'


def _decimals(values: np.ndarray) -> list[str]:
    """Returns 6 digits, or as many as the value needs to be read back."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    digits = 17 if values.dtype == np.float64 else 9
    floats = values.tolist()
    short = [f"{value:.6g}" for value in floats]
    exact = np.array(short, np.float64).astype(values.dtype) == values
    return [
        _decimal(text if same else f"{value:.{digits}g}")
        for value, text, same in zip(floats, short, exact.tolist())
    ]


def _decimal(text: str) -> str:
    if text in _SPECIAL:
        return _SPECIAL[text]
    return text if "." in text or "e" in text else text + ".0"
