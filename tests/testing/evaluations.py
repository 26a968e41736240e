"""Evaluations made by hand: a data set in name, and answers for its clips."""

import csv
import json
import math
import pathlib

import numpy as np

from emorec.config import Config
from emorec.data import dataset
from emorec.evaluation import evaluate
from emorec.labels import LabelSet

NAMES = ("calm", "glad", "upset")
DESCRIPTION = {
    "system": "caca_rnn_a",
    "random_weights": ["context"],
    "info": {"notes": ["a thing to be said"]},
}


def data(train=(1, 5, 2), failures=()) -> dataset.Dataset:
    counts = dict(zip(NAMES, train, strict=True))
    # More frames than the labelled rows of `worked_example` have.
    frames = {"frames_total": 80, "frames_with_face": 30}
    splits = {"test": {"files": ["t"], "labels": {}, **frames}}
    if any(train):
        splits["train"] = {"files": ["x"], "labels": counts}
    return dataset.Dataset(
        path="data",
        config=Config(),
        labels=LabelSet("auto", NAMES),
        splits=splits,
        failures=list(failures),
        sources={},
        fingerprint="0123456789abcdef",
    )


def clip(row, label, probabilities, with_face, row_frames=(8, 8), source=""):
    return evaluate.ClipPrediction(
        row=row,
        video=f"{row}.mp4",
        source=source,
        label_id=label,
        frames_with_face=with_face,
        row_frames=row_frames,
        probabilities=np.array(probabilities, np.float32),
    )


def worked_example():
    """Four rows. Row a has two windows that disagree; row c has no face.

    a: (6 * [.6 .3 .1] + 2 * [.1 .2 .7]) / 8 = [.475 .275 .25] -> calm, right.
       (Unweighted it would be [.35 .25 .4] -> upset, wrong.)
    b: [.2 .7 .1] -> glad, right.
    c: no face at all: wrong. What an empty window answers is not looked at.
    d: [.5 .4 .1] -> calm; it is upset: wrong. Its second window is empty.
    """
    nan = [float("nan")] * 3
    return [
        clip("a", 0, [0.6, 0.3, 0.1], 6, (24, 8)),
        clip("b", 1, [0.2, 0.7, 0.1], 8, source="studio"),
        clip("a", 0, [0.1, 0.2, 0.7], 2, (24, 8)),
        clip("c", 1, nan, 0, (8, 0)),
        clip("d", 2, [0.5, 0.4, 0.1], 4, (16, 4)),
        clip("d", 2, nan, 0, (16, 4)),
        clip("unlabelled", -1, nan, 8),
    ]


def metrics_of(folder: pathlib.Path) -> dict:
    """All that `emorec evaluate` wrote into its `metrics.json`."""
    return json.loads((folder / "metrics.json").read_text())


def rows_of(folder: pathlib.Path) -> list[dict[str, str]]:
    """The rows of its `predictions.csv`."""
    with open(folder / "predictions.csv", newline="") as f:
        return list(csv.DictReader(f))


def check_same(ours: pathlib.Path, theirs: pathlib.Path) -> None:
    """Two evaluations, of one model in two forms: the same numbers.

    All of `metrics.json` and every cell of the predictions, up to the
    rounding of float32: a probability may differ by 3e-6, and in the CSV by
    one of its last place more.
    """
    different = [*_different(metrics_of(ours), metrics_of(theirs), 3e-6)]
    cells = [[_numbers(row) for row in rows_of(f)] for f in (ours, theirs)]
    assert cells[0] and not different, different
    assert not [*_different(*cells, 4.1e-6)]


def _numbers(row):
    """A row of a CSV with its shares as numbers."""
    return {
        name: float(value)
        if value and (name == "confidence" or name.startswith("p_"))
        else value
        for name, value in row.items()
    }


def _different(a, b, tolerance, at=""):
    """Yields the places at which two trees of JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for name in a:
            yield from _different(a[name], b[name], tolerance, f"{at}/{name}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, pair in enumerate(zip(a, b)):
            yield from _different(*pair, tolerance, f"{at}/{i}")
    elif isinstance(a, float) and isinstance(b, float):
        if not math.isclose(a, b, rel_tol=0, abs_tol=tolerance):
            yield at, a, b
    elif a != b:
        yield at, a, b
