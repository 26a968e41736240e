"""The HTML report of predictions: one file that stands alone.

Pictures are the crops themselves, as data; curves and the attention map are
inline SVG, so that the file needs no script and no network.
"""

import base64
import os
import pathlib

import jinja2
import numpy as np

from emorec.data import files, sample_plan
from emorec.video.container import shown

# What one file shows; a long batch is cut, and the report says so.
MAX_CLIPS = 40
THUMBNAILS = 8
# Rows and columns of an attention map that are drawn; 4096 frames would be
# 16 million rectangles.
MAP_CELLS = 64


class ClipReport:
    """Collects results of `emorec.predict` and writes the page.

    Keeps at most `MAX_CLIPS` clips and `THUMBNAILS` crops of each.

    Args:
        description: `Bundle.describe()` of the model that answered.
    """

    def __init__(self, description: dict):
        self._description = description
        self._videos: dict[str, dict] = {}
        self._shown = 0
        self._left_out = 0

    def add(self, result) -> None:
        """Adds one `emorec.predict.Result`."""
        video = self._videos.setdefault(
            shown(result.video),
            {"clips": [], "error": None, "warning": None, "no_face": None},
        )
        video["warning"] = video["warning"] or result.warning
        if result.error is not None:
            video["error"] = result.error
        elif result.answer is None:
            video["no_face"] = result.clip.frames_total
        elif self._shown >= MAX_CLIPS:
            self._left_out += 1
        else:
            self._shown += 1
            video["clips"].append(_clip(result))

    def write(self, path: str | os.PathLike) -> None:
        """Writes the page, atomically."""
        folder = pathlib.Path(__file__).parent / "templates"
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page = environment.get_template("clip_report.html").render(
            videos=self._videos,
            left_out=self._left_out,
            model=self._description,
            sample=sample_plan.SOURCE
            in self._description["info"]["data"]["sources"],
        )
        with files.atomic(path) as temporary:
            temporary.write_text(page, encoding="utf-8")


def _clip(result) -> dict:
    clip, answer = result.clip, result.answer
    order = np.argsort(-answer.probabilities, kind="stable")
    steps = _spread(clip.frames_with_face, THUMBNAILS)
    return {
        "track": clip.track,
        "start": clip.start,
        "end": clip.end,
        "label": result.label,
        "bars": [
            (result.labels.names[i], float(answer.probabilities[i]))
            for i in order
        ],
        "frames": clip.frames_total,
        "with_face": clip.frames_with_face,
        "pictures": [
            {
                "time": float(clip.times[i]),
                "face": _data(clip.face[i]),
                "context": _data(clip.context[i]),
                "attended": _attended(answer.attention, i),
            }
            for i in steps
        ],
        "map": _map(answer.attention, clip.times),
    }


def _spread(count: int, most: int) -> list[int]:
    """At most `most` steps, evenly over all, the first and last included."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).astype(int)))


def _data(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _attended(attention, step) -> float | None:
    """Mean weight of one context step over all face steps; None without."""
    return None if attention is None else float(attention[:, step].mean())


def _map(attention, times) -> dict | None:
    """The attention map as shades, 0 to 1 of its largest weight."""
    if attention is None or len(attention) < 2:
        return None
    attention = _reduced(np.asarray(attention, np.float64))
    peak = float(attention.max()) or 1.0
    return {
        "size": len(attention),
        "peak": peak,
        "first": float(times[0]),
        "last": float(times[-1]),
        "cells": [
            (x, y, round(float(w) / peak, 3))
            for y, row in enumerate(attention)
            for x, w in enumerate(row)
        ],
    }


def _reduced(attention: np.ndarray) -> np.ndarray:
    """A map of at most `MAP_CELLS` steps: means of its rows, sums of columns.

    So each row still sums to 1.
    """
    count = len(attention)
    size = min(count, MAP_CELLS)
    edges = np.linspace(0, count, size + 1).astype(int)
    summed = np.add.reduceat(attention, edges[:-1], axis=1)
    rows = np.add.reduceat(summed, edges[:-1], axis=0)
    return rows / np.diff(edges)[:, None]
