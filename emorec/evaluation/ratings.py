"""Ratings of items by several raters: the table, and what its readers share.

`rating_csv` reads the long form, `rating_forms` the published forms and any
of them. Files from outside are bounded in size and in numbers, and every
fault is told.
"""

import dataclasses
import math
import os
import re
from collections.abc import Sequence

import numpy as np

from emorec.data.csv_lines import Faults
from emorec.errors import EmorecError, ManifestError, UsageError

CONDITION = "condition"
# The name of the condition where the data tell none apart.
ONE_CONDITION = "all"
INTENSITIES = "intensities"
VOTES = "votes"

# The paper's study has 55 504 items x 9 emotions x 5 raters x 2 conditions:
# 5 million ratings, a CSV of some 200 MB.
MAX_FILE_BYTES = 1 << 30
MAX_RATINGS = 10_000_000
# Of each name: how many there may be, and how long one is.
_LIMITS = {
    "item": (1_000_000, 256),
    "rater": (1_000_000, 256),
    CONDITION: (12, 64),
    "emotion": (40, 64),
}
# After so many faults a file is not read any further.
STOP_AFTER = 1000
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True, eq=False)
class Ratings:
    """A table of N single ratings, each by one rater.

    Attributes:
        path: The file.
        form: Of the file: `csv`, `mdns` or `crema_d`.
        kind: What one rating is: `INTENSITIES`, or `VOTES` of 0 and 1.
        items: Names of the items, sorted.
        conditions: Names of the conditions.
        emotions: Names of the emotions.
        item: int32 [N], a position in `items`.
        condition: int32 [N], a position in `conditions`.
        emotion: int32 [N], a position in `emotions`.
        value: float64 [N].
    """

    path: str
    form: str
    kind: str
    items: tuple[str, ...]
    conditions: tuple[str, ...]
    emotions: tuple[str, ...]
    item: np.ndarray
    condition: np.ndarray
    emotion: np.ndarray
    value: np.ndarray

    def only(self, conditions: Sequence[str]) -> "Ratings":
        """Returns the ratings under `conditions`, in their order.

        Raises:
            UsageError: A condition is unknown or named twice.
        """
        unknown = [c for c in conditions if c not in self.conditions]
        if unknown:
            raise UsageError(
                f"unknown condition {unknown[0]!r}; {self.path} has "
                f"{', '.join(self.conditions)}"
            )
        if len(set(conditions)) < len(conditions):
            raise UsageError(
                "`conditions` must differ. Received: " + ", ".join(conditions)
            )
        codes = np.full(len(self.conditions), -1, np.int32)
        for i, name in enumerate(conditions):
            codes[self.conditions.index(name)] = i
        keep = codes[self.condition] >= 0
        used = np.unique(self.item[keep])
        return dataclasses.replace(
            self,
            items=tuple(self.items[i] for i in used),
            conditions=tuple(conditions),
            item=np.searchsorted(used, self.item[keep]).astype(np.int32),
            condition=codes[self.condition[keep]],
            emotion=self.emotion[keep],
            value=self.value[keep],
        )


class Names:
    """Gives each name of one kind a code, in order of appearance.

    Args:
        what: One of `item`, `rater`, `condition`, `emotion`.
        column: What the file calls it, for messages; default: `what`.
    """

    def __init__(self, what: str, column: str | None = None):
        self._column = column or what
        self._most, self._longest = _LIMITS[what]
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def __iter__(self):
        return iter(self._codes)

    def code(self, name: str) -> int:
        """Returns the code of `name`.

        Raises:
            ValueError: The name is empty, too long or not printable, or
                there are too many names; the message says which.
        """
        code = self._codes.get(name)
        if code is not None:
            return code
        if not name:
            raise ValueError(f"has no {self._column}")
        if len(name) > self._longest:
            raise ValueError(
                f"has a {self._column} of over {self._longest} characters"
            )
        if not name.isprintable():
            raise ValueError(f"has the unprintable {self._column} {name!r}")
        if len(self._codes) == self._most:
            raise ValueError(
                f"has one {self._column} more than the {self._most} that are "
                "taken; check that this is the right column"
            )
        return self._codes.setdefault(name, len(self._codes))

    def sorted(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Returns the names sorted, and the new code of each old one."""
        names = tuple(sorted(self._codes))
        places = {name: i for i, name in enumerate(names)}
        codes = [places[name] for name in self._codes]
        return names, np.array(codes, np.int32)


class StoppingFaults(Faults):
    """Faults of a CSV of ratings; stops the reading after `STOP_AFTER`."""

    def __init__(self, path: str):
        super().__init__(path)
        self._count = 0

    def add(self, line: int, text: str):
        super().add(line, text)
        self._count += 1
        if self._count >= STOP_AFTER:
            self.raise_if_any()

    def stop(self, text: str):
        raise EmorecError(f"{self._path}: {text}")

    def raise_if_any(self):
        try:
            super().raise_if_any()
        except ManifestError as e:
            more = ""
            if self._count >= STOP_AFTER:
                more = "\n  and no line after these was read"
            raise EmorecError(f"{e}{more}") from None


def check_file(path: str, most: int = MAX_FILE_BYTES) -> None:
    """Refuses what is no plain file, empty, or larger than `most` bytes."""
    if not os.path.isfile(path):
        raise EmorecError(
            f"{path}: is not a file; give the path of a CSV or JSON of ratings"
        )
    size = os.path.getsize(path)
    if not size:
        raise EmorecError(f"{path}: is empty (0 bytes); fetch it again")
    if size > most:
        raise EmorecError(
            f"{path}: has {size} bytes, and at most {most} are read; split it "
            "by emotion"
        )


def check_range(low: float, high: float) -> None:
    """Refuses a range of ratings that holds no two values."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(
            f"`min` must be a number below `max`. Received: {low:g} and "
            f"{high:g}"
        )


def number(text: str) -> float:
    """Returns the finite number that `text` is, or raises `ValueError`."""
    if len(text) > 40 or not _NUMBER.fullmatch(text):
        raise ValueError(f"has {text[:80]!r} for a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"has {text!r}, which is not finite")
    return value
