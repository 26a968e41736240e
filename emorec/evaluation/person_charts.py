"""Probability over time of one person, as shapes for inline SVG."""

import numpy as np

from emorec.evaluation.steps import (
    Steps,
    chosen_rows,
    steps,
    ticks,
    top_of,
)
from emorec.video.curves import Person

MAX_ROWS = 10
# Of more, a page grows and shows nothing more.
_MOST_STEPS = 300
_MOST_FACES = 400
# Units of the drawing: pixels of a page.
WIDTH, LEFT, ROW = 940, 120, 26
_HIGH = 21  # Of a row, for the scale's top.
_MOST_TICKS = 9


def chart(person: Person, smooth: float | None) -> dict:
    """Returns what the template draws of a person.

    Args:
        person: The person.
        smooth: As of `steps`.

    Returns:
        `width`, `height`, `left`; `top`, the share at a row's full height;
        `rows`: for each label its name, `base` and the SVG paths `rest`,
        `sure` and `unsure`; `faces`: (x, width) of the strip below; `ticks`:
        (x, text); `hidden`: how many labels have no row.
    """
    made = steps(person, smooth, _MOST_STEPS)
    rows = chosen_rows([made], MAX_ROWS)
    top = top_of([made])
    first, last = float(made.starts[0]), float(made.ends[-1])

    def x(time):
        share = (np.clip(time, first, last) - first) / (last - first)
        return LEFT + share * (WIDTH - LEFT - 50)

    return {
        "width": WIDTH,
        "left": LEFT,
        "height": ROW * (len(rows) + 1) + 22,
        "top": top,
        "rows": [
            _row(made, k, person.labels.names[k], (i + 1) * ROW, top, x)
            for i, k in enumerate(rows)
        ],
        "strip": ROW * len(rows) + 9,
        "right": WIDTH - 50,
        "faces": _strip(person.faces, x),
        "ticks": [
            (round(float(x(time)), 1), text)
            for time, text in ticks(first, last, _MOST_TICKS)
        ],
        "hidden": len(person.labels.names) - len(rows),
    }


def _row(made: Steps, k: int, name: str, base: float, top: float, x) -> dict:
    best = made.best == k
    kinds = {
        "rest": ~best,
        "sure": best & ~made.uncertain,
        "unsure": best & made.uncertain,
    }
    starts, ends = x(made.starts), x(made.ends)
    heights = base - _HIGH * np.minimum(made.values[:, k] / top, 1)
    row = {"name": name, "base": base}
    for kind, holds in kinds.items():
        row[kind] = _path(starts, ends, heights, np.flatnonzero(holds), base)
    return row


def _path(starts, ends, heights, chosen, base) -> str:
    """Draws steps as areas; those that touch are one, without a line."""
    path, end = "", None
    for i in chosen:
        if end is None or starts[i] > end + 0.05:
            path += "" if end is None else f"V{base}Z"
            path += f"M{starts[i]:.1f} {base}"
        path += f"V{heights[i]:.1f}H{ends[i]:.1f}"
        end = ends[i]
    return path and f"{path}V{base}Z"


def _strip(faces, x) -> list[tuple[float, float]]:
    """Places of the stretches with a face; of very many the nearest join."""
    places = [(float(x(a)), float(x(b))) for a, b in faces]
    while len(places) > _MOST_FACES:
        pairs = zip(places[::2], [*places[1::2], places[-1]])
        places = [(a[0], b[1]) for a, b in pairs]
    return [(round(a, 1), round(max(b - a, 0.8), 1)) for a, b in places]
