"""The files and the table in which a study of disagreement is told.

    disagreement.csv  emotion, condition, items, raters_min, raters_max,
                      mean_variance, low, high
    comparison.csv    emotion, first, second, items, difference, low, high,
                      p, p_holm; only where there are two conditions
    disagreement.png  the bars of the paper's Figure 1
    summary.json      the settings, what is told, and all figures once more

A figure that does not exist (no items, or one item's interval) is an empty
cell, and null in the JSON.
"""

import csv
import dataclasses
import math
import os
import pathlib
import textwrap
from collections.abc import Sequence

import emorec
from emorec.data import files
from emorec.evaluation import charts
from emorec.evaluation.disagreement import LEVEL, VARIANCES, Study
from emorec.evaluation.ratings import INTENSITIES, VOTES, Ratings

TABLE = "disagreement.csv"
COMPARISON = "comparison.csv"
CHART = "disagreement.png"
SUMMARY = "summary.json"

_INTERVAL = f"{LEVEL:.0%}, percentile bootstrap over items"
_TEST = "paired sign-flip permutation test of the mean difference, two-sided"
_WHAT = {VOTES: "votes (0 or 1)", INTENSITIES: "intensities"}
_NOTES = {
    VOTES: "These are votes, not intensities: a rater chose one emotion, "
    "which is a 1 for it and a 0 for every other one. Do not compare these "
    "variances with those of intensities.",
    "crema_d": "Condition `both` is the face with the voice; the paper's "
    "second condition is the face with its surroundings.",
}


def write(
    study: Study,
    ratings: Ratings,
    output_dir: str | os.PathLike,
    bounds: tuple[float, float],
) -> None:
    """Writes the files, each one atomically.

    Args:
        study: What was found.
        ratings: In what.
        output_dir: A folder; what an earlier study left in it is replaced.
        bounds: The least and the greatest rating that were allowed.

    Raises:
        EmorecError: A file cannot be written.
        ModuleNotFoundError: matplotlib is not installed.
    """
    folder = pathlib.Path(output_dir)
    cells = [dataclasses.asdict(cell) for cell in study.cells]
    for cell in cells:
        cell["mean_variance"] = cell.pop("mean")
    order = ("emotion", "condition", "items", "raters_min", "raters_max")
    order += ("mean_variance", "low", "high")
    _write_csv(folder / TABLE, order, cells)
    comparisons = [dataclasses.asdict(c) for c in study.comparisons]
    if comparisons:
        _write_csv(folder / COMPARISON, tuple(comparisons[0]), comparisons)
    else:
        (folder / COMPARISON).unlink(missing_ok=True)
    chart(study, ratings, folder / CHART)
    summary = _summary(study, ratings, bounds)
    summary["disagreement"] = [_without_nan(c) for c in cells]
    summary["comparison"] = [_without_nan(c) for c in comparisons]
    files.write_json(folder / SUMMARY, summary)


def chart(study: Study, ratings: Ratings, path: str | os.PathLike) -> None:
    """Draws the conditions side by side, per emotion (Figure 1)."""
    series = {}
    for condition in ratings.conditions:
        cells = [c for c in study.cells if c.condition == condition]
        series[condition] = (
            [c.mean for c in cells],
            [c.low for c in cells],
            [c.high for c in cells],
        )
    what = _WHAT[VOTES] if ratings.kind == VOTES else "intensity"
    charts.bar_chart(
        path,
        ratings.emotions,
        series,
        title=f"Disagreement of raters, {_count(ratings.items, 'item')}",
        y_label=f"mean variance of {what} over raters",
        note=f"{VARIANCES[study.settings.ddof]}; whiskers: "
        f"{LEVEL:.0%} bootstrap interval",
    )


def format_table(study: Study, ratings: Ratings) -> str:
    """Returns the figures as lines of text."""
    lines = [
        f"{len(ratings.value)} {_WHAT[ratings.kind]}: {_sizes(ratings)}",
        "mean over items of the variance over raters;",
        f"{VARIANCES[study.settings.ddof]}, [{LEVEL:.0%} interval]",
        "",
        *_columns(
            ("emotion", "condition", "items", "raters", "variance", ""),
            [
                (
                    c.emotion,
                    c.condition,
                    c.items,
                    _span(c.raters_min, c.raters_max),
                    _figure(c.mean),
                    _interval(c.low, c.high),
                )
                for c in study.cells
            ],
        ),
    ]
    if study.comparisons:
        first, second = ratings.conditions
        lines += [
            "",
            f"{first} less {second}, over items that have both;",
            f"{_TEST};",
            f"p (Holm) is corrected for {_count(ratings.emotions, 'emotion')}",
            "",
            *_columns(
                ("emotion", "items", "difference", "", "p", "p (Holm)"),
                [
                    (
                        c.emotion,
                        c.items,
                        _figure(c.difference),
                        _interval(c.low, c.high),
                        _figure(c.p),
                        _figure(c.p_holm),
                    )
                    for c in study.comparisons
                ],
            ),
        ]
    for note in notes(ratings):
        lines += ["", *textwrap.wrap(note, 79)]
    return "\n".join(lines)


def notes(ratings: Ratings) -> list[str]:
    """Returns what has to be known with these ratings."""
    found = [_NOTES[ratings.kind]] if ratings.kind in _NOTES else []
    if ratings.form == "crema_d" and "both" in ratings.conditions:
        found.append(_NOTES["crema_d"])
    return found


def _summary(study, ratings, bounds) -> dict:
    settings = study.settings
    compared = len(study.comparisons)
    return {
        "emorec": emorec.__version__,
        "ratings": {
            "path": os.path.abspath(ratings.path),
            "form": ratings.form,
            "kind": ratings.kind,
            "range": list(bounds),
            "count": len(ratings.value),
            "items": len(ratings.items),
            "emotions": list(ratings.emotions),
            "conditions": list(ratings.conditions),
        },
        "variance": VARIANCES[settings.ddof],
        "interval": _INTERVAL,
        "test": _TEST if compared else None,
        "correction": f"Holm, over {compared} emotions" if compared else None,
        "settings": dataclasses.asdict(settings),
        "notes": notes(ratings),
    }


def _sizes(ratings) -> str:
    return ", ".join(
        _count(names, what)
        for what, names in (
            ("item", ratings.items),
            ("emotion", ratings.emotions),
            ("condition", ratings.conditions),
        )
    )


def _count(names, what) -> str:
    return f"{len(names)} {what}{'s' * (len(names) != 1)}"


def _write_csv(path, order: Sequence[str], rows: Sequence[dict]):
    with (
        files.atomic(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as f,
    ):
        writer = csv.DictWriter(f, order, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            row = _without_nan(row)
            writer.writerow({k: _cell(v) for k, v in row.items()})


def _cell(value):
    return f"{value:.8g}" if isinstance(value, float) else value


def _without_nan(row: dict) -> dict:
    return {
        k: None if isinstance(v, float) and math.isnan(v) else v
        for k, v in row.items()
    }


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{low:.4f}, {high:.4f}]"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _columns(heads, rows) -> list[str]:
    """Lines up text to the left and numbers to the right."""
    rows = [tuple(map(str, row)) for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    left = {i for i, head in enumerate(heads) if head in ("emotion", "")}
    left |= {i for i, head in enumerate(heads) if head == "condition"}
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
