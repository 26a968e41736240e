"""Rows of the table: figures of two sides, their ratio and their spread."""

import dataclasses
import statistics
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured; unique.
        unit: Of both figures. `.../s` and `share`: more is better. Others
            (`s`, `ms`, `ms/frame`, `MB`): less is better.
        ours: Median of our side; None where it was not measured.
        peer: Median of the other side; None where there is none.
        peer_name: What it was compared with.
        ratio: Above 1: ours is better. None where a side is missing.
        goal: The least ratio that is wanted, or None.
        reason: Why there is no ratio.
        spread: `rounds`, and least and greatest value and interquartile
            range of each side.
        detail: Anything else worth keeping, JSON.
    """

    name: str
    unit: str
    ours: float | None = None
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    goal: float | None = None
    reason: str | None = None
    spread: dict = dataclasses.field(default_factory=dict)
    detail: dict = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict:
        """Returns the object of `results.json`; absent parts are left out."""
        values = dataclasses.asdict(self)
        for name in ("goal", "reason"):
            if values[name] is None:
                del values[name]
        for name in ("spread", "detail"):
            if not values[name]:
                del values[name]
        return values

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal or a ratio."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio >= self.goal


def more_is_better(unit: str) -> bool:
    """Says whether a unit is a rate or a share."""
    return unit.endswith("/s") or unit == "share"


def ratio(unit: str, ours: float | None, peer: float | None) -> float | None:
    """Returns how many times ours is better, or None."""
    if ours is None or peer is None or ours <= 0 or peer <= 0:
        return None
    return ours / peer if more_is_better(unit) else peer / ours


def value(unit: str, answer: dict) -> float:
    """Returns a run's figure from a worker's answer.

    Args:
        unit: The row's.
        answer: Has `value`; or, by unit, `peak_mb`, or `seconds` and `units`.

    Raises:
        ValueError: The unit is none that can be made of them.
    """
    if "value" in answer:
        return float(answer["value"])
    if unit == "MB":
        return float(answer["peak_mb"])
    if unit.endswith("/s"):
        return answer["units"] / answer["seconds"]
    scale = {"s": 1, "ms": 1000, "ms/frame": 1000}.get(unit)
    if scale is None:
        raise ValueError(f"the unit {unit!r} needs a `value`")
    return scale * answer["seconds"] / answer["units"]


def spread(values: Sequence[float]) -> dict:
    """Returns least, greatest and interquartile range of some values."""
    if len(values) < 2:
        return {"min": min(values), "max": max(values), "iqr": 0.0}
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"min": min(values), "max": max(values), "iqr": high - low}


def compared(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    peer_name: str | None = None,
    goal: float | None = None,
    reason: str | None = None,
    detail: dict | None = None,
) -> Row:
    """Makes a row of the values of both sides, either of which may be empty.

    Args:
        name: The row's name.
        unit: The row's unit.
        ours: Values of our rounds.
        peer: Values of the other side's, or ().
        peer_name: Its name.
        goal: The least ratio.
        reason: Why a side is empty.
        detail: Kept as it is.
    """
    a = statistics.median(ours) if ours else None
    b = statistics.median(peer) if peer else None
    found = {}
    if ours:
        found = {"rounds": len(ours), "ours": spread(ours)}
    if peer:
        found["peer"] = spread(peer)
    times = ratio(unit, a, b)
    if times is None and reason is None:
        reason = "no peer" if peer_name is None else "a side gave no figure"
    return Row(
        name=name,
        unit=unit,
        ours=a,
        peer=b,
        peer_name=peer_name,
        ratio=times,
        goal=goal,
        reason=None if times is not None else reason,
        spread=found,
        detail=detail or {},
    )
