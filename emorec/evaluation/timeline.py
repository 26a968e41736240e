"""A picture of probabilities over time, person by person.

Each label has a row; the height of what is drawn in it is the label's
probability. It is dark where the label is the answer. Below lies a strip with
the times at which the person's face was seen. Nothing rests on hue alone.
"""

import functools
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from emorec.data import files
from emorec.errors import EmorecError, UsageError
from emorec.evaluation import smoothing
from emorec.evaluation.steps import (
    chosen_rows,
    steps,
    ticks,
    top_of,
)
from emorec.video.container import shown
from emorec.video.curves import Person, curves

FORMATS = (".png", ".svg")
# What one picture shows; those seen most, and how many are left out is told.
MAX_PEOPLE = 12
# Labels that get a row, those that come highest.
MAX_ROWS = 10
DPI = 120
_WIDTH = 9.0  # Inches, as all below.
_ROW = 0.27
_HEAD = 0.62
_TITLE = 0.3
_FOOT = 0.36
# Of more steps a picture of this width shows nothing more.
_MOST_STEPS = 1500
_MOST_TICKS = 9
_DARK, _PALE, _FACE, _GREY = "#0072B2", "#CFDCE8", "#4D4D4D", "#666666"
_NOTE = (
    "height: probability, a row is {:.0f} % high.  dark: the answer.  "
    "hatched: the answer, but uncertain"
)
_SETTINGS = {
    # A label is a name, in which `$` starts no formula.
    "text.parse_math": False,
    "hatch.linewidth": 0.9,
    # Equal pictures are equal files.
    "svg.hashsalt": "emorec",
    "svg.fonttype": "path",
}


def require() -> None:
    """Fails now, not after the work, where matplotlib is not installed.

    Raises:
        EmorecError: It is not.
    """
    try:
        import matplotlib
    except ImportError as e:
        raise EmorecError(
            f"timelines need matplotlib ({e}); pip install 'emorec[charts]'"
        ) from e
    del matplotlib


def check_path(path: str | os.PathLike) -> None:
    """Raises `UsageError` unless the ending is one of `FORMATS`."""
    if pathlib.PurePath(path).suffix.lower() not in FORMATS:
        raise UsageError(
            f"a timeline must end in {' or '.join(FORMATS)}. Received: {path}"
        )


def plot(
    results: Sequence,
    path: str | os.PathLike | None = None,
    *,
    smooth: float | None = None,
    title: str | None = None,
):
    """Draws the probabilities of each person over time.

    Args:
        results: `emorec.results.Result`s, of one video or several. Videos
            without a face, and errors, are named by a line.
        path: A .png or .svg file, which is written atomically; or None.
        smooth: Seconds over which each point is the mean; the picture says
            so. None draws the answers as they are. Labels above the rows are
            never smoothed.
        title: Above the picture; by default the video's name.

    Returns:
        A `matplotlib.figure.Figure` without a path, else None.

    Raises:
        UsageError: The path has another ending, or `smooth` is out of bounds.
        EmorecError: matplotlib is not installed, or the file cannot be
            written.
    """
    if path is not None:
        check_path(path)
    require()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = _figure(list(results), smooth, title)
        FigureCanvasAgg(figure)
        if path is None:
            return figure
        form = pathlib.PurePath(path).suffix.lower()[1:]
        # Without a version and a date, equal pictures are equal files.
        unset = ("Software",) if form == "png" else ("Creator", "Date")
        with files.atomic(path) as temporary:
            figure.savefig(
                temporary,
                format=form,
                dpi=DPI,
                metadata=dict.fromkeys(unset),
            )
    return None


def most_seen(people: Sequence[Person], most: int) -> list[Person]:
    """Returns the `most` persons seen in most frames, in their own order."""
    ranked = sorted(people, key=lambda p: -p.frames_with_face)[:most]
    chosen = {id(person) for person in ranked}
    return [person for person in people if id(person) in chosen]


def _figure(results, smooth, title):
    from matplotlib.figure import Figure

    everybody = curves(results)
    people = most_seen(everybody, MAX_PEOPLE)
    drawn = [steps(person, smooth, _MOST_STEPS) for person in people]
    videos = list(dict.fromkeys(r.video for r in results))
    notes = _notes(results, everybody, smooth)
    if drawn:
        notes.insert(0, _NOTE.format(100 * top_of(drawn)))
    rows = chosen_rows(drawn, MAX_ROWS) if drawn else []
    if drawn and len(rows) < drawn[0].values.shape[1]:
        left = drawn[0].values.shape[1] - len(rows)
        notes.append(f"{left} labels that stay lower are not drawn")
    panel = _HEAD + _ROW * (len(rows) + 1)
    foot = _FOOT + 0.19 * len(notes)
    height = _TITLE + panel * len(people) + foot
    figure = Figure(figsize=(_WIDTH, height))
    figure.text(
        0.02,
        1 - 0.16 / height,
        _cut(_title(videos) if title is None else title),
        fontsize=12,
        weight="bold",
        va="top",
    )
    labels = people[0].labels if people else None
    longest = max((len(_label(labels, k)) for k in rows), default=0)
    left = max(1.0, 0.35 + 0.085 * longest) / _WIDTH
    limits = _limits(people)
    for i, (person, made) in enumerate(zip(people, drawn)):
        bottom = height - _TITLE - panel * (i + 1) + 0.1
        axes = figure.add_axes(
            (left, bottom / height, 0.93 - left, (panel - _HEAD) / height)
        )
        _panel(axes, person, made, rows, top_of(drawn), limits)
        named = len(videos) > 1
        axes.set_title(_about(person, named), loc="left", fontsize=10)
    for i, note in enumerate(notes):
        y = (0.12 + 0.19 * (len(notes) - 1 - i)) / height
        figure.text(0.02, y, note, fontsize=8, color=_GREY)
    return figure


