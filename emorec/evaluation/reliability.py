"""The reliability diagram: is what is said with 80 % right in 80 %?

A PNG file, drawn as all of `emorec.evaluation.charts`.
"""

import math
import os
from collections.abc import Mapping

from emorec.evaluation import charts

# 1.96 standard deviations: 95 %.
_Z = 1.96
_WIDTH = 5.6
_HEIGHT = 6.2


def diagram(
    path: str | os.PathLike, measured: Mapping, title: str, note: str = ""
) -> None:
    """Draws confidence against the share of right answers, in bins.

    Points on the diagonal are what confidence should be; below it the model
    is too sure of itself. The bar of a point is the 95 % interval of its share
    (Wilson's), the panel beneath says how many clips stand behind it.

    Args:
        path: The PNG.
        measured: Of `calibration.measure`; where it holds no temperature, the
            model's own confidence is drawn alone.
        title: Above the diagram.
        note: A line below it.

    Raises:
        EmorecError: The file cannot be written.
        ModuleNotFoundError: matplotlib is not installed.
    """
    curves = [_curve(measured, "before", "the model's own", 0)]
    if measured["temperature"] is not None:
        name = f"calibrated, temperature {measured['temperature']:.3g}"
        curves.append(_curve(measured, "after", name, 1))
    with charts.drawing(path, _WIDTH, _HEIGHT) as figure:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4.2, 1))
        axes.plot((0, 100), (0, 100), color="#555555", linewidth=1, zorder=1)
        axes.annotate(
            "as it should be",
            (3, 3),
            xytext=(5, 8),
            textcoords="offset points",
            rotation=45,
            rotation_mode="anchor",
            transform_rotates_text=True,
            fontsize=8,
            color="#555555",
        )
        for i, curve in enumerate(curves):
            _draw(axes, below, curve, i, len(curves))
        _finish(figure, axes, below, curves)
        head = f"{title}\n{measured['clips']} clips" if title else ""
        figure.suptitle(
            "\n".join(charts.wrapped(t, 48) for t in head.split("\n")),
            fontsize=12,
        )
        if note:
            below.set_xlabel(
                below.get_xlabel() + "\n" + charts.wrapped(note, 62),
            )


def _curve(measured, when, name, style) -> dict:
    bins = measured["bins_before" if when == "before" else "bins"]
    return {
        "name": f"{name}: error (ECE) {100 * measured[f'ece_{when}']:.1f} %",
        "bins": [b for b in bins if b["clips"]],
        "colour": charts.COLOURS[3 if style == 0 else 0],
        "line": "--" if style == 0 else "-",
        "marker": "o" if style == 0 else "s",
        "fill": "none" if style == 0 else "full",
    }


def _draw(axes, below, curve, i, count):
    bins, colour = curve["bins"], curve["colour"]
    shares = [b["accuracy"] for b in bins]
    bounds = [_interval(b["accuracy"], b["clips"]) for b in bins]
    axes.errorbar(
        [100 * b["confidence"] for b in bins],
        [100 * s for s in shares],
        yerr=[
            [100 * (s - low) for s, (low, _) in zip(shares, bounds)],
            [100 * (high - s) for s, (_, high) in zip(shares, bounds)],
        ],
        color=colour,
        linestyle=curve["line"],
        marker=curve["marker"],
        markersize=6,
        fillstyle=curve["fill"],
        linewidth=1.6,
        elinewidth=0.8,
        capsize=2,
        label=curve["name"],
        zorder=2 + i,
        clip_on=False,
    )
    # Side by side in the place of their bin.
    room = 100 * (bins[0]["high"] - bins[0]["low"]) * 0.86 if bins else 0
    below.bar(
        [
            50 * (b["low"] + b["high"]) + room * ((i + 0.5) / count - 0.5)
            for b in bins
        ],
        [b["clips"] for b in bins],
        room / count,
        facecolor="none" if curve["fill"] == "none" else colour,
        edgecolor=colour,
        linewidth=1,
    )


def _finish(figure, axes, below, curves):
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of right answers, %")
    below.set_ylabel("clips")
    below.set_xlabel("confidence: probability of the answer, %")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for panel in (axes, below):
        panel.grid(color="#DDDDDD")
        charts.plain(panel)
    charts.legend_below(
        figure,
        _WIDTH,
        [curve["name"] for curve in curves],
        axes.get_legend_handles_labels()[0],
    )


def _interval(share: float, n: int) -> tuple[float, float]:
    """Returns Wilson's interval of a share, which stays within 0 to 1."""
    scale = 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / scale
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n)) / scale
    return min(middle - half, share), max(middle + half, share)
