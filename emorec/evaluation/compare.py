"""Two models on the same clips: is one better, or was it luck?

Three answers, for three questions. The *difference* of each metric with its
bootstrap interval: how much better, and how sure. *McNemar's test*: whether
the clips that only one of the two gets right are more often the one's. The
*clips themselves* on which they differ: where to look.

An interval that holds 0, or a p that is not small, does not say that the
models are equal: with few clips nothing can be told apart.
"""

import dataclasses
import os

import numpy as np

import emorec
from emorec.data import files
from emorec.errors import ConfigError
from emorec.evaluation import bootstrap
from emorec.evaluation import metrics as measures
from emorec.evaluation.evaluation_result import Report

FILE = "comparison.json"
# Of two figures that differ by less, none is called better.
_EQUAL = 1e-12


@dataclasses.dataclass(frozen=True)
class Difference:
    """One metric of both models, shares; `interval` None for one clip."""

    metric: str
    first: float
    second: float
    interval: tuple[float, float] | None

    @property
    def value(self) -> float:
        """Second less first: above 0, the second model is better."""
        return self.second - self.first

    @property
    def is_clear(self) -> bool:
        """Whether the interval does not hold 0."""
        low, high = self.interval or (0.0, 0.0)
        return low > _EQUAL or high < -_EQUAL


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found over n clips that both models were asked.

    Attributes:
        names: What the models are called.
        n: Clips.
        left_out: Clips that only one of the models was asked.
        differences: One for each metric of `bootstrap.COUNTED`.
        both: Clips that both get right.
        only_first: Clips that only the first one gets right.
        only_second: Clips that only the second one gets right.
        neither: Clips that both get wrong.
        p: Of McNemar's test, exact and two-sided.
        classes: A dict a class: `label`, `clips`, `first` and `second`, the
            clips of it that each gets right.
        rows: The clips that only one gets right: dicts with `row`, `video`,
            `source`, `label`, `first` and `second` (the answers, or None).
    """

    names: tuple[str, str]
    n: int
    left_out: int
    differences: list[Difference]
    both: int
    only_first: int
    only_second: int
    neither: int
    p: float
    classes: list[dict]
    rows: list[dict]

    def to_dict(self) -> dict:
        """Returns what `comparison.json` holds."""
        return {
            "emorec": emorec.__version__,
            "first": self.names[0],
            "second": self.names[1],
            "n": self.n,
            "left_out": self.left_out,
            "differences": {
                d.metric: {
                    "first": d.first,
                    "second": d.second,
                    "second_less_first": d.value,
                    "interval": d.interval,
                    "interval_holds_0": not d.is_clear,
                }
                for d in self.differences
            },
            "interval_level": bootstrap.LEVEL,
            "interval_method": bootstrap.HOW,
            "mcnemar": {
                "both_right": self.both,
                "only_first_right": self.only_first,
                "only_second_right": self.only_second,
                "both_wrong": self.neither,
                "p": self.p,
                "method": "exact (binomial), two-sided",
            },
            "classes": self.classes,
            "only_one_right": self.rows,
        }

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `comparison.json` into a folder.

        Raises:
            EmorecError: It cannot be written.
        """
        files.write_json(os.path.join(folder, FILE), self.to_dict())

    @property
    def verdict(self) -> str:
        """One sentence on McNemar's test."""
        apart = self.only_first + self.only_second
        if not apart:
            return "both are right on the same clips: nothing to test"
        test = f"McNemar p = {p_text(self.p)}"
        if self.p >= 1 - bootstrap.LEVEL:
            return (
                f"{test}: no sign that either is better; {apart} of {self.n} "
                "clips tell them apart"
            )
        better = self.names[self.only_second > self.only_first]
        return f"{test}: {better} is right more often than luck explains"


def p_text(p: float) -> str:
    """Returns a p for people; never 0."""
    return "below 0.0001" if p < 1e-4 else f"{p:.4f}"


