"""Tables of results: CSV and Parquet, row by row, however many there are."""

import csv
import importlib
import itertools
import os
from collections.abc import Iterable

from emorec.errors import EmorecError, UsageError

JSONL, CSV, PARQUET = ".jsonl", ".csv", ".parquet"
ENDINGS = (JSONL, CSV, PARQUET)
# The column of Parquet that holds a list: each frame's time and box.
PER_FRAME = "per_frame"
# Rows that are held and written together.
_GROUP_ROWS = 1000
# Columns by the type of their values in Parquet.
_TEXTS = ("video", "label", "message", "warning", "error")
_TEXTS = (*_TEXTS, "row", "source", "predicted")  # Of an evaluation.
_COUNTS = ("track", "windows", "frames", "frames_with_face")
_TRUTHS = ("whole", "calibrated", "uncertain", "correct")
# What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def ending_of(path: str | os.PathLike) -> str:
    """Returns the one of `ENDINGS` that a file's name has.

    Raises:
        UsageError: It has another one.
        EmorecError: What writes it is not installed.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"results must go to a file that ends in {', '.join(ENDINGS)}. "
            f"Received: {path}"
        )
    if ending == PARQUET:
        try:
            importlib.import_module("pyarrow.parquet")
        except ImportError as e:
            raise EmorecError(
                f"{path}: Parquet needs pyarrow ({e}); install emorec[tables]"
            ) from e
    return ending


def write_csv(path: str | os.PathLike, rows: Iterable[dict]) -> None:
    """Writes flat rows that all have the first one's keys.

    An absent value is an empty cell. A text that a spreadsheet would take for
    a formula gets a leading `'`.
    """
    with open(
        path, "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow({k: _cell(v) for k, v in row.items()})


def write_parquet(path: str | os.PathLike, rows: Iterable[dict]) -> None:
    """Writes rows that all have the first one's keys.

    A column's type is its name's (`_TEXTS`, `_COUNTS`, `_TRUTHS`), for in the
    first rows it may be empty; all others are float64. One may be
    `PER_FRAME`: a list of `{"time", "box"}`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        pq.write_table(pa.table({}), path)
        return
    schema = pa.schema([(key, _type(pa, key)) for key in first])
    rows = itertools.chain([first], rows)
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(itertools.islice(rows, _GROUP_ROWS)):
            columns = {key: [_text(row[key]) for row in group] for key in first}
            writer.write_table(pa.table(columns, schema))


def _cell(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def _text(value):
    """Returns a text that UTF-8 can hold; another value as it is."""
    if not isinstance(value, str):
        return value
    return value.encode(errors="backslashreplace").decode()


def _type(pa, key: str):
    if key == PER_FRAME:
        box = pa.list_(pa.float32())
        return pa.list_(pa.struct([("time", pa.float64()), ("box", box)]))
    if key in _TRUTHS:
        return pa.bool_()
    if key in _COUNTS:
        return pa.int64()
    if key in _TEXTS:
        return pa.string()
    return pa.float64()