def _title(videos: list[str]) -> str:
    name = os.path.basename(videos[0]) if len(videos) == 1 else ""
    return name or f"{len(videos)} videos"


def _limits(people):
    """The same seconds for all, so that panels can be compared."""
    spans = [(p.spans[0].start, p.spans[-1].end) for p in people]
    if not spans:
        return (0, 1)
    return min(a for a, _ in spans), max(b for _, b in spans)


def _about(person: Person, named: bool) -> str:
    whole = person.whole
    label = _label(person.labels, person.labels.names.index(whole.label))
    sure = f"{100 * whole.confidence:.0f} %"
    if whole.uncertain:
        sure += ", uncertain"
    video = f"{_cut(os.path.basename(person.video), 40)}, " if named else ""
    return (
        f"{video}person {person.track}: {label} ({sure})   "
        f"face in {person.frames_with_face} of {person.frames} frames"
    )


def _panel(axes, person, made, rows, top, limits):
    """Draws one person: the rows of labels, and the strip of faces."""
    for row, k in enumerate(rows):
        _areas(axes, made, k, len(rows) - row, top)
    for first, last in person.faces:
        axes.fill_between([first, last], 0.3, 0.62, color=_FACE, lw=0)
    count = len(rows)
    axes.set_xlim(*limits)
    axes.set_ylim(0.1, count + 1)
    axes.hlines(
        np.arange(1, count + 1), *limits, color="#BBBBBB", lw=0.5, zorder=0
    )
    names = [_label(person.labels, k) for k in rows]
    places = [0.45, *(count - i + 0.3 for i in range(count))]
    axes.set_yticks(places, ["face seen", *names], fontsize=9)
    axes.tick_params(axis="y", length=0)
    times, texts = zip(*ticks(*limits, _MOST_TICKS))
    axes.set_xticks(times, texts, fontsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    # The scale: where a row is full.
    full = (count + 0.76) / (count + 0.9)
    across = {"transform": axes.transAxes, "color": _GREY}
    axes.plot([1, 1.006], [full, full], lw=0.8, clip_on=False, **across)
    axes.text(
        1.01, full, f"{100 * top:.0f} %", fontsize=8, va="center", **across
    )


def _areas(axes, made, k, base, top):
    """Draws one label's row, whose foot is at `base`, 0.86 high."""
    edges, index = made.edges()
    is_gap = index < 0
    is_best = (made.best[index] == k) & ~is_gap
    unsure = made.uncertain[index]
    heights = base + 0.86 * np.minimum(made.values[index, k] / top, 1)
    hatched = {"facecolor": "white", "edgecolor": _DARK, "hatch": "//////"}
    for holds, style in (
        (~is_best & ~is_gap, {"color": _PALE}),
        (is_best & ~unsure, {"color": _DARK}),
        (is_best & unsure, hatched),
    ):
        if holds.any():
            part = np.where(holds, heights, np.nan)
            axes.stairs(part, edges, baseline=base, fill=True, lw=0.4, **style)


def _notes(results, people, smooth) -> list[str]:
    """Lines below the picture."""
    notes = []
    if people and smooth:
        notes.append(smoothing.stated(smooth))
    if len(people) > MAX_PEOPLE:
        notes.append(
            f"the {MAX_PEOPLE} people seen most; {len(people) - MAX_PEOPLE} "
            "more are in the results"
        )
    without = {r.video for r in results if r.error is None and not r.answer}
    without -= {person.video for person in people}
    if len(without) == 1 and not people:
        notes.append("no face was found, so there is no answer")
    elif without:
        notes.append(f"no face was found in {_videos(len(without))}")
    errors = len({r.video for r in results if r.error is not None})
    if errors:
        notes.append(f"{_videos(errors)} could not be read, or not to the end")
    return notes


def _videos(count: int) -> str:
    return f"{count} video" if count == 1 else f"{count} videos"


def _label(labels, index: int) -> str:
    """Returns a label's name; its number where the font lacks a letter."""
    name = labels.names[index]
    if not _letters().issuperset(map(ord, name)):
        return f"label {index}"
    return name if len(name) <= 20 else f"{name[:19]}…"


def _cut(text: str, width: int = 80) -> str:
    """Cuts at the front: of a path, the end says most."""
    text = shown(text)
    text = "".join(c if ord(c) in _letters() else "?" for c in text)
    return text if len(text) <= width else f"…{text[len(text) - width + 1 :]}"


@functools.cache
def _letters() -> frozenset[int]:
    """Returns what matplotlib's own font can write."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())
