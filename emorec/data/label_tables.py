"""Tables from outside: CSV, plain text or XLSX to rows of cells.

What a file is follows from its content, not from its name:

  XLSX   a zip archive; one sheet is read, formulas give their stored values.
  text   UTF-8 (with or without a byte order mark), else GB 18030, which holds
         GBK and GB 2312. The columns lie between tabs, semicolons or commas,
         whichever the first line has most of. A line that has none of them is
         cut at white space, but not in a .csv or .tsv, where it is one cell.

Everything is bounded: bytes, rows, columns, the length of a cell, and what an
archive grows to, which is added up before any of it is unpacked.
"""

import contextlib
import csv
import dataclasses
import datetime
import io
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator

from emorec.data.csv_lines import MAX_CELL, Faults
from emorec.errors import UsageError

MAX_FILE_BYTES = 16 << 20
# CHEAVD 2.0 has 7030 clips: its table would be under 1 MiB of XML.
MAX_UNPACKED_BYTES = 64 << 20
MAX_MEMBERS = 4096
MAX_ROWS = 200_000
MAX_COLUMNS = 64

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BOM_16 = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
# zipfile unpacks these piece by piece; of others, one read may be huge.
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        form: How it was read, in words.
        rows: (line or row number in the file from 1, cells stripped of white
            space) of every row that is not blank. Of a text, all rows have
            as many cells as the first, but for empty ones at the end.
    """

    form: str
    rows: tuple[tuple[int, tuple[str, ...]], ...]


def read(path: str, faults: Faults, sheet: str | None = None) -> Table:
    """Reads a table.

    Args:
        path: The file.
        faults: Takes the faults of single rows, whose cells are then left
            out.
        sheet: Of an XLSX, the sheet's name; by default its first one.

    Raises:
        ManifestError: It is no table, or out of bounds.
        UsageError: There is no such sheet.
    """
    if not os.path.isfile(path):
        faults.stop("is not a file; give a CSV, TXT or XLSX of labels")
    try:
        with open(path, "rb") as f:
            data = f.read(MAX_FILE_BYTES + 1)
    except OSError as e:
        faults.stop(f"cannot be read ({e.strerror})")
    if len(data) > MAX_FILE_BYTES:
        faults.stop(f"a label file holds at most {MAX_FILE_BYTES} bytes")
    if data.startswith(_OLE):
        faults.stop(
            "is an old XLS, or has a password; save it as CSV or as XLSX "
            "without one"
        )
    if data.startswith(_ZIP):
        form, rows = _read_xlsx(data, sheet, faults)
    elif sheet is not None:
        raise UsageError(
            f"`sheet` is for XLSX files, and {path} is none. "
            f"Received: {sheet!r}"
        )
    else:
        form, rows = _read_text(path, data, faults)
    kept = tuple(_bounded(rows, faults))
    if not kept:
        faults.stop("has no rows; each is a clip and its label")
    return Table(form, kept)


def _bounded(rows: Iterable, faults: Faults) -> Iterator:
    for count, (line, cells) in enumerate(rows):
        if count >= MAX_ROWS:
            faults.stop(f"more than {MAX_ROWS} rows; split the file")
        if len(cells) > MAX_COLUMNS:
            faults.stop(f"line {line}: more than {MAX_COLUMNS} columns")
        cells = tuple(cell.strip() for cell in cells)
        if any(len(cell) > MAX_CELL for cell in cells):
            faults.stop(
                f"line {line}: has a cell of over {MAX_CELL} characters"
            )
        if any(cells):
            yield line, cells


def _read_text(path: str, data: bytes, faults: Faults):
    """Returns (form, iterator over (line, cells))."""
    if data.startswith(_BOM_16):
        faults.stop("is UTF-16 text; save it in UTF-8")
    if b"\0" in data:
        faults.stop("holds NUL bytes; give a CSV, TXT or XLSX of labels")
    for encoding in ("utf-8-sig", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            break
    else:
        faults.stop("is neither UTF-8 nor GB 18030; save it in UTF-8")
    lines = io.StringIO(text, newline=None)
    first = next((line for line in lines if line.strip()), "")
    lines.seek(0)
    first = re.sub('"[^"]*"', "", first)
    mark = max(_DELIMITERS, key=first.count)
    is_marked = mark in first
    if not is_marked and pathlib.Path(path).suffix.lower() not in (
        ".csv",
        ".tsv",
    ):
        form, rows = "white space", enumerate(map(str.split, lines), 1)
    else:
        form = _DELIMITERS[mark] if is_marked else "one column"
        rows = _parse_csv(lines, mark, faults)
    encoding = encoding.removesuffix("-sig")
    return f"text, {form}, {encoding}", _even(rows, faults)


def _parse_csv(lines, mark: str, faults: Faults) -> Iterator:
    reader = csv.reader(
        lines, delimiter=mark, strict=True, skipinitialspace=mark != "\t"
    )
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as e:
        faults.stop(
            f"line {line}: is not CSV ({e}); look for a double quote that is "
            "not closed, or has text after it"
        )


def _even(rows: Iterable, faults: Faults) -> Iterator:
    """Keeps rows that are as long as the first, empty ends aside."""
    width = 0
    for line, cells in rows:
        if not any(map(str.strip, cells)):
            continue
        width = width or len(cells)
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) == width:
            yield line, cells
        else:
            faults.add(
                line,
                f"{len(cells)} cells where the first line has {width}; a cell "
                "that holds the separator needs double quotes, or use tabs",
            )


def _read_xlsx(data: bytes, sheet: str | None, faults: Faults):
    """Returns (form, iterator over (row number, cells))."""
    import openpyxl

    _check_archive(data, faults)
    try:
        book = openpyxl.load_workbook(
            io.BytesIO(data), read_only=True, data_only=True, keep_links=False
        )
        sheets = {s.title: s for s in book.worksheets}
    # A damaged workbook fails in whatever line of openpyxl meets it first.
    except Exception as e:
        _damaged(e, faults)
    if not sheets:
        faults.stop("has no sheet of cells")
    if sheet is not None and sheet not in sheets:
        raise UsageError(
            f"`sheet` must be one of {', '.join(map(repr, sheets))}. "
            f"Received: {sheet!r}"
        )
    chosen = sheets[sheet] if sheet is not None else book.worksheets[0]
    return f"XLSX, sheet {chosen.title!r}", _sheet_rows(chosen, faults)


def _sheet_rows(sheet, faults: Faults) -> Iterator:
    # What the file says its size is: rows beyond it would be left out.
    sheet.reset_dimensions()
    rows = enumerate(
        sheet.iter_rows(max_col=MAX_COLUMNS + 1, values_only=True), 1
    )
    while True:
        try:
            line, values = next(rows, (0, None))
        except Exception as e:
            _damaged(e, faults)
        if values is None:
            return
        # A quick look: a row's number may stand a million rows further on.
        if values.count(None) < len(values):
            cells = [_cell_text(value) for value in values]
            while cells and not cells[-1]:
                cells.pop()
            yield line, cells
        elif line > MAX_ROWS:
            faults.stop(f"more than {MAX_ROWS} rows; split the file")


def _cell_text(value) -> str:
    """Writes a cell's value as a CSV would show it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.timedelta):
        return _cell_text(value.total_seconds())
    return str(value)


