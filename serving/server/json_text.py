"""JSON text to Python values, with the refusals of the real server.

It reads JSON with RapidJSON; `_PARSE_ERRORS` holds that parser's words.
"""

import json
import re
from typing import Any

from serving.server.status import StatusError, invalid

_SHOWN = 256  # Characters of a value that an error repeats.

# What the real server's parser says, by what Python's says.
_PARSE_ERRORS = {
    "Expecting property name": "Missing a name for object member.",
    "Illegal trailing comma before end of object": (
        "Missing a name for object member."
    ),
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Extra data": ("The document root must not be followed by other values."),
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\u": "Incorrect hex digit after \\u escape in string.",
    "Invalid control": "Invalid encoding in string.",
}


def parse(body: bytes) -> dict[str, Any]:
    """Returns the JSON object in `body`; NaN and Infinity are numbers.

    Raises:
        StatusError: It is no JSON, or no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode()
    except UnicodeDecodeError as e:
        raise _parse_error("Invalid encoding in string.", e.start) from e
    try:
        document = json.loads(text)
    except json.JSONDecodeError as e:
        offset = len(text[: e.pos].encode())
        raise _parse_error(_reason(e, text), offset) from e
    except RecursionError as e:
        raise _parse_error("The document is nested too deeply.", 0) from e
    except ValueError as e:  # An integer of thousands of digits.
        raise _parse_error("Number too big to be stored in double.", 0) from e
    if not isinstance(document, dict):
        raise invalid(f"{shown(document)} Is not object")
    _check_surrogates(text, document)
    return document


def short(value: Any) -> str:
    """Returns a value as JSON, cut where it is long."""
    try:
        text = json.dumps(value, indent=4, ensure_ascii=False)
    except RecursionError:
        text = "(nested too deeply)"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def shown(value: Any) -> str:
    """Returns how an error message shows a value."""
    return f"JSON Value: {short(value)}"


def _check_surrogates(text: str, document: dict[str, Any]) -> None:
    """Refuses halves of surrogate pairs, which no message can carry."""
    escape = re.search(r"\\u[dD][89a-fA-F]", text)
    if escape is None:
        return
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        offset = len(text[: escape.start()].encode())
        raise _parse_error(
            "The surrogate pair in string is invalid.", offset
        ) from e


def _parse_error(reason: str, offset: int) -> StatusError:
    return invalid(f"JSON Parse error: {reason} at offset: {offset}")


def _reason(error: json.JSONDecodeError, text: str) -> str:
    if not text.strip():
        return "The document is empty."
    for start, reason in _PARSE_ERRORS.items():
        if error.msg.startswith(start):
            return reason
    if error.msg.startswith("Expecting ','"):
        if _innermost(text[: error.pos]) == "{":
            return "Missing a comma or } after an object member."
        return "Missing a comma or ] after an array element."
    return "Invalid value."


def _innermost(text: str) -> str:
    """Returns the bracket that is still open at the end of JSON `text`."""
    opened = []
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|[\[\]{}]', text):
        if match[0] in "[{":
            opened.append(match[0])
        elif match[0] in "]}":
            opened.pop()
    return opened[-1]
