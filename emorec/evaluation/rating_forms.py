"""Ratings in the forms in which two data sets publish them.

mdns     The JSON of MDNS (Bryant et al., CVPR 2022): an object of items,
         each an object of emotions, each a list of its raters'
         intensities. MDNS itself: 1000 faces, 6 emotions, 9 raters, 0 to
         4. It tells no conditions and no raters apart.
crema_d  `tabulatedVotes.csv` of CREMA-D (Cao et al., TAFFC 2014): how
         many raters chose which of six emotions for a clip. The first
         digit of a row's name tells what they were given: 1 the voice, 2
         the face, 3 both. (Its README does not say so; `emoVote` of
         those rows is the vote of that modality in `summaryTable.csv`
         for all 7442 clips.) A rater has one vote, so each vote is
         expanded to a 1 for the emotion chosen and a 0 for the other
         five. These are votes, not intensities.
"""

import json
import re

import numpy as np

from emorec.data.csv_lines import read_cells
from emorec.errors import EmorecError, UsageError
from emorec.evaluation import rating_csv
from emorec.evaluation import ratings as table
from emorec.evaluation.ratings import Names, Ratings, StoppingFaults

FORMS = ("auto", "csv", "mdns", "crema_d")
# MDNS has 1 MB. The worst JSON takes some 20 bytes of memory for each of its.
MAX_JSON_BYTES = 1 << 25
_MAX_TOLD = 10

_EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happy",
    "n": "neutral",
    "s": "sad",
}
_MODALITIES = {"1": "voice", "2": "face", "3": "both"}
_ROW_NAME = re.compile(r"[123][0-9]{5}")
_COUNT = re.compile(r"[0-9]{1,3}")


def read(
    path: str,
    form: str = "auto",
    *,
    low: float = 0.0,
    high: float = 5.0,
    group_by: str = table.CONDITION,
) -> Ratings:
    """Reads ratings of any form.

    Args:
        path: The file.
        form: One of `FORMS`; `auto` looks at the file's beginning.
        low: The least rating.
        high: The greatest rating.
        group_by: The column of a long-form CSV that names the condition.

    Raises:
        EmorecError: The file cannot be read or has faults.
        UsageError: An argument is wrong, or does not fit the form.
    """
    if form not in FORMS:
        raise UsageError(
            f"`format` must be {', '.join(FORMS)}. Received: {form!r}"
        )
    table.check_range(low, high)
    table.check_file(path)
    if form == "auto":
        form = _form_of(path)
    if form == "csv":
        return rating_csv.read(path, low, high, group_by)
    if group_by != table.CONDITION:
        raise UsageError(
            "`group_by` names a column of a long-form CSV; the form "
            f"{form} has none to choose. Received: {group_by!r}"
        )
    if form == "mdns":
        return read_mdns(path, low, high)
    if low > 0 or high < 1:
        raise UsageError(
            "votes are 0 and 1, which `min` and `max` must allow. Received: "
            f"{low:g} and {high:g}"
        )
    return read_crema_d(path)


def _form_of(path) -> str:
    with _opened(path) as f:
        head = f.read(1 << 14).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith((b"{", b"[")):
        return "mdns"
    first = head.split(b"\n")[0].lower()
    return "crema_d" if b"numresponses" in first else "csv"


def _opened(path):
    try:
        return open(path, "rb")
    except OSError as e:
        raise EmorecError(f"{path}: cannot be read ({e.strerror})") from e


def read_mdns(path: str, low: float, high: float) -> Ratings:
    """Reads the JSON form of MDNS.

    Raises:
        EmorecError: It is no JSON of that form, or a rating is no number
            within `low` to `high`; the first faults are told.
    """
    table.check_file(path, MAX_JSON_BYTES)
    with _opened(path) as f:
        value = _parse(path, f.read())
    items, emotions, faults = Names("item"), Names("emotion"), []
    codes, values = [], []
    for item, given in value.items():
        try:
            item_code = items.code(item)
            if not isinstance(given, dict):
                raise ValueError("is no object of emotions")
            for emotion, ratings in given.items():
                code = emotions.code(emotion)
                values += _checked(emotion, ratings, low, high)
                codes.append((item_code, code, len(ratings)))
        except ValueError as e:
            faults.append(f"item {item[:80]!r} {e}")
            if len(faults) == table.STOP_AFTER:
                break
        if len(values) > table.MAX_RATINGS:
            raise EmorecError(
                f"{path}: has more than {table.MAX_RATINGS} ratings; split it"
            )
    _tell(path, faults)
    if not values:
        raise EmorecError(f"{path}: has no ratings; fetch it again")
    item, emotion, lengths = np.array(codes, np.int32).T
    names, places = items.sorted()
    return Ratings(
        path=path,
        form="mdns",
        kind=table.INTENSITIES,
        items=names,
        conditions=(table.ONE_CONDITION,),
        emotions=tuple(emotions),
        item=np.repeat(places[item], lengths),
        condition=np.zeros(len(values), np.int32),
        emotion=np.repeat(emotion, lengths),
        value=np.array(values, np.float64),
    )


