"""Charts as PNG files: bars with intervals, confusion matrix, curves.

matplotlib is imported within the functions and used through its objects
(`Figure`, `FigureCanvasAgg`): no window, no pyplot, no figure that outlives
the call. For the time of a call matplotlib's own settings take the place of
the user's matplotlibrc, so that equal charts are equal files. Names are drawn
as they are written.

Colours are those of Okabe and Ito, which people with a colour-vision
deficiency tell apart; and no meaning rests on hue alone.
"""

import contextlib
import math
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from emorec.data import files

DPI = 120
# The order keeps neighbours apart in lightness too. Yellow is left out: it
# cannot be seen as a line on white.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#000000",
)
_HATCHES = ("", "///", "...", "xxx")
# Of more classes the matrix is drawn without figures, which would overlap.
_MAX_CELL_TEXTS = 24
# Of more runs the curves are drawn without all names.
_MAX_RUN_NAMES = 14
# Inches that a character takes in width, and a line in height, at 10 points.
_CHARACTER = 0.085
_LINE = 0.18
_MAX_INCHES = 40.0
# The share, in %, from which white is read better than black on the cell.
_DARK = 71.5
# A label is a name, in which `$` starts no formula.
_SETTINGS = {"text.parse_math": False, "axes.unicode_minus": False}


def require() -> None:
    """Fails now, not after the work, where matplotlib is not installed.

    Raises:
        ModuleNotFoundError: It is not.
    """
    import matplotlib

    del matplotlib


