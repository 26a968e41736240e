"""The manifest: a CSV that says which video shows what, and for which split.

    video,label,split,start,end,identity,source
    clips/001.mp4,happy,train,,,anna,cheavd
    film.mkv,sad,validation,61.5,64.0,bert,films

`video` and, but for unlabelled rows, `label` are needed. `video` is relative
to the CSV's folder, or absolute. `start` and `end` are seconds from the
video's start (default: all of it). `identity` names the person, `source` the
data set. UTF-8, commas, no line breaks within a cell; blank lines are skipped,
header names are read without regard to case. Where sources are mixed, no two
people may share an `identity`.

**Splits** are train, validation and test, and `unlabelled` for rows to predict
(`SPLIT_NAMES` lists the other spellings). Cells that are empty, or a column
that is absent, are drawn: people and videos stay whole, the draw follows from
`seed` and the data alone, whatever the order of the rows.

**Leakage** is refused: one identity, or one video by content (SHA-256, so a
copy under another name counts), in two of train, validation and test.
Unlabelled rows are measured by nobody and cannot leak.

Every fault of the file is told at once, with its lines.
"""

import concurrent.futures
import csv
import dataclasses
import difflib
import hashlib
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from emorec import labels as label_sets
from emorec.config import short_hash
from emorec.errors import LabelError, ManifestError, UsageError

REQUIRED = ("video", "label")
COLUMNS = (*REQUIRED, "split", "start", "end", "identity", "source")
DRAWN = ("train", "validation", "test")
UNLABELLED = "unlabelled"
SPLITS = (*DRAWN, UNLABELLED)
# What a `split` cell may say, in any case.
SPLIT_NAMES = {
    **{s: s for s in SPLITS},
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "development": "validation",
    "testing": "test",
    "unlabeled": UNLABELLED,
    "predict": UNLABELLED,
}

MAX_FILE_BYTES = 1 << 30
MAX_ROWS = 2_000_000
MAX_CELL = 4096  # Characters; Linux's longest path.
MAX_LINE_BYTES = 1 << 16
MAX_FAULTS = 50
_MAX_NAMED_LINES = 6
_HASH_THREADS = 4
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CONTROL = re.compile(r"[\x01-\x08\x0b-\x1f\x7f]")  # A tab may pass.
_EMPTY_SHA256 = hashlib.sha256().hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of a manifest.

    Attributes:
        id: Unique in the manifest and equal wherever the row stands in it:
            the video's base name and a hash of `video`, `start` and `end`.
            Only letters, digits, `_`, `-` and `.`.
        line: Line in the CSV, from 1.
        video: The video as written.
        path: The video's absolute path.
        label: Name in the manifest's label set; None for unlabelled rows.
        split: One of `SPLITS`.
        start: Seconds from the video's start, at least 0.
        end: Seconds, more than `start`; None for the video's end.
        identity: Who is seen; None where the CSV does not say.
        source: Which data set; "" where the CSV does not say.
    """

    id: str
    line: int
    video: str
    path: str
    label: str | None
    split: str
    start: float
    end: float | None
    identity: str | None
    source: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A manifest without faults.

    Attributes:
        path: The CSV's absolute path.
        rows: In the order of the CSV.
        labels: The label set.
        drawn_split: Whether any row's split was drawn.
        sha256: Content hash, 64 hex digits, of each `Row.path`; empty where
            the videos were not checked.
        fingerprint: See `fingerprint`.
    """

    path: str
    rows: tuple[Row, ...]
    labels: label_sets.LabelSet
    drawn_split: bool
    sha256: Mapping[str, str]
    fingerprint: str

    def split(self, name: str) -> tuple[Row, ...]:
        """Returns the rows of one of `SPLITS`."""
        return tuple(row for row in self.rows if row.split == name)


