"""Lines of a CSV from outside, with every fault told at once, by line.

Each line is parsed alone and within bounds, so that one bad line costs only
itself.
"""

import csv
import re
from collections.abc import Iterator, Sequence

from emorec.errors import ManifestError

MAX_CELL = 4096  # Characters; Linux's longest path.
MAX_LINE_BYTES = 1 << 16
MAX_FAULTS = 50
_MAX_NAMED_LINES = 6
_CONTROL = re.compile(r"[\x01-\x08\x0b-\x1f\x7f]")  # A tab may pass.


class Faults:
    """Collects faults; equal ones of several lines become one entry."""

    def __init__(self, path: str):
        self._path = path
        self._lines: dict[str, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: int, text: str):
        self._lines.setdefault(text, []).append(line)

    def stop(self, text: str):
        """Raises the one fault that leaves nothing else to look at."""
        raise ManifestError(f"{self._path}: {text}")

    def raise_if_any(self):
        if not self:
            return
        entries = sorted(self._lines.items(), key=lambda item: item[1][0])
        count = sum(len(lines) for lines in self._lines.values())
        told = [f"{self._path}: {count} fault{'s' * (count > 1)}"]
        told += [
            f"  {line_list(lines)}: {text}"
            for text, lines in entries[:MAX_FAULTS]
        ]
        if len(entries) > MAX_FAULTS:
            told.append(f"  and {len(entries) - MAX_FAULTS} more")
        raise ManifestError("\n".join(told))


def line_list(lines: Sequence[int]) -> str:
    lines = sorted(set(lines))
    named = ", ".join(map(str, lines[:_MAX_NAMED_LINES]))
    more = len(lines) - _MAX_NAMED_LINES
    return (
        f"line{'s' * (len(lines) > 1)} {named}"
        f"{f' and {more} more' if more > 0 else ''}"
    )


def read_cells(path: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, stripped cells) of the lines that can be parsed.

    Each line is parsed on its own: a quote that is never closed is then a
    fault of its line and does not swallow the rest of the file.
    """
    with open(path, "rb") as f:
        line, skipping = 0, False
        while raw := f.readline(MAX_LINE_BYTES):
            whole = raw.endswith(b"\n") or len(raw) < MAX_LINE_BYTES
            line += not skipping
            if not skipping and not whole:
                faults.add(line, f"longer than {MAX_LINE_BYTES} bytes")
            elif not skipping:
                cells = _parse_line(line, raw, faults)
                if any(cells):
                    yield line, cells
            skipping = not whole


def _parse_line(line: int, raw: bytes, faults: Faults) -> list[str]:
    if line == 1:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            faults.stop("is UTF-16 text; save it as CSV in UTF-8")
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in raw:
        faults.add(line, "holds a NUL byte; a manifest is UTF-8 text")
        return []
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
        if "\r" in text:
            faults.add(line, "has a bare CR; save it with LF or CRLF line ends")
            return []
        cells = next(csv.reader([text], strict=True, skipinitialspace=True), [])
    except UnicodeDecodeError as e:
        faults.add(line, f"is not UTF-8 ({e.reason} at byte {e.start + 1})")
        return []
    except csv.Error as e:
        faults.add(
            line,
            f"is not CSV ({e}); a line break within a cell is not allowed, "
            "nor is text after a closing quote",
        )
        return []
    cells = [cell.strip() for cell in cells]
    for cell in cells:
        if len(cell) > MAX_CELL:
            faults.add(line, f"has a cell of over {MAX_CELL} characters")
            return []
        if _CONTROL.search(cell):
            faults.add(line, f"has a control character in {cell[:80]!r}")
            return []
    return cells