@contextlib.contextmanager
def drawing(path: str | os.PathLike, width: float, height: float) -> Iterator:
    """Gives a figure, in inches, and writes it as a PNG afterwards.

    Raises:
        EmorecError: The file cannot be written.
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(
            figsize=(min(width, _MAX_INCHES), min(height, _MAX_INCHES)),
            layout="constrained",
        )
        canvas = FigureCanvasAgg(figure)
        yield figure
        with files.atomic(path) as temporary:
            # Without the version of matplotlib, equal charts are equal files.
            canvas.print_figure(
                temporary,
                format="png",
                dpi=DPI,
                metadata={"Software": None},
            )


def bar_chart(
    path: str | os.PathLike,
    groups: Sequence[str],
    series: Mapping[str, tuple[Sequence, Sequence, Sequence]],
    title: str,
    y_label: str,
    note: str = "",
) -> None:
    """Draws a group of bars for each name, a bar for each series.

    Args:
        path: The PNG.
        groups: Names of the G groups, along the x axis.
        series: Means, lower and upper bounds of each series, G of each; a
            NaN mean draws no bar, a NaN bound no whisker.
        title: Above the chart.
        y_label: Beside the y axis.
        note: A line below the chart.
    """
    count, size = len(series), len(groups)
    names = [wrapped(name, 14) for name in groups]
    room = _CHARACTER * max(
        len(line) for name in names for line in name.split("\n")
    )
    step = max(0.2 * count + 0.25, min(room + 0.1, 9.0 / size), 0.4)
    is_turned = room > step
    if is_turned:
        names = [_shortened(name) for name in groups]
    labels = [_shortened(label, 40) for label in series]
    width = max(5.5, 1.2 + step * size)
    with drawing(path, width, 4.6) as figure:
        axes = figure.add_subplot()
        places = np.arange(size)
        bar = 0.8 / count
        for i, (label, values) in enumerate(zip(labels, series.values())):
            means, lows, highs = np.reshape(values, (3, size))
            axes.bar(
                places + (i - (count - 1) / 2) * bar,
                means,
                bar * 0.92,
                yerr=np.nan_to_num([means - lows, highs - means]).clip(0),
                color=COLOURS[i % len(COLOURS)],
                hatch=_HATCHES[i % len(_HATCHES)],
                edgecolor="white",
                ecolor="#333333",
                capsize=3,
                label=label,
            )
        axes.set_xticks(places, names)
        _turn(axes, is_turned)
        # One group alone would be as broad as the chart.
        margin = 0.6 if size > 1 else 1.2
        axes.set_xlim(-margin, size - 1 + margin)
        axes.set_ylabel(wrapped(y_label, 46))
        axes.grid(axis="y", color="#DDDDDD")
        plain(axes)
        figure.suptitle(wrapped(title, int(9 * width)), fontsize=12)
        # No `supxlabel`: a legend outside the axes is drawn over it.
        axes.set_xlabel(wrapped(note, int(13 * width)), fontsize=8)
        if count > 1:
            legend_below(figure, width, labels)


def confusion_matrix(
    path: str | os.PathLike,
    counts: np.ndarray,
    names: Sequence[str],
    title: str,
    note: str = "",
) -> None:
    """Draws a confusion matrix: shares of each true class, and counts.

    Args:
        path: The PNG.
        counts: int [K, K + 1], true classes down and answers across; the
            last column counts the clips without a face.
        names: The K class names.
        title: Above the chart.
        note: A line below it.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names) + 1):
        raise ValueError(
            "`counts` must be [K, K + 1] for K names. Received: "
            f"{counts.shape}, {len(names)} names"
        )
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(
        counts, total, out=np.zeros(counts.shape), where=total > 0
    )
    k = len(names)
    has_texts = k <= _MAX_CELL_TEXTS
    cell = (0.75 if k <= 10 else 0.6) if has_texts else min(0.3, 14.0 / k)
    columns = [_shortened(n) for n in names]
    rows = [f"{n}  ({t})" for n, t in zip(columns, total[:, 0])]
    room = _CHARACTER * max(len(row) for row in rows)
    width = max(2.2 + room + cell * (k + 1), 5.5)
    height = max(1.8 + 0.7 * room + cell * k, 3.2)
    with drawing(path, width, height) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(
            100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto"
        )
        # Of so many names that they would overlap, only every few.
        shown = range(0, k, math.ceil(_LINE / cell))
        axes.set_xticks([*shown, k], [*(columns[i] for i in shown), "no face"])
        axes.set_yticks(shown, [rows[i] for i in shown])
        _turn(axes, True)
        axes.set_xlabel("answer")
        axes.set_ylabel("true class (clips)")
        if has_texts:
            axes.set_xticks(np.arange(k) + 0.5, minor=True)
            axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
            axes.grid(which="minor", color="#DDDDDD", linewidth=0.5)
            axes.tick_params(which="minor", length=0)
            _cell_texts(axes, counts, shares, total)
        axes.axvline(k - 0.5, color="#333333", linewidth=1.5)
        bar = figure.colorbar(image, pad=0.02, fraction=0.05)
        bar.set_label("% of the true class's clips")
        figure.suptitle(wrapped(title, int(9 * width)), fontsize=12)
        if note:
            figure.supxlabel(wrapped(note, int(13 * width)), fontsize=8)


def _cell_texts(axes, counts, shares, total):
    """Writes the share and below it the count into each cell."""
    small = len(counts) > 10
    for (i, j), count in np.ndenumerate(counts):
        share = 100 * shares[i, j]
        if not total[i, 0]:
            text = "-"
        elif not count:
            text = "0"
        else:
            text = f"{'<1' if share < 0.5 else f'{share:.0f}'} %\n{count}"
        axes.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            fontsize=7.5 if small else 8.5,
            color="white" if share > _DARK else "black",
        )