def read(
    path: str,
    labels_spec: str = "mec2017",
    *,
    seed: int = 0,
    split_shares: Sequence[float] = (0.7, 0.15, 0.15),
    check_videos: bool = True,
) -> Manifest:
    """Reads and checks a manifest.

    Args:
        path: The CSV.
        labels_spec: A `--labels` value, see `emorec.labels.resolve`.
        seed: Picks one of the possible drawn splits.
        split_shares: Shares of rows for train, validation and test, of sum 1.
        check_videos: Read every video once, to find missing files and copies.
            Without it, two names are two videos, for the draw as well.

    Raises:
        ManifestError: The CSV has faults; all are listed.
        LabelError: `labels_spec` names no label set.
        UsageError: `split_shares` are not shares.
    """
    _check_shares(split_shares)
    path = os.path.abspath(path)
    faults = _Faults(path)
    label_set = None
    if labels_spec != label_sets.AUTO:
        label_set = label_sets.resolve(labels_spec)
    try:
        rows = _read_rows(path, label_set, faults)
    except OSError as e:
        raise ManifestError(f"{path}: cannot be read ({e.strerror})") from e
    if label_set is None:
        label_set = _found_labels(rows, faults)
    _check_repeats(rows, faults)
    sha256 = _hash_videos(rows, faults) if check_videos else {}
    drawn = any(not row.split for row in rows)
    keys = [_leak_keys(row, os.path.dirname(path), sha256) for row in rows]
    if drawn:
        rows = _draw(rows, keys, seed, split_shares)
    _check_leaks(rows, keys, faults)
    faults.raise_if_any()
    return Manifest(
        path=path,
        rows=tuple(rows),
        labels=label_set,
        drawn_split=drawn,
        sha256=sha256,
        fingerprint=fingerprint(rows, sha256),
    )


def fingerprint(rows: Sequence[Row], sha256: Mapping[str, str]) -> str:
    """Returns 16 hex digits that name the data, in any order of its rows.

    They change with every field but `line` and `path`, and with the content
    of a video where `sha256` holds it.
    """
    names = [f.name for f in dataclasses.fields(Row)]
    names = [name for name in names if name not in ("line", "path")]
    return short_hash(
        sorted(
            short_hash(
                [sha256.get(row.path, ""), *(getattr(row, n) for n in names)]
            )
            for row in rows
        )
    )


class _Faults:
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
            f"  {_line_list(lines)}: {text}"
            for text, lines in entries[:MAX_FAULTS]
        ]
        if len(entries) > MAX_FAULTS:
            told.append(f"  and {len(entries) - MAX_FAULTS} more")
        raise ManifestError("\n".join(told))


def _line_list(lines: Sequence[int]) -> str:
    lines = sorted(set(lines))
    named = ", ".join(map(str, lines[:_MAX_NAMED_LINES]))
    more = len(lines) - _MAX_NAMED_LINES
    return (
        f"line{'s' * (len(lines) > 1)} {named}"
        f"{f' and {more} more' if more > 0 else ''}"
    )


def _read_rows(path: str, label_set, faults: _Faults) -> list[Row]:
    """Returns every row that has a usable `video`, faulty ones included."""
    if not os.path.isfile(path):
        faults.stop("is not a file; give the path of a CSV")
    if os.path.getsize(path) > MAX_FILE_BYTES:
        faults.stop(f"a manifest holds at most {MAX_FILE_BYTES} bytes")
    folder = os.path.dirname(path)
    header, rows, count = None, [], 0
    for line, cells in _cells(path, faults):
        if header is None:
            faults.raise_if_any()  # This line is no header: the last one was.
            header = _header(line, cells, faults)
            continue
        count += 1
        if count > MAX_ROWS:
            faults.stop(f"more than {MAX_ROWS} rows; split the manifest")
        if len(cells) != len(header):
            faults.add(
                line,
                f"{len(cells)} cells where the header has {len(header)} "
                "columns; a cell that holds a comma needs double quotes",
            )
        else:
            values = dict(zip(header, cells))
            row = _row(line, values, folder, label_set, faults)
            rows += [row] if row else []
    if not count and not faults:
        faults.stop(
            "has no rows; the first line names columns such as "
            f"{','.join(COLUMNS[:3])}, each further line is a clip"
        )
    return rows


def _cells(path: str, faults: _Faults) -> Iterator[tuple[int, list[str]]]:
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


def _parse_line(line: int, raw: bytes, faults: _Faults) -> list[str]:
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


