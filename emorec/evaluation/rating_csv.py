"""Ratings as a long-form CSV: one line for one rating.

    item,rater,condition,emotion,intensity
    img_1,anna,original,happy,4
    img_1,anna,cropped,happy,2

`condition` says under which of several conditions the item was shown; without
this column there is one condition, `all`. Another column can take its place
(`group_by`). Further columns are left unread. UTF-8, commas, no line breaks
within a cell; the columns may stand in any order, in any case.
"""

from array import array

import numpy as np

from emorec.data.csv_lines import read_cells
from emorec.errors import EmorecError, UsageError
from emorec.evaluation import ratings

COLUMNS = ("item", "rater", "emotion", "intensity")


def read(
    path: str, low: float, high: float, group_by: str = ratings.CONDITION
) -> ratings.Ratings:
    """Reads the long form.

    Args:
        path: The CSV.
        low: The least intensity.
        high: The greatest intensity.
        group_by: The column that names the condition. The default may be
            absent from the CSV, another one may not.

    Raises:
        EmorecError: The CSV has faults; all are told, by line.
        UsageError: `low` and `high` are no range, or `group_by` is one of
            `COLUMNS`.
    """
    ratings.check_range(low, high)
    group_by = group_by.strip().lower()
    if not group_by or group_by in COLUMNS:
        raise UsageError(
            "`group_by` must be a column other than "
            f"{', '.join(COLUMNS)}. Received: {group_by!r}"
        )
    ratings.check_file(path)
    faults = ratings.StoppingFaults(path)
    try:
        rows = _LongForm(group_by, low, high, faults)
        for line, cells in read_cells(path, faults):
            rows.take(line, cells)
    except OSError as e:
        raise EmorecError(f"{path}: cannot be read ({e.strerror})") from e
    rows.find_repeats()
    faults.raise_if_any()
    return rows.table(path)


class _LongForm:
    """Collects the rows of a long-form CSV, 28 bytes each."""

    def __init__(self, group_by, low, high, faults):
        self._faults = faults
        self._range = (low, high)
        self._group_by = group_by
        self._columns: list[int] | None = None
        self._width = 0
        self._names = (
            ratings.Names("item"),
            ratings.Names("rater"),
            ratings.Names(ratings.CONDITION, group_by),
            ratings.Names("emotion"),
        )
        self._codes = tuple(array("i") for _ in self._names)
        self._values = array("d")
        self._lines = array("i")

    def take(self, line: int, cells: list[str]):
        """Takes one line; the first one is the header."""
        if self._columns is None:
            self._faults.raise_if_any()  # What could not be read was first.
            self._columns = self._header(cells)
            self._width = len(cells)
        elif len(self._lines) == ratings.MAX_RATINGS:
            self._faults.stop(
                f"has more than {ratings.MAX_RATINGS} ratings; split it by "
                "emotion"
            )
        elif len(cells) != self._width:
            self._faults.add(
                line,
                f"has {len(cells)} cells where the header has {self._width}; "
                "a cell that holds a comma needs double quotes",
            )
        else:
            self._row(line, cells)

    def _header(self, cells):
        """Returns where item, rater, condition, emotion, intensity stand.

        The condition's place is -1 where its column may be and is absent.
        """
        names = [cell.lower() for cell in cells]
        wanted = [*COLUMNS[:2], self._group_by, *COLUMNS[2:]]
        there = f"its columns are {', '.join(map(repr, names))[:400]}"
        for name in wanted:
            if names.count(name) > 1:
                self._faults.stop(f"has the column {name!r} twice; {there}")
            if name not in names and name != ratings.CONDITION:
                self._faults.stop(
                    f"has no column {name!r}; {there}; separate columns by "
                    "commas"
                )
        return [names.index(n) if n in names else -1 for n in wanted]

    def _row(self, line, cells):
        *places, last = self._columns
        low, high = self._range
        try:
            codes = [
                names.code(cells[i] if i >= 0 else ratings.ONE_CONDITION)
                for i, names in zip(places, self._names)
            ]
            value = ratings.number(cells[last])
            if not low <= value <= high:
                raise ValueError(
                    f"has the intensity {cells[last]}, outside {low:g} to "
                    f"{high:g} (--min, --max)"
                )
        except ValueError as e:
            self._faults.add(line, str(e))
            return
        for column, code in zip(self._codes, codes):
            column.append(code)
        self._values.append(value)
        self._lines.append(line)

    def find_repeats(self):
        """Adds a fault for each second rating of one thing by one rater."""
        key = np.zeros(len(self._lines), np.int64)
        for codes, names in zip(self._codes, self._names):
            # At most 2^50 keys, by `ratings._LIMITS`.
            key = key * max(len(names), 1) + np.asarray(codes, np.int64)
        order = np.argsort(key, kind="stable")
        names = [tuple(n) for n in self._names]
        for i in np.flatnonzero(np.diff(key[order]) == 0):
            first, again = order[i], order[i + 1]
            item, rater, condition, emotion = (
                n[codes[again]] for n, codes in zip(names, self._codes)
            )
            self._faults.add(
                self._lines[again],
                f"rates item {item!r}, {self._group_by} {condition!r}, "
                f"emotion {emotion!r} by rater {rater!r} again, as line "
                f"{self._lines[first]} did",
            )

    def table(self, path) -> ratings.Ratings:
        if not self._lines:
            self._faults.stop(
                "has no ratings; its first line names the columns "
                f"{', '.join(COLUMNS)}, each further line is one rating"
            )
        item, _, condition, emotion = self._codes
        items, new_item = self._names[0].sorted()
        conditions, new_condition = self._names[2].sorted()
        emotions, new_emotion = self._names[3].sorted()
        return ratings.Ratings(
            path=path,
            form="csv",
            kind=ratings.INTENSITIES,
            items=items,
            conditions=conditions,
            emotions=emotions,
            item=new_item[np.asarray(item)],
            condition=new_condition[np.asarray(condition)],
            emotion=new_emotion[np.asarray(emotion)],
            value=np.asarray(self._values, np.float64),
        )
