"""The files of an evaluation for other programs, and its charts.

    report.html        see `emorec.evaluation.evaluation_report`
    metrics.json       all figures
    predictions.csv    one row a row of the manifest; `.parquet` the same
    confusion.csv      true classes down, answers across, counts
    per_class.csv      precision, recall, F1, average precision, clips
    per_source.csv     the figures of each source
    confusion.png      } where matplotlib is installed
    reliability.png    }

All shares are 0 to 1. An empty cell is a figure that does not exist.
"""

import csv
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from emorec.data import files, result_files
from emorec.evaluation import bootstrap
from emorec.evaluation.evaluation_result import COLUMNS, Report

METRICS = "metrics.json"
PREDICTIONS = "predictions"
PAGE = "report.html"
_TABLES = ("confusion.csv", "per_class.csv", "per_source.csv")
_CHARTS = ("confusion.png", "reliability.png")


def require(kinds: Sequence[str]) -> None:
    """Fails now, not after the work, where a file could not be written.

    Raises:
        EmorecError: Parquet needs pyarrow.
    """
    for kind in kinds:
        result_files.ending_of(f"{PREDICTIONS}.{kind}")


def clear(folder: str | os.PathLike) -> None:
    """Removes an earlier run's files, not to stand beside other figures."""
    predictions = (f"{PREDICTIONS}.{kind}" for kind in ("csv", "parquet"))
    for name in (METRICS, PAGE, *predictions, *_TABLES, *_CHARTS):
        files.remove(pathlib.Path(folder) / name)


def write(
    report: Report, folder: str | os.PathLike, kinds: Sequence[str]
) -> None:
    """Writes the predictions, then `metrics.json`; see `Report.write`."""
    folder = pathlib.Path(folder)
    if "csv" in kinds:
        path = folder / f"{PREDICTIONS}.csv"
        _write_csv(path, _heads(report), map(_texts, _cells(report)))
    if "parquet" in kinds:
        heads = _heads(report)
        with files.atomic(folder / f"{PREDICTIONS}.parquet") as temporary:
            rows = (dict(zip(heads, cells)) for cells in _cells(report))
            result_files.write_parquet(temporary, rows)
    files.write_json(folder / METRICS, report.to_dict())


def write_tables(report: Report, folder: str | os.PathLike) -> None:
    """Writes the tables, each as a CSV file."""
    folder = pathlib.Path(folder)
    found = report.metrics
    tables = (_confusion(found), _classes(found), _sources(report))
    for name, (heads, rows) in zip(_TABLES, tables, strict=True):
        _write_csv(folder / name, heads, map(_texts, rows))


def draw(report: Report, folder: str | os.PathLike, title: str) -> bool:
    """Draws the charts; returns False where matplotlib is not installed."""
    from emorec.evaluation import charts

    folder = pathlib.Path(folder)
    try:
        charts.require()
    except ModuleNotFoundError:
        return False
    from emorec.evaluation import reliability

    charts.confusion_matrix(
        folder / _CHARTS[0],
        report.metrics.confusion,
        report.metrics.names,
        title,
    )
    if report.calibration is not None:
        reliability.diagram(folder / _CHARTS[1], report.calibration, title)
    return True


def _heads(report) -> list[str]:
    return [*COLUMNS, *(f"p_{name}" for name in report.metrics.names)]


def _cells(report) -> Iterable[list]:
    """The rows of the predictions; no probabilities without an answer."""
    for row in report.rows:
        shares = row["probabilities"]
        if row["predicted"] is None:
            shares = [None] * len(shares)
        yield [*(row[c] for c in COLUMNS), *shares]


def _texts(cells) -> list[str]:
    return [_text(value) for value in cells]


def _text(value) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    # As in what `emorec predict` writes.
    is_formula = isinstance(value, str) and text.startswith(
        result_files.FORMULA
    )
    return f"'{text}" if is_formula else text


def _write_csv(path, heads, rows):
    with (
        files.atomic(path) as temporary,
        # A name that is not UTF-8 holds surrogates; they are escaped.
        open(
            temporary,
            "w",
            newline="",
            encoding="utf-8",
            errors="backslashreplace",
        ) as f,
    ):
        writer = csv.writer(f)
        writer.writerow(heads)
        writer.writerows(rows)


def _confusion(found):
    heads = ["label", *found.names, "no answer"]
    return heads, (
        [name, *row] for name, row in zip(found.names, found.confusion.tolist())
    )


def _classes(found):
    heads = ["label", "precision", "recall", "f1", "average_precision", "clips"]
    columns = (
        found.precision,
        found.recall,
        found.f1,
        found.average_precision,
        found.support,
    )
    rows = zip(found.names, *(np.asarray(c).tolist() for c in columns))
    return heads, rows


def _sources(report):
    heads = ["source", "clips", "answered", *bootstrap.COUNTED]
    return [*heads, "frames_with_face_share"], (
        [source.name, *source.to_dict().values()] for source in report.sources
    )
