"""The attention map of a clip as data for a page.

Row i of a clip's attention tells which context frames were looked at, by what
weight, before face frame i was read.
"""

import numpy as np

from emorec.evaluation.thumbnails import Thumbnails
from emorec.video.blur import FaceHider

# Rows and columns that are drawn; 4096 frames would be 16 million cells.
MAP_CELLS = 64
# A map whose largest weight is below so many times the mean says little.
_EVEN = 1.5


def summary(
    result,
    *,
    rows: int = 6,
    top: int = 3,
    thumbnails: bool = True,
    hider: FaceHider | None = None,
) -> dict | None:
    """Returns what a page shows of a result's attention.

    Args:
        result: An `emorec.results.Result` of a clip.
        rows: Face frames for which the frames looked at are told.
        top: How many of these for each, the largest weights first.
        thumbnails: Whether they come with pictures.
        hider: Hides the faces in these.

    Returns:
        None for a result without attention or with one frame, else

            video, track, start, end, label   as the result's
            frames     n, the clip's frames with a face
            times      [m] seconds of the map's steps, at most `MAP_CELLS`
            matrix     [m][m] face frames down, context frames across; each
                       row sums to 1. Longer clips' steps are put together
            peak       the largest weight of the matrix
            mean       [m] each column's mean
            even       whether the map is nearly even, so that no frame was
                       looked at much more than another
            rows       for `rows` face frames: time, face (a `data:` address or
                       None), looked_at: for `top` context frames time,
                       weight, picture (a `data:` address or None)
    """
    made = plan(result, rows, top)
    if made is not None and thumbnails:
        pictures = Thumbnails(result.clip, steps_of(made)).made(hider)
        fill(made, pictures)
    return made


def plan(result, rows: int, top: int) -> dict | None:
    """Returns `summary` without pictures; each row says its `step` too."""
    clip, attention = result.clip, result.answer and result.answer.attention
    if clip is None or attention is None or len(attention) < 2:
        return None
    attention = np.asarray(attention, np.float64)
    count = len(attention)
    matrix = reduced(attention)
    edges = _edges(count, len(matrix))
    return {
        "video": result.video,
        "track": clip.track,
        "start": float(clip.start),
        "end": float(clip.end),
        "label": result.label,
        "frames": count,
        "times": [float(clip.times[i]) for i in edges[:-1]],
        "last": float(clip.times[-1]),
        "matrix": matrix.tolist(),
        "peak": float(matrix.max()),
        "mean": matrix.mean(0).tolist(),
        "even": bool(attention.max() < _EVEN / count),
        "rows": [
            {
                "step": i,
                "time": float(clip.times[i]),
                "face": None,
                "looked_at": _looked_at(attention[i], clip.times, top),
            }
            for i in spread(count, rows)
        ],
    }


def steps_of(made: dict) -> set[int]:
    """Returns the frames whose pictures a plan needs."""
    steps = {row["step"] for row in made["rows"]}
    return steps.union(
        at["step"] for row in made["rows"] for at in row["looked_at"]
    )


def fill(made: dict, pictures: dict) -> None:
    """Puts pictures, as of `Thumbnails.made`, into a plan."""
    for row in made["rows"]:
        row["face"] = pictures.get(("face", row["step"]))
        for at in row["looked_at"]:
            at["picture"] = pictures.get(("context", at["step"]))


def spread(count: int, most: int) -> list[int]:
    """At most `most` steps, evenly over all, the first and last included."""
    chosen = np.linspace(0, count - 1, min(count, most)).astype(int)
    return sorted({int(i) for i in chosen})


def _looked_at(weights, times, top) -> list[dict]:
    order = np.argsort(-weights, kind="stable")[:top]
    return [
        {
            "step": int(i),
            "time": float(times[i]),
            "weight": float(weights[i]),
            "picture": None,
        }
        for i in order
    ]


def _edges(count: int, size: int) -> np.ndarray:
    return np.linspace(0, count, size + 1).astype(int)


def reduced(attention: np.ndarray) -> np.ndarray:
    """A map of at most `MAP_CELLS` steps: means of its rows, sums of columns.

    So each row still sums to 1.
    """
    count = len(attention)
    edges = _edges(count, min(count, MAP_CELLS))
    summed = np.add.reduceat(attention, edges[:-1], axis=1)
    rows = np.add.reduceat(summed, edges[:-1], axis=0)
    return rows / np.diff(edges)[:, None]