def _header(line: int, cells: list[str], faults: _Faults) -> list[str]:
    names = [cell.lower() for cell in cells]
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            faults.stop(f"has {word} between its columns; save it with commas")
    for i, name in enumerate(names):
        if not name:
            faults.add(line, f"column {i + 1} has no name")
        elif name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            faults.add(
                line,
                f"unknown column {name[:80]!r}; there are {', '.join(COLUMNS)}"
                + (f"; did you mean {near[0]!r}?" if near else ""),
            )
    for name in REQUIRED:
        if name not in names:
            faults.add(line, f"column {name!r} is missing")
    for name, times in Counter(names).items():
        if name and times > 1:
            faults.add(line, f"column {name!r} is there {times} times")
    return names


def _row(line, values, folder, label_set, faults) -> Row | None:
    """Checks one row; returns it, even faulty, if it names a video.

    `split` is "" where it is to be drawn and "?" where it is unknown.
    """
    path = _resolve(line, values.get("video"), folder, faults)
    written = values.get("split", "")
    split = SPLIT_NAMES.get(written.lower(), "?" if written else "")
    if split == "?":
        faults.add(
            line,
            f"unknown split {written[:80]!r}; there are {', '.join(SPLITS)}",
        )
    label = _label(line, values.get("label"), split, label_set, faults)
    start = _seconds(line, "start", values.get("start"), faults) or 0.0
    end = _seconds(line, "end", values.get("end"), faults)
    if end is not None and end <= start:
        faults.add(
            line,
            f"`end` must be after `start`. Received: {start:g} to {end:g}",
        )
    if path is None:
        return None
    return Row(
        id=_row_id(values["video"], start, end),
        line=line,
        video=values["video"],
        path=path,
        label=label,
        split=split,
        start=start,
        end=end,
        identity=values.get("identity") or None,
        source=values.get("source", ""),
    )


def _row_id(video: str, start: float, end: float | None) -> str:
    stem = os.path.splitext(os.path.basename(video))[0]
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:40].strip("-.")
    return f"{stem or 'video'}-{short_hash([video, start, end])}"


def _resolve(line, video, folder, faults) -> str | None:
    """Returns the absolute path of `video`, or None after a fault.

    `video` is None where the CSV lacks the column, a fault told already.
    """
    if video is None:
        return None
    if not video:
        faults.add(line, "names no video")
        return None
    relative = os.path.normpath(video)
    if not os.path.isabs(video) and relative.split(os.sep)[0] == os.pardir:
        faults.add(
            line,
            f"video {video[:200]!r} leaves the manifest's folder; write its "
            "absolute path",
        )
        return None
    return os.path.normpath(os.path.join(folder, video))