def _check_archive(data: bytes, faults: Faults):
    """Refuses an archive that grows too large, or whose XML has a DTD."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            total = sum(m.file_size for m in members)
            if total > MAX_UNPACKED_BYTES or len(members) > MAX_MEMBERS:
                faults.stop(
                    f"unpacks to {total} bytes in {len(members)} parts; at "
                    f"most {MAX_UNPACKED_BYTES} and {MAX_MEMBERS} are read; "
                    "save it as CSV"
                )
            if any(m.compress_type not in _BOUNDED for m in members):
                faults.stop("is packed in a way that no XLSX is; save it anew")
            for member in members:
                # A zero byte between letters is UTF-16.
                part = archive.read(member).replace(b"\0", b"")
                if b"<!DOCTYPE" in part or b"<!ENTITY" in part:
                    faults.stop(
                        f"its part {member.filename[:80]!r} defines XML "
                        "entities, which no XLSX needs; save it as CSV"
                    )
    except (
        EOFError,
        NotImplementedError,
        OSError,
        RuntimeError,  # A member with a password.
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as e:
        _damaged(e, faults)


def _damaged(error: Exception, faults: Faults):
    what = " ".join(f"{type(error).__name__}: {error}".split())
    faults.stop(
        f"cannot be read as XLSX ({what[:200]}); save it anew, or as CSV"
    )
