"""Results as a part of an HTML page, for notebooks.

Without pictures: a notebook is saved and passed on with what it shows.
"""

import html
import io
from collections.abc import Sequence

import numpy as np

# Rows of the table, and labels of a row's bars.
MAX_ROWS = 40
MAX_BARS = 3
_CELL = "padding:4px 12px 4px 0;text-align:left;vertical-align:top"
_BAR = (
    "display:inline-block;height:.7em;border-radius:2px;"
    "background:{};width:{:.0f}px"
)
_SURE, _UNSURE = "#2f6fb3", "#9aa5b1"
_BAR_PIXELS = 120


def page_part(results: Sequence) -> str:
    """Returns a table of one row a person, with bars of probabilities.

    Args:
        results: `emorec.results.Results`.
    """
    rows = results.whole
    shown = rows[:MAX_ROWS]
    many_videos = len({r.video for r in rows}) > 1
    heads = ["person", "label", "confidence", "probabilities", "time", "face"]
    if many_videos:
        heads.insert(0, "video")
    text = "".join(f'<th style="{_CELL}">{h}</th>' for h in heads)
    parts = [f"<tr>{text}</tr>"]
    parts += [_row(r, many_videos, len(heads)) for r in shown]
    notes = _notes(rows, many_videos)
    if len(rows) > len(shown):
        notes.append(f"{len(rows) - len(shown)} rows more are not shown.")
    notes += [f"Note: {n}" for n in rows.notes]
    below = "".join(
        f'<p style="margin:.3em 0"><small>{html.escape(n)}</small></p>'
        for n in notes
    )
    return f'<table style="border:0">{"".join(parts)}</table>{below}'


def _row(result, with_video: bool, columns: int) -> str:
    video = f"<td style='{_CELL}'>{html.escape(_name(result.video))}</td>"
    before = video if with_video else ""
    if result.answer is None:
        said = result.error or (
            f"no face found in {result.frames} frames "
            f"({result.start:.1f}–{result.end:.1f} s)"
        )
        span = columns - with_video
        return (
            f"<tr>{before}<td style='{_CELL}' colspan={span}>"
            f"{html.escape(said)}</td></tr>"
        )
    label = html.escape(result.label)
    if result.uncertain:
        label += " <i>(uncertain)</i>"
    confidence = f"{result.confidence:.2f}"
    if not result.calibrated:
        confidence += " <small>(not calibrated)</small>"
    span = f"{result.start:.1f}–{result.end:.1f} s"
    if not result.whole and result.windows == 1:
        windows = ""
    else:
        windows = f"<br><small>{result.windows} windows</small>"
    cells = [
        str(result.track),
        f"<b>{label}</b>",
        confidence,
        _bars(result),
        span + windows,
        f"{result.frames_with_face} of {result.frames} frames",
    ]
    text = "".join(f"<td style='{_CELL}'>{c}</td>" for c in cells)
    return f"<tr>{before}{text}</tr>"


def _bars(result) -> str:
    found = result.answer.probabilities
    order = np.argsort(-found, kind="stable")[:MAX_BARS]
    colour = _UNSURE if result.uncertain else _SURE
    return "".join(
        "<div style='white-space:nowrap'>"
        f'<span style="{_BAR.format(colour, _BAR_PIXELS * found[i])}">'
        f"</span> {html.escape(result.labels.names[i])} "
        f"{float(found[i]):.2f}</div>"
        for i in order
    )


def _notes(rows, many_videos) -> list[str]:
    notes = [
        f"{_name(r.video)}: {r.warning}" if many_videos else r.warning
        for r in rows
        if r.warning
    ]
    if rows and not many_videos:
        notes.insert(0, _name(rows[0].video))
    return notes


def _name(video) -> str:
    from emorec.video.container import shown

    return shown(video)


def png(figure) -> bytes:
    """Returns a matplotlib `Figure` as a PNG of a notebook's width."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
