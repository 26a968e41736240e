"""The manifest: a CSV that says which video shows what, and for which split.

    video,label,split,start,end,identity,source
    clips/001.mp4,happy,train,,,anna,cheavd
    film.mkv,sad,validation,61.5,64.0,bert,films

`video` and, but for unlabelled rows, `label` are needed. `video` is relative
to the CSV's folder, absolute, or remote as the CSV may be (`s3://`). `start`
and `end` are seconds from the video's start (default: all of it). `identity`
names the person, `source` the data set. UTF-8, commas, no line breaks within a
cell; blank lines are skipped, header names are read without regard to case.
Where sources are mixed, no two people may share an `identity`.

**Splits** are train, validation and test, and `unlabelled` for rows to predict
(`splits.NAMES` lists the other spellings). Cells that are empty, or a column
that is absent, are drawn: people and videos stay whole, the draw follows from
`seed` and the data alone, whatever the order of the rows.

**Leakage** is refused: one identity, or one video by content (SHA-256, so a
copy under another name counts), in two of train, validation and test.
Unlabelled rows are measured by nobody and cannot leak.

Every fault of the file is told at once, with its lines.
"""

import dataclasses
import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from emorec import labels as label_sets
from emorec.config import short_hash
from emorec.data import files, remote, splits, video_hashes
from emorec.data.csv_lines import Faults, read_cells
from emorec.errors import LabelError, ManifestError

REQUIRED = ("video", "label")
COLUMNS = (*REQUIRED, "split", "start", "end", "identity", "source")
MAX_FILE_BYTES = 1 << 30
MAX_ROWS = 2_000_000
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of a manifest.

    Attributes:
        id: Unique in the manifest and equal wherever the row stands in it:
            the video's base name and a hash of `video`, `start` and `end`.
            Only letters, digits, `_`, `-` and `.`.
        line: Line in the CSV, from 1.
        video: The video as written.
        path: The video's absolute path; may be remote.
        label: Name in the manifest's label set; None for unlabelled rows.
        split: One of `splits.SPLITS`.
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
        path: The CSV's absolute path; may be remote.
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
        """Returns the rows of one of `splits.SPLITS`."""
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
        path: The CSV; may be remote.
        labels_spec: A `--labels` value, see `emorec.labels.resolve`.
        seed: Picks one of the possible drawn splits.
        split_shares: Shares of rows for train, validation and test, of sum 1.
        check_videos: Read every video once, to find missing files and copies.
            Without it, two names are two videos, for the draw as well.

    Raises:
        ManifestError: The CSV has faults; all are listed.
        EmorecError: It is remote and its storage fails.
        LabelError: `labels_spec` names no label set.
        UsageError: `split_shares` are not shares.
    """
    splits.check_shares(split_shares)
    path = str(path) if files.is_remote(path) else os.path.abspath(path)
    faults = Faults(path)
    label_set = None
    if labels_spec != label_sets.AUTO:
        label_set = label_sets.resolve(labels_spec)
    try:
        _check_size(path, faults)
        with files.local_copy(path) as local:
            rows = _read_rows(local, path, label_set, faults)
    except OSError as e:
        raise ManifestError(f"{path}: cannot be read ({e.strerror})") from e
    if label_set is None:
        label_set = _found_labels(rows, faults)
    _check_repeats(rows, faults)
    sha256 = video_hashes.of_rows(rows, faults) if check_videos else {}
    drawn = any(not row.split for row in rows)
    keys = [splits.leak_keys(row, files.parent(path), sha256) for row in rows]
    if drawn:
        rows = splits.draw(rows, keys, seed, split_shares)
    splits.check_leaks(rows, keys, faults)
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


def _check_size(path, faults):
    """Refuses what is no file, or too large, before it is read or copied."""
    if files.is_remote(path):
        if not files.exists(path):
            faults.stop(f"{remote.ABSENT}; give the path of a CSV")
    elif not os.path.isfile(path):
        faults.stop("is not a file; give the path of a CSV")
    if files.stat(path)[0] > MAX_FILE_BYTES:
        faults.stop(f"a manifest holds at most {MAX_FILE_BYTES} bytes")


def _read_rows(local, path: str, label_set, faults: Faults) -> list[Row]:
    """Returns every row that has a usable `video`, faulty ones included."""
    folder = files.parent(path)
    header, rows, count = None, [], 0
    for line, cells in read_cells(local, faults):
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


def _header(line: int, cells: list[str], faults: Faults) -> list[str]:
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
    split = splits.NAMES.get(written.lower(), "?" if written else "")
    if split == "?":
        faults.add(
            line,
            f"unknown split {written[:80]!r}; there are "
            f"{', '.join(splits.SPLITS)}",
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
    if files.is_remote(video):
        return video
    relative = os.path.normpath(video)
    if not os.path.isabs(video) and relative.split(os.sep)[0] == os.pardir:
        faults.add(
            line,
            f"video {video[:200]!r} leaves the manifest's folder; write its "
            "absolute path",
        )
        return None
    if os.path.isabs(video):
        return relative
    path = files.join(folder, relative)
    return path if files.is_remote(path) else os.path.normpath(path)


def _label(line, label, split, label_set, faults) -> str | None:
    """Returns a label that the set holds, or None; for `auto`, any name."""
    if label is None:
        return None
    if not label:
        if split not in (splits.UNLABELLED, "?"):
            faults.add(
                line,
                "has no label; give one, or write split "
                f"{splits.UNLABELLED} for a clip to predict",
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


def _check_repeats(rows: Sequence[Row], faults: Faults):
    first: dict[tuple, int] = {}
    for row in rows:
        line = first.setdefault((row.path, row.start, row.end), row.line)
        if line != row.line:
            faults.add(
                row.line,
                f"repeats line {line}: the same video, start and end",
            )