def check_labels(first, second) -> None:
    """Refuses models whose answers cannot be compared.

    Args:
        first: Names of one model's classes.
        second: Of the other's.

    Raises:
        ConfigError: They differ.
    """
    if tuple(first) != tuple(second):
        raise ConfigError(
            "models to be compared must have the same labels. Received: "
            f"{', '.join(first)}; and {', '.join(second)}"
        )


def compare(
    first: Report, second: Report, names: tuple[str, str]
) -> Comparison:
    """Compares two models' evaluations, row by row.

    Args:
        first: One model's.
        second: The other's, of the same split.
        names: What they are called.

    Raises:
        ConfigError: Their labels differ, or no row is in both.
    """
    check_labels(first.metrics.names, second.metrics.names)
    places = {row["row"]: i for i, row in enumerate(second.rows)}
    a = [i for i, row in enumerate(first.rows) if row["row"] in places]
    b = [places[first.rows[i]["row"]] for i in a]
    if not a:
        raise ConfigError(
            "models to be compared must have been asked the same clips. "
            f"Received: {len(first.rows)} and {len(second.rows)}, none in both"
        )
    labels, k = first.labels[a], len(first.metrics.names)
    answers = first.predicted[a], second.predicted[b]
    right = [found == labels for found in answers]
    only_first = int((right[0] & ~right[1]).sum())
    only_second = int((right[1] & ~right[0]).sum())
    intervals = bootstrap.differences(labels, *answers, k)
    names_of = first.metrics.names
    figures = [_figures(labels, found, names_of) for found in answers]
    apart = np.flatnonzero(right[0] != right[1])
    return Comparison(
        names=names,
        n=len(a),
        left_out=len(first.rows) + len(second.rows) - 2 * len(a),
        differences=[
            Difference(m, *(getattr(f, m) for f in figures), intervals[m])
            for m in bootstrap.COUNTED
        ],
        both=int((right[0] & right[1]).sum()),
        only_first=only_first,
        only_second=only_second,
        neither=int((~right[0] & ~right[1]).sum()),
        p=bootstrap.mcnemar(only_first, only_second),
        classes=[
            {
                "label": name,
                "clips": int((labels == i).sum()),
                "first": int(right[0][labels == i].sum()),
                "second": int(right[1][labels == i].sum()),
            }
            for i, name in enumerate(names_of)
        ],
        rows=[_row(first.rows[a[i]], second.rows[b[i]]) for i in apart],
    )


def _figures(labels, predicted, names) -> measures.Metrics:
    """The metrics that depend on answers alone."""
    k = len(names)
    answered = predicted < k
    sure = np.eye(k + 1)[predicted][:, :k]
    return measures.evaluate(labels, sure, answered, names)


def _row(first, second) -> dict:
    kept = {c: first[c] for c in ("row", "video", "source", "label")}
    return {**kept, "first": first["predicted"], "second": second["predicted"]}


def format_table(found: Comparison) -> str:
    """Returns the comparison as text for a terminal, shares in percent."""
    lines = [
        f"A  {found.names[0]}",
        f"B  {found.names[1]}",
        f"{found.n} clips",
        "",
        f"{'':<11}{'A':>9}{'B':>10}{'B - A':>10}   "
        f"{bootstrap.LEVEL:.0%} interval",
    ]
    for d in found.differences:
        line = (
            f"{d.metric:<11}{100 * d.first:>7.2f} %{100 * d.second:>8.2f} %"
            f"{100 * d.value:>+10.2f}"
        )
        if d.interval:
            low, high = (100 * v for v in d.interval)
            line += f"   {low:+.2f} to {high:+.2f}"
        lines.append(line)
    lines += [
        "",
        f"right: both {found.both}, only A {found.only_first}, only B "
        f"{found.only_second}, neither {found.neither}",
        found.verdict,
    ]
    if found.left_out:
        lines.append(
            f"{found.left_out} clips that only one model was asked are left out"
        )
    return "\n".join(lines)
