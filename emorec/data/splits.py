"""Splits: drawn where rows name none, and kept from leaking into each other."""

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from emorec.config import short_hash
from emorec.data import files
from emorec.data.csv_lines import Faults, line_list
from emorec.errors import UsageError

DRAWN = ("train", "validation", "test")
UNLABELLED = "unlabelled"
SPLITS = (*DRAWN, UNLABELLED)
# What a `split` cell may say, in any case.
NAMES = {
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
# An empty file is no copy of another empty one.
_EMPTY_SHA256 = hashlib.sha256().hexdigest()


def leak_keys(row, folder: str, sha256: Mapping[str, str]) -> list:
    """Returns (kind, value) pairs that two splits must not share.

    No machine's path is among them, so a draw is the same everywhere. Empty
    files are not copies of one video: `prepare` reports each of them.
    """
    digest = sha256.get(row.path, _EMPTY_SHA256)
    if digest == _EMPTY_SHA256:
        keys = [("video", files.relative(row.path, folder))]
    else:
        keys = [("video content", digest)]
    return [("identity", row.identity), *keys] if row.identity else keys


def draw(rows, keys, seed, shares) -> list:
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


def check_leaks(rows, keys, faults: Faults):
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
            f"{split} ({line_list([row.line for row in members])})"
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


def check_shares(shares: Sequence[float]):
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