def training_curves(
    path: str | os.PathLike,
    runs: Mapping[str, Sequence[Mapping[str, float]]],
    title: str,
) -> None:
    """Draws loss and accuracy over the epochs, of one run or of many.

    Args:
        path: The PNG.
        runs: The epochs of each run, first to last: `loss`, `accuracy` and,
            where there was a validation split, `val_loss`, `val_accuracy`.
            What is absent, None or not finite is left out.
        title: Above the chart.
    """
    from matplotlib.ticker import MaxNLocator

    colours = _run_colours(len(runs))
    is_crowded = len(runs) > len(COLOURS)
    longest = max((len(epochs) for epochs in runs.values()), default=1)
    width = 10.0
    with drawing(path, width, 4.6) as figure:
        panels = figure.subplots(1, 2)
        for axes, key, name in zip(
            panels, ("loss", "accuracy"), ("loss", "accuracy, %")
        ):
            scale = 100 if key == "accuracy" else 1
            for epochs, colour in zip(runs.values(), colours):
                thin, full = (0.6, 1.2) if is_crowded else (0.9, 1.9)
                _curve(axes, epochs, key, scale, colour, "--", thin)
                _curve(axes, epochs, f"val_{key}", scale, colour, "-", full)
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
            axes.set_xlim(0.5, max(longest, 1) + 0.5)
            axes.xaxis.set_major_locator(
                MaxNLocator(integer=True, min_n_ticks=1)
            )
            axes.grid(color="#DDDDDD")
            plain(axes)
        panels[1].set_ylim(-2, 102)
        _curve_key(panels[0], runs)
        figure.suptitle(wrapped(title, int(9 * width)), fontsize=12)
        if len(runs) > 1:
            _run_key(figure, width, list(runs), colours)


def _curve_key(axes, runs):
    """Says which line is of the training, and which of the validation."""
    from matplotlib.lines import Line2D

    lines = {"training": Line2D([], [], color="#555555", ls="--", lw=0.9)}
    if any("val_loss" in epoch for epochs in runs.values() for epoch in epochs):
        lines["validation"] = Line2D([], [], color="#555555", lw=1.9)
    axes.legend(list(lines.values()), list(lines), loc="upper right")


def _run_key(figure, width, labels, colours):
    """Names the runs; of many, the first and the last, and their number."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour, linewidth=4) for colour in colours]
    labels = [_shortened(label, 40) for label in labels]
    if len(labels) > _MAX_RUN_NAMES:
        middle = len(lines) // 2
        lines = [lines[0], lines[middle], lines[-1]]
        labels = [labels[0], f"... {len(labels)} runs ...", labels[-1]]
    legend_below(figure, width, labels, lines)


def _curve(axes, epochs, key, scale, colour, style, width):
    values = [_finite(epoch.get(key)) * scale for epoch in epochs]
    if not np.isfinite(values).any():
        return
    axes.plot(
        range(1, len(values) + 1),
        values,
        color=colour,
        linestyle=style,
        linewidth=width,
        # One epoch makes no line.
        marker="o" if len(values) == 1 else None,
        markersize=3 + 2 * width,
        fillstyle="full" if style == "-" else "none",
    )


def _finite(value) -> float:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else math.nan


def _run_colours(count: int) -> list:
    """Returns as many colours; of many runs, along one scale of lightness."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0, 0.92, count)))


def legend_below(figure, width, labels, lines=None):
    """Draws the legend under the panels, as many columns as find room.

    Args:
        figure: The figure.
        width: Its width, inches.
        labels: The names.
        lines: What each is drawn with; by default what the first panel has.
    """
    if lines is None:
        lines = figure.axes[0].get_legend_handles_labels()[0]
    room = 0.9 + _CHARACTER * max(map(len, labels))
    figure.legend(
        lines,
        labels,
        loc="outside lower center",
        ncols=max(1, min(len(labels), int(width / room))),
        frameon=False,
    )


def _turn(axes, is_turned: bool):
    """Turns the names under the x axis, which end below their place."""
    if is_turned:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")


def plain(axes):
    """Leaves out the frame's upper and right side."""
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def wrapped(text: str, width: int) -> str:
    """Breaks a text into lines, at most three, the last one shortened."""
    lines = textwrap.wrap(text, width)
    if len(lines) > 3:
        lines = [*lines[:2], _shortened(" ".join(lines[2:]), width)]
    return "\n".join(lines)


def _shortened(text: str, width: int = 24) -> str:
    """Cuts out the middle: long names differ at their ends as often."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
