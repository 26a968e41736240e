"""Reads the CSV form of FER2013, one line at a time, within bounds."""

import csv
import os
from collections.abc import Iterator

import numpy as np

from emorec.errors import ManifestError
from emorec.labels import FER2013

SIDE = 48
# 2304 numbers of up to three digits with a blank each are 9216 bytes.
MAX_LINE_BYTES = 1 << 14
_SPLITS = {
    "training": "train",
    "publictest": "validation",
    "privatetest": "test",
}
_COLUMNS = ("emotion", "pixels", "usage")

# Line number, split ("" where it is not named), class id, uint8 [48, 48, 1],
# and what is wrong; with a fault, the two before it mean nothing.
Line = tuple[int, str, int, np.ndarray | None, str]


def count_lines(path: str | os.PathLike) -> int:
    """Returns about how many images a CSV holds, for a progress bar."""
    with open(path, "rb") as f:
        count = sum(
            block.count(b"\n") for block in iter(lambda: f.read(1 << 20), b"")
        )
    return max(count - 1, 1)


def read(path: str | os.PathLike) -> Iterator[Line]:
    """Yields the lines of a CSV after its header, the faulty ones too.

    Blanks around a column's name and its case do not matter (both forms that
    were published are read). Without a column `Usage` no split is named.

    Raises:
        ManifestError: Line 1 does not name the columns.
    """
    with open(path, "rb") as f:
        columns = _header(path, f.readline(MAX_LINE_BYTES))
        number, is_skipping = 1, False
        while raw := f.readline(MAX_LINE_BYTES):
            is_whole = raw.endswith(b"\n") or len(raw) < MAX_LINE_BYTES
            number += not is_skipping
            if not is_skipping and not is_whole:
                yield number, "", -1, None, f"is over {MAX_LINE_BYTES} bytes"
            elif not is_skipping and raw.strip():
                yield _line(number, raw, columns)
            is_skipping = not is_whole


def _header(path, raw) -> dict[str, int]:
    try:
        cells = _cells(raw.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        cells = []
    names = [cell.strip().lower() for cell in cells]
    columns = {name: names.index(name) for name in _COLUMNS if name in names}
    if "emotion" not in columns or "pixels" not in columns:
        raise ManifestError(
            f"{path}: line 1 must name the columns emotion, pixels and Usage, "
            "as FER2013 does. Received: "
            f"{raw[:80].decode('utf-8', 'replace').strip()!r}"
        )
    return columns


def _line(number, raw, columns) -> Line:
    try:
        cells = _cells(raw)
        if len(cells) <= max(columns.values()):
            raise ValueError(f"has {len(cells)} columns, fewer than line 1")
        label_id = _label_id(cells[columns["emotion"]].strip())
        pixels = _pixels(cells[columns["pixels"]])
        split = ""
        if "usage" in columns:
            split = _split(cells[columns["usage"]].strip())
    except ValueError as e:
        return number, "", -1, None, str(e)
    return number, split, label_id, pixels, ""


def _cells(raw: bytes) -> list[str]:
    try:
        text = raw.decode("ascii").rstrip("\r\n")
        return next(csv.reader([text], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as e:
        raise ValueError(f"is not CSV in ASCII ({e})") from e


def _label_id(text: str) -> int:
    if not (text.isdigit() and len(text) == 1 and int(text) < len(FER2013)):
        raise ValueError(
            f"has `emotion` {text[:20]!r}, not 0 to {len(FER2013) - 1}"
        )
    return int(text)


def _pixels(text: str) -> np.ndarray:
    values = text.split()
    if len(values) != SIDE * SIDE:
        raise ValueError(
            f"has {len(values)} `pixels`, not {SIDE} x {SIDE} = {SIDE * SIDE}"
        )
    try:
        # Refuses what is no number, and what is not 0 to 255.
        data = bytes(map(int, values))
    except ValueError:
        raise ValueError("has `pixels` that are not numbers 0 to 255") from None
    return np.frombuffer(data, np.uint8).reshape(SIDE, SIDE, 1)


def _split(text: str) -> str:
    split = _SPLITS.get(text.lower())
    if split is None:
        raise ValueError(
            f"has `Usage` {text[:20]!r}, not Training, PublicTest or "
            "PrivateTest"
        )
    return split