def _parse(path, text):
    def unique(pairs):
        value = dict(pairs)
        if len(value) < len(pairs):
            seen = set()
            for name, _ in pairs:
                if name in seen:
                    raise ValueError(f"the name {name[:80]!r} is there twice")
                seen.add(name)
        return value

    def refuse(name):
        raise ValueError(f"{name} is no rating")

    try:
        value = json.loads(
            text, object_pairs_hook=unique, parse_constant=refuse
        )
    except RecursionError:
        raise EmorecError(
            f"{path}: is nested too deeply for ratings; check the file"
        ) from None
    except ValueError as e:
        raise EmorecError(
            f"{path}: is not the JSON form of MDNS ({e}); check the file"
        ) from None
    if not isinstance(value, dict):
        raise EmorecError(
            f"{path}: must hold a JSON object of items, each an object of "
            f"emotions with lists of ratings. Received: {type(value).__name__}"
        )
    return value


def _checked(emotion, ratings, low, high) -> list[float]:
    if not isinstance(ratings, list) or not ratings:
        raise ValueError(f"has no list of ratings for {emotion[:80]!r}")
    for value in ratings:
        # JSON's true and false are ints to Python.
        if type(value) not in (int, float):
            raise ValueError(
                f"has {str(value)[:40]!r} for a rating of {emotion!r}"
            )
        if not low <= value <= high:
            raise ValueError(
                f"has {str(value)[:40]} for a rating of {emotion!r}, outside "
                f"{low:g} to {high:g} (--min, --max)"
            )
    return ratings


def _tell(path, faults):
    """Raises the first faults; JSON has no lines to name."""
    if not faults:
        return
    told = [f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}"]
    told += [f"  {fault}" for fault in faults[:_MAX_TOLD]]
    if len(faults) > _MAX_TOLD:
        told.append(f"  and {len(faults) - _MAX_TOLD} more")
    raise EmorecError("\n".join(told))


def read_crema_d(path: str) -> Ratings:
    """Reads the votes of CREMA-D, expanded to 0 and 1.

    Conditions that the file lacks are left out; their order is voice, face,
    both.

    Raises:
        EmorecError: The CSV has faults; all are told, by line.
    """
    table.check_file(path)
    faults = StoppingFaults(path)
    columns, items, seen, rows = None, Names("item"), {}, []
    _opened(path).close()
    for line, cells in read_cells(path, faults):
        if columns is None:
            faults.raise_if_any()
            columns = _vote_columns(cells, faults)
            width = len(cells)
            continue
        try:
            if len(cells) != width:
                raise ValueError(f"has {len(cells)} cells, the header {width}")
            row = _vote_row([cells[i] for i in columns], items)
            first = seen.setdefault(row[:2], line)
            if first != line:
                raise ValueError(
                    f"has the votes of line {first} again (the same clip and "
                    "modality)"
                )
        except ValueError as e:
            faults.add(line, str(e))
            continue
        rows.append(row)
        if len(rows) * len(_EMOTIONS) > table.MAX_RATINGS:
            faults.stop(f"has more than {table.MAX_RATINGS} votes")
    faults.raise_if_any()
    if not rows:
        faults.stop("has no votes; fetch it again")
    return _expanded(path, rows, items, faults)


def _vote_columns(cells, faults) -> list[int]:
    """Where the row's name, the clip, the sum and the six counts stand."""
    names = [cell.lower() for cell in cells]
    wanted = ["", "filename", "numresponses", *_EMOTIONS]
    for name in wanted:
        if names.count(name) != 1:
            faults.stop(
                "is not CREMA-D's tabulatedVotes.csv: it has "
                f"{names.count(name)} columns {name!r}, which must be one"
            )
    return [names.index(name) for name in wanted]


def _vote_row(cells, items) -> tuple[int, ...]:
    """Returns the clip's code, the modality's, and the six counts."""
    row_name, clip, total, *counts = cells
    if not _ROW_NAME.fullmatch(row_name):
        raise ValueError(
            f"has the row name {row_name[:40]!r}, which should be six digits, "
            "the first 1 (voice), 2 (face) or 3 (both)"
        )
    for text in (total, *counts):
        if not _COUNT.fullmatch(text):
            raise ValueError(f"has {text[:40]!r} for a count of votes")
    counts = [int(c) for c in counts]
    if sum(counts) != int(total) or not sum(counts):
        raise ValueError(
            f"has {sum(counts)} votes where numResponses is {total}"
        )
    modality = list(_MODALITIES).index(row_name[0])
    return (items.code(clip), modality, *counts)


def _expanded(path, rows, items, faults) -> Ratings:
    """Makes a 1 of each vote, and a 0 of it for every other emotion."""
    rows = np.array(rows, np.int64)
    counts = rows[:, 2:]
    raters = np.repeat(counts.sum(axis=1), len(_EMOTIONS))
    if raters.sum() > table.MAX_RATINGS:
        faults.stop(f"has more than {table.MAX_RATINGS} votes")
    names, places = items.sorted()
    found = np.unique(rows[:, 1])
    modalities = list(_MODALITIES.values())
    ones = counts.ravel()
    emotion = np.tile(np.arange(len(_EMOTIONS), dtype=np.int32), len(rows))

    def of_row(codes):
        codes = np.repeat(codes.astype(np.int32), len(_EMOTIONS))
        return np.repeat(codes, raters)

    return Ratings(
        path=path,
        form="crema_d",
        kind=table.VOTES,
        items=names,
        conditions=tuple(modalities[i] for i in found),
        emotions=tuple(_EMOTIONS.values()),
        item=of_row(places[rows[:, 0]]),
        condition=of_row(np.searchsorted(found, rows[:, 1])),
        emotion=np.repeat(emotion, raters),
        value=np.repeat(
            np.tile([1.0, 0.0], len(ones)),
            np.column_stack([ones, raters - ones]).ravel(),
        ),
    )