def _label(line, label, split, label_set, faults) -> str | None:
    """Returns a label that the set holds, or None; for `auto`, any name."""
    if label is None:
        return None
    if not label:
        if split not in (UNLABELLED, "?"):
            faults.add(
                line,
                "has no label; give one, or write split "
                f"{UNLABELLED} for a clip to predict",
            )
        return None
    try:
        if label_set is None:
            label_sets.LabelSet(label_sets.AUTO, (label,))
        else:
            label_set.id_of(label)
    except LabelError as e:
        names = label_set.names if label_set else ()
        near = difflib.get_close_matches(label.lower(), names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        faults.add(line, f"{e}{hint}")
        return None
    return label


def _found_labels(rows, faults) -> label_sets.LabelSet | None:
    found = {row.label for row in rows if row.label}
    if not found and faults:
        return None
    try:
        return label_sets.resolve(label_sets.AUTO, found)
    except LabelError as e:
        faults.add(1, str(e))
        return None


def _seconds(line, name, text, faults) -> float | None:
    if not text:
        return None
    if _NUMBER.fullmatch(text) and 0 <= float(text) < math.inf:
        return float(text)
    faults.add(
        line,
        f"`{name}` must be seconds, a finite number from 0. "
        f"Received: {text[:80]!r}",
    )
    return None


def _check_repeats(rows: Sequence[Row], faults: _Faults):
    first: dict[tuple, int] = {}
    for row in rows:
        line = first.setdefault((row.path, row.start, row.end), row.line)
        if line != row.line:
            faults.add(
                row.line,
                f"repeats line {line}: the same video, start and end",
            )


def _hash_videos(rows: Sequence[Row], faults: _Faults) -> dict[str, str]:
    """Returns path -> SHA-256 of the files that can be read, each read once."""
    lines = defaultdict(list)
    for row in rows:
        lines[row.path].append(row)
    sha256 = {}
    with concurrent.futures.ThreadPoolExecutor(_HASH_THREADS) as pool:
        for path, result in zip(lines, pool.map(_hash_file, lines)):
            if not isinstance(result, str):
                for row in lines[path]:
                    faults.add(
                        row.line,
                        f"video {row.video[:200]!r} cannot be read "
                        f"({result.strerror}): {path[:400]!r}",
                    )
            else:
                sha256[path] = result
    return sha256


def _hash_file(path: str) -> str | OSError:
    try:
        # Opening a pipe or a device could block for ever.
        if os.path.exists(path) and not os.path.isfile(path):
            return OSError(0, "it is not a file")
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        return e


def _leak_keys(row: Row, folder: str, sha256: Mapping[str, str]) -> list:
    """Returns (kind, value) pairs that two splits must not share.

    No machine's path is among them, so a draw is the same everywhere. Empty
    files are not copies of one video: `prepare` reports each of them.
    """
    digest = sha256.get(row.path, _EMPTY_SHA256)
    if digest == _EMPTY_SHA256:
        keys = [("video", os.path.relpath(row.path, folder))]
    else:
        keys = [("video content", digest)]
    return [("identity", row.identity), *keys] if row.identity else keys


def _draw(rows, keys, seed, shares) -> list[Row]:
    """Returns the rows with every empty split drawn.

    A group is what shares an identity or a video, directly or through other
    rows. Large groups come first (by powers of two, then in hashed order) and
    each goes to the split that lacks most rows. The last groups go to splits
    that are still empty.
    """
    groups = _groups(rows, keys)
    have = Counter(row.split for row in rows if row.split in DRAWN)
    total = sum(len(members) for members in groups.values())
    target = {s: share * total for s, share in zip(DRAWN, shares) if share}
    splits, free = {}, []
    for key, members in groups.items():
        fixed = [rows[i].split for i in members if rows[i].split]
        splits[key] = fixed[0] if fixed else ""
        if not fixed:
            order = short_hash([seed, *key])
            free.append((-len(members).bit_length(), order, key))
    for i, (_, _, key) in enumerate(sorted(free)):
        empty = [s for s in target if not have[s]]
        choice = empty if len(free) - i <= len(empty) else target
        split = max(choice, key=lambda s: target[s] - have[s])
        splits[key] = split
        have[split] += len(groups[key])
    drawn = list(rows)
    for key, members in groups.items():
        for i in members:
            if not rows[i].split:
                drawn[i] = dataclasses.replace(rows[i], split=splits[key])
    return drawn


def _groups(rows, keys) -> dict[tuple, list[int]]:
    """Returns smallest key -> indices of the rows that hang together."""
    parent = {}

    def root(key):
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    members = [i for i, row in enumerate(rows) if row.split != UNLABELLED]
    for i in members:
        ends = sorted(root(key) for key in keys[i])
        for end in ends:
            parent[end] = ends[0]
    groups = defaultdict(list)
    for i in members:
        groups[root(keys[i][0])].append(i)
    return dict(groups)


def _check_leaks(rows, keys, faults: _Faults):
    measured = [(r, k) for r, k in zip(rows, keys) if r.split in DRAWN]
    seen = {}
    leaking = {
        key: defaultdict(list)
        for row, row_keys in measured
        for key in row_keys
        if seen.setdefault(key, row.split) != row.split
    }
    for row, row_keys in measured:
        for key in leaking.keys() & row_keys:
            leaking[key][row.split].append(row)
    for (kind, value), by_split in leaking.items():
        told = " and ".join(
            f"{split} ({_line_list([row.line for row in members])})"
            for split, members in by_split.items()
        )
        members = [row for group in by_split.values() for row in group]
        if kind == "identity":
            what = f"identity {value[:80]!r}"
        else:
            names = dict.fromkeys(repr(row.video[:80]) for row in members)
            what = f"one video, {' = '.join(list(names)[:4])},"
        faults.add(
            min(row.line for row in members),
            f"{what} is in {told}; keep it in one split",
        )


def _check_shares(shares: Sequence[float]):
    if (
        len(shares) != len(DRAWN)
        or not all(0 <= s <= 1 for s in shares)
        or not shares[0]
        or abs(sum(shares) - 1) > 1e-6
    ):
        raise UsageError(
            "`split_shares` must be shares of train (not 0), validation and "
            f"test that sum to 1. Received: {tuple(shares)}"
        )
