"""CHEAVD 2.0, the data of MEC 2017, to a manifest.

The data set is licensed and did not come with this software, so its layout is
ASSUMED, not known:

  * one folder of clips for each of train, validation and test (subfolders are
    searched as well, linked folders are not);
  * one label file for each: CSV, TXT or XLSX, a row a clip, with a column of
    file names and a column of labels, in any order, beside any other columns;
  * the labels are the eight of MEC 2017, in English (`labels.match`) or Chinese
    (`NAMES`); test clips may have none, and are then written as unlabelled.

So three calls with `append` make one manifest of the three splits. Start and
end columns cut clips out of longer videos; they and the identity are read
only from columns that the caller names, as another tool's "start" may mean
something else.

File names match whatever their case, with or without the ending, and with as
many of the folders above them as are written. No video is opened. Every fault
of the label file is told at once, with its lines.
"""

import dataclasses
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from emorec import labels as label_sets
from emorec.data import label_columns, label_tables, manifest_file, splits
from emorec.data.csv_lines import Faults, line_list
from emorec.data.label_columns import Columns
from emorec.data.video_folder import VideoFolder
from emorec.errors import EmorecError, UsageError

# Chinese names of the eight labels. Words that could be two of them (such as
# the one for being uneasy) are left out on purpose.
NAMES = {
    "happy": "高兴 快乐 开心 喜悦 愉快 高興 快樂 開心",
    "sad": "悲伤 伤心 难过 悲哀 悲傷 傷心 難過",
    "angry": "愤怒 生气 气愤 发怒 憤怒 生氣",
    "surprise": "惊讶 惊奇 吃惊 诧异 驚訝 驚奇",
    "disgust": "厌恶 恶心 反感 厭惡 噁心",
    "worried": "担心 担忧 擔心 擔憂",
    "anxious": "焦虑 焦急 焦慮",
    "neutral": "中性 平静 中立 平靜",
}
_MAX_TOLD = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECONDS = re.compile(r"[0-9]{1,7}(\.[0-9]*)?|\.[0-9]+")
_CLOCK = re.compile(r"([0-9]{1,3}):([0-5]?[0-9]):([0-5]?[0-9](\.[0-9]*)?)")
_CHINESE = {
    name: label for label, names in NAMES.items() for name in names.split()
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Clip:
    """A row of the label file; "" and None are what it does not say."""

    line: int
    path: str
    label: str
    split: str
    start: float | None
    end: float | None
    identity: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """What an import did.

    Attributes:
        form: How the label file was read.
        added: Rows added.
        total: Rows that the manifest now has.
        counts: (label or "", split or "") -> rows, over the whole manifest.
        unused_columns: Header names that nothing was taken from.
        unused_videos: How many videos of the folder no row names.
    """

    form: str
    added: int
    total: int
    counts: Mapping[tuple[str, str], int]
    unused_columns: tuple[str, ...]
    unused_videos: int


def label_of(text: str) -> str | None:
    """Returns one of `labels.MEC2017` for a name in English or Chinese."""
    name = unicodedata.normalize("NFKC", text).strip()
    label = _CHINESE.get(name, name)
    (place,) = label_sets.match([label], label_sets.MEC2017)
    return None if place is None else label_sets.MEC2017[place]


def import_clips(
    videos: str,
    label_file: str,
    output: str,
    *,
    columns: Columns | None = None,
    split: str | None = None,
    source: str = "cheavd2",
    sheet: str | None = None,
    append: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Writes the clips of a folder and its label file as a manifest.

    Args:
        videos: The folder of the clips.
        label_file: CSV, TXT or XLSX, see `label_tables`.
        output: The manifest CSV. Videos beneath its folder are written
            relative to it, others with their absolute path.
        columns: The label file's columns; None finds them by their names.
        split: One of `splits.SPLITS`; None leaves the draw to `prepare`.
        source: The data set's name: letters, digits, `_`, `-` and `.`.
        sheet: Of an XLSX; by default the first one.
        append: Add to `output` if it is there; none of its clips may repeat.
        overwrite: Replace `output` if it is there.

    Raises:
        ManifestError: The label file or the manifest has faults; all are told.
        UsageError: An argument is wrong, or no column holds the files or the
            labels.
        EmorecError: The videos or the output cannot be reached.
    """
    _check_arguments(label_file, output, split, source, append, overwrite)
    output = os.path.abspath(output)
    faults = Faults(label_file)
    table = label_tables.read(label_file, faults, sheet)
    has_header, places = label_columns.find(table, columns or Columns(), split)
    found = VideoFolder(videos)
    clips = _Reader(found, places, split, faults).read(table.rows[has_header:])
    if not clips and not faults:
        faults.stop("has a header and no rows")
    old = []
    if append and os.path.exists(output):
        old = manifest_file.load(output)
    _check_repeats(clips, old, output, faults)
    faults.raise_if_any()
    rows = [cells for _, cells in old]
    rows += [_cells(clip, output, source) for clip in clips]
    manifest_file.write(output, rows)
    header = enumerate(table.rows[0][1] if has_header else ())
    return Summary(
        form=table.form,
        added=len(clips),
        total=len(rows),
        counts=Counter(map(_label_and_split, rows)),
        unused_columns=tuple(
            name for i, name in header if name and i not in places.values()
        ),
        unused_videos=len(found) - len({clip.path for clip in clips}),
    )


def _label_and_split(cells: Mapping[str, str]) -> tuple[str, str]:
    split = cells.get("split", "").lower()
    return cells.get("label", ""), splits.NAMES.get(split, "")


def _check_arguments(label_file, output, split, source, append, overwrite):
    if split is not None and split not in splits.SPLITS:
        raise UsageError(
            f"`split` must be one of {', '.join(splits.SPLITS)}. "
            f"Received: {split!r}"
        )
    if not re.fullmatch(r"[\w.-]{1,64}", source):
        raise UsageError(
            "`source` must be 1 to 64 letters, digits, '_', '-' or '.'. "
            f"Received: {source!r}"
        )
    if append and overwrite:
        raise UsageError("give `append` or `overwrite`, not both")
    if not os.path.lexists(output):
        return
    if os.path.islink(output) or not os.path.isfile(output):
        raise EmorecError(
            f"{output}: is not a plain file, which alone are written; choose "
            "another"
        )
    if os.path.exists(label_file) and os.path.samefile(output, label_file):
        raise UsageError(
            f"the manifest must not replace the label file. Received: {output}"
        )
    if not append and not overwrite:
        raise EmorecError(
            f"{output}: is there already; `append` to it, `overwrite` it, "
            "or choose another"
        )


class _Reader:
    """Checks the rows of one label file and names their videos."""

    def __init__(self, videos: VideoFolder, places, split, faults: Faults):
        self._videos = videos
        self._places = places
        self._split = split
        self._faults = faults
        self._unknown = {}

    def read(self, rows) -> list[_Clip]:
        """Returns the rows without faults; the others' faults are added."""
        clips = [self._clip(line, cells) for line, cells in rows]
        if self._unknown:
            self._tell_unknown()
        return [clip for clip in clips if clip]

    def _clip(self, line, cells) -> _Clip | None:
        values = {
            field: cells[i] if i < len(cells) else ""
            for field, i in self._places.items()
        }
        for value in values.values():
            if _CONTROL.search(value):
                self._faults.add(
                    line, f"has a control character in {value[:80]!r}"
                )
                return None
        path = self._path(line, values["file"])
        label, split = self._label(line, values.get("label", ""))
        times = self._times(line, values)
        if path is None or times is None:
            return None
        return _Clip(
            line, path, label, split, *times, values.get("identity", "")
        )

    def _path(self, line, written) -> str | None:
        if not written:
            self._faults.add(line, "names no video")
            return None
        try:
            return self._videos.find(written)
        except LookupError as e:
            self._faults.add(line, str(e))
            return None

    def _label(self, line, written) -> tuple[str, str]:
        """Returns (label, split), each "" where there is none."""
        label = label_of(written) or ""
        if written and not label:
            self._unknown.setdefault(written, []).append(line)
        if written or self._split == splits.UNLABELLED:
            return label, self._split or ""
        if self._split != "test":
            self._faults.add(
                line,
                "has no label; give one, or import clips to predict with "
                f"split {splits.UNLABELLED}",
            )
        return "", splits.UNLABELLED

    def _tell_unknown(self):
        told = [
            f"{name[:40]!r} ({line_list(lines)})"
            for name, lines in self._unknown.items()
        ]
        more = len(told) - _MAX_TOLD
        self._faults.add(
            next(iter(self._unknown.values()))[0],
            f"unknown label{'s' * (len(told) > 1)} "
            f"{', '.join(told[:_MAX_TOLD])}"
            f"{f' and {more} more' if more > 0 else ''}; there are "
            f"{', '.join(label_sets.MEC2017)}, and their names in Chinese",
        )

    def _times(self, line, values) -> tuple | None:
        """Returns start and end, each None if not given; None if faulty."""
        try:
            start, end = (
                _seconds(field, values.get(field, ""))
                for field in ("start", "end")
            )
            if end is not None and end <= (start or 0):
                raise ValueError(
                    "`end` must be after `start`. Received: "
                    f"{start or 0:g} to {end:g}"
                )
        except ValueError as e:
            self._faults.add(line, str(e))
            return None
        return start, end


def _seconds(field: str, text: str) -> float | None:
    """Reads seconds or hh:mm:ss, to the microsecond."""
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return round(float(text), 6)
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = map(float, clock.groups()[:3])
        return round(3600 * hours + 60 * minutes + seconds, 6)
    raise ValueError(
        f"`{field}` must be seconds from 0, or hh:mm:ss. "
        f"Received: {text[:80]!r}"
    )


def _check_repeats(clips, old, output, faults: Faults):
    """Refuses a clip that is there already, or part of which is.

    Parts of one video may stand beside each other, but none beside the whole.
    """
    seen = {}
    for row, _ in old:
        key = os.path.realpath(row.path)
        part = (row.start, row.end)
        seen.setdefault(key, {})[part] = f"line {row.line} of {output}"
    for clip in clips:
        parts = seen.setdefault(os.path.realpath(clip.path), {})
        part, whole = (clip.start or 0.0, clip.end), (0.0, None)
        first = parts.get(part) or parts.get(whole)
        if part == whole and parts:
            first = next(iter(parts.values()))
        if first:
            faults.add(
                clip.line,
                f"video {os.path.basename(clip.path)[:200]!r} is in {first} "
                "already; a video stands once, or in parts of their own start "
                "and end",
            )
        parts.setdefault(part, f"line {clip.line}")


def _cells(clip: _Clip, output: str, source: str) -> dict[str, str]:
    folder = os.path.dirname(output)
    path = os.path.relpath(clip.path, folder)
    # A cell's outer white space would not come back.
    is_beneath = path.split(os.sep)[0] != os.pardir and path == path.strip()
    return {
        "video": path if is_beneath else clip.path,
        "label": clip.label,
        "split": clip.split,
        "start": _number(clip.start),
        "end": _number(clip.end),
        "identity": clip.identity,
        "source": source,
    }


def _number(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
