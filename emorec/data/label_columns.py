"""Which column of a table from outside says what."""

import dataclasses
import re
import unicodedata

from emorec.data import splits
from emorec.data.label_tables import Table
from emorec.errors import UsageError

# Names that columns are found by, less spaces, "_" and "-".
FILE_COLUMNS = (
    "file filename filepath name video videoname videofile clip clipname "
    "path 文件 文件名 文件名称 视频 视频名 视频名称 视频文件 片段 片段名"
).split()
LABEL_COLUMNS = (
    "label labels emotion emotions emotionlabel class category "
    "情感 情绪 标签 类别 情感标签 情绪标签 情感类别 情绪类别"
).split()
_KNOWN = {"file": FILE_COLUMNS, "label": LABEL_COLUMNS}
_MAX_TOLD = 20
_NUMBER = re.compile("[0-9]{1,4}")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where the label file says what: header names, or numbers from 1.

    Attributes:
        file: The clip's file; None looks for a name of `FILE_COLUMNS`.
        label: Its label; None looks for a name of `LABEL_COLUMNS`.
        start: Where the clip begins, in seconds or hh:mm:ss; None: at 0.
        end: Where it ends; None: at the video's end.
        identity: Who is seen; None: not known.
        header: Whether the first row names the columns; None finds out.
    """

    file: str | None = None
    label: str | None = None
    start: str | None = None
    end: str | None = None
    identity: str | None = None
    header: bool | None = None


def find(
    table: Table, columns: Columns, split: str | None
) -> tuple[bool, dict[str, int]]:
    """Finds the columns.

    Args:
        table: With at least one row.
        columns: What the caller says of them.
        split: The rows' split. Unlabelled rows get a label only from a column
            that `columns` names; a test split may be a bare list of files.

    Returns:
        Whether the first row is a header, and field of `Columns` -> index,
        for every field that has a column.

    Raises:
        UsageError: A column is needed and not found, or not there as named.
    """
    first = table.rows[0][1]
    width = max(len(cells) for _, cells in table.rows)
    asked = dataclasses.asdict(columns)
    has_header = asked.pop("header")
    if has_header is None:
        has_header = _looks_like_header(first, asked.values())
    names = [_fold(cell) for cell in first] if has_header else []
    places = {}
    for field, wanted in asked.items():
        words = [_fold(wanted)] if wanted else _KNOWN.get(field, ())
        if field == "label" and not wanted and split == splits.UNLABELLED:
            continue
        hits = [i for i, name in enumerate(names) if name in words]
        if wanted and not hits and _NUMBER.fullmatch(wanted):
            hits = [int(wanted) - 1] if 1 <= int(wanted) <= width else []
        if len(hits) == 1:
            places[field] = hits[0]
        elif hits or wanted or _is_needed(field, split, width):
            _no_column(field, wanted, hits, first, has_header, width)
    repeated = [f for f, i in places.items() if [*places.values()].count(i) > 1]
    if repeated:
        raise UsageError(
            f"{' and '.join(f'`{f}_column`' for f in repeated)} are one "
            f"column, number {places[repeated[0]] + 1}; name another"
        )
    return has_header, places


def _fold(text: str) -> str:
    return re.sub(r"[\s_-]", "", unicodedata.normalize("NFKC", text)).casefold()


def _looks_like_header(first, asked) -> bool:
    """Whether it holds a known name, or a caller speaks of names."""
    known = {*FILE_COLUMNS, *LABEL_COLUMNS}
    return any(v and not _NUMBER.fullmatch(v) for v in asked) or any(
        _fold(cell) in known for cell in first
    )


def _is_needed(field, split, width) -> bool:
    if field == "label":
        return split != "test" or width > 1
    return field == "file"


def _no_column(field, wanted, hits, first, has_header, width):
    what = f"the column of the {field} is not known"
    if wanted:
        what = f"`{field}_column` {wanted[:80]!r} is no column"
    if hits:
        told = " and ".join(str(i + 1) for i in hits)
        what = f"the {field} could be in the columns {told}"
    cells = ", ".join(repr(cell[:40]) for cell in first[:_MAX_TOLD])
    choice = "a name of the header or a number" if has_header else "a number"
    raise UsageError(
        f"{what}; give `{field}_column` as {choice} from 1 to {width}. The "
        f"first row {'is the header' if has_header else 'holds'} {cells}"
    )
