"""The HTML reports of an evaluation and of a comparison.

Each is one file that stands alone: pictures are inside as data, charts are
inline SVG; it needs no script and no network.
"""

import base64
import dataclasses
import os
import pathlib

import jinja2

import emorec
from emorec.data import files, sample_plan
from emorec.evaluation import bootstrap, calibration, mistakes
from emorec.evaluation import metrics as measures
from emorec.evaluation.compare import Comparison
from emorec.evaluation.evaluation_result import Report, temperature_of
from emorec.video.container import shown

COMPARISON_FILE = "comparison.html"
# What one page shows; the rest is in the files beside it.
MAX_CLASSES = 24
MAX_SOURCES = 40
MAX_LISTED = 40
# Answers that are shown of a mistake.
_BARS = 3
# Fewer clips than this are said to be few.
_FEW = 100
# Width of the picture of a difference, as its template draws it, and the part
# of it that the widest interval fills.
_AXIS = 260
_FILLED = 0.95
_TITLES = {
    "acc": "accuracy",
    "map": "MAP",
    "macro_f1": "macro F1",
    "uar": "UAR",
    "ranking_map": "ranking mAP",
}
_MEANING = {
    "acc": "share of clips that were answered rightly",
    "map": "mean precision over all classes, MEC 2017's measure",
    "macro_f1": "mean F1 over the classes",
    "uar": "mean recall over the classes that occur",
    "ranking_map": "mean area under precision-recall",
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """What was evaluated, as a page says it.

    Attributes:
        model: Where the model is, as the user named it.
        data: Where the data are.
    """

    model: str
    data: str


def write(
    report: Report,
    path: str | os.PathLike,
    asked: Asked,
    pictures: dict[str, list[mistakes.Picture]],
    blurred: bool = False,
) -> None:
    """Writes the page of an evaluation, atomically.

    Args:
        report: What was found.
        path: The file.
        asked: What was evaluated.
        pictures: `mistakes.pictures` of its `mistakes.worst`; empty shows
            none.
        blurred: Whether faces are hidden in them, which the page says.

    Raises:
        EmorecError: It cannot be written.
    """
    rows = mistakes.worst(report)
    _write(
        path,
        "evaluation_report.html",
        report=report,
        found=report.metrics,
        asked=_shown(asked),
        tiles=_tiles(report),
        matrix=_matrix(report.metrics),
        sources=report.sources[:MAX_SOURCES],
        more_sources=max(0, len(report.sources) - MAX_SOURCES),
        mistakes=[_mistake(row, report, pictures) for row in rows],
        blurred=blurred,
        pictured=any(pictures.values()),
        failures=[
            (shown(f["video"]), f["reason"])
            for f in report.failures[:MAX_LISTED]
        ],
        facts=_facts(report, asked),
        how=bootstrap.HOW,
        few=_FEW,
        **_warnings(report),
    )


def write_comparison(
    found: Comparison, path: str | os.PathLike, data: str, notes: list[str]
) -> None:
    """Writes the page of a comparison, atomically.

    Args:
        found: What was found.
        path: The file.
        data: Where the data are.
        notes: What has to be known with it.

    Raises:
        EmorecError: It cannot be written.
    """
    ends = [d.interval or (d.value,) for d in found.differences]
    reach = max(abs(end) for values in ends for end in values) or 1.0
    _write(
        path,
        "comparison_report.html",
        found=found,
        names=[shown(name) for name in found.names],
        data=shown(data),
        notes=notes,
        bars=[_difference(d, reach) for d in found.differences],
        rows=[{**r, "video": shown(r["video"])} for r in found.rows][
            :MAX_LISTED
        ],
        how=bootstrap.HOW,
        few=_FEW,
    )


def _write(path, template, **values):
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            pathlib.Path(__file__).parent / "templates"
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = _share
    page = environment.get_template(template).render(
        emorec=emorec.__version__, titles=_TITLES, meaning=_MEANING, **values
    )
    with files.atomic(path) as temporary:
        # A name that is not UTF-8 holds surrogates; they are escaped.
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _share(value, digits: int = 1) -> str:
    """A share in percent; a dash where there is no figure (None, NaN)."""
    if value is None or value != value:
        return "–"
    return f"{100 * value:.{digits}f} %"


def _shown(asked) -> Asked:
    return Asked(shown(asked.model), shown(asked.data))


def _warnings(report) -> dict:
    description = report.description
    data = description["info"].get("data", {})
    return {
        "sample": sample_plan.SOURCE in data.get("sources", {}),
        "random_weights": description["random_weights"],
        "notes": description["info"].get("notes", []),
    }


def _facts(report, asked) -> list[tuple[str, str]]:
    """What is known of the model and of the data."""
    description = report.description
    found = [("system", description["system"]), ("model", shown(asked.model))]
    data = description["info"].get("data")
    if data:
        sources = ", ".join(
            f"{rows} of {source or 'an unnamed source'}"
            for source, rows in data["sources"].items()
        )
        count = data.get("rows", {}).get("train", "an unknown number of")
        found.append(
            (
                "trained on",
                f"{count} videos; the data set holds {sources} (fingerprint "
                f"{data.get('fingerprint', 'unknown')})",
            )
        )
    where = f"split {report.split} of {shown(asked.data)}"
    found.append(
        ("evaluated on", f"{where} (fingerprint {report.fingerprint})")
    )
    for stream, encoder in description.get("encoders", {}).items():
        weights = "random weights"
        if not encoder.get("random"):
            weights = (
                f"weights under {encoder.get('licence', 'an unknown licence')} "
                f"from {encoder.get('origin', 'an unknown origin')}"
            )
        found.append((f"{stream} encoder", f"{encoder['id']}, {weights}"))
    return found


def _tiles(report) -> list[dict]:
    """The figures at the head of the page."""
    baseline = report.majority_metrics
    return [
        {
            "name": name,
            "value": getattr(report.metrics, name),
            "interval": report.intervals.get(name),
            "majority": getattr(baseline, name),
        }
        for name in ("acc", "map", "macro_f1", "uar")
    ]


def _matrix(found: measures.Metrics) -> list[dict] | None:
    """The confusion matrix with each cell's share of its row."""
    if len(found.names) > MAX_CLASSES:
        return None
    rows = []
    for name, counts in zip(found.names, found.confusion.tolist()):
        total = sum(counts)
        cells = [(n, n / total if total else 0.0) for n in counts]
        rows.append({"name": name, "total": total, "cells": cells})
    return rows


def _mistake(row, report, pictures) -> dict:
    shares = row["probabilities"]
    temperature = temperature_of(report.description)
    if temperature is not None:
        # As `confidence`, which stands beside them.
        shares = calibration.apply(shares, temperature).tolist()
    ranked = sorted(zip(report.metrics.names, shares), key=lambda p: -p[1])
    # The first answers, and the true one wherever it stands.
    bars = [
        (name, p)
        for i, (name, p) in enumerate(ranked)
        if i < _BARS or name == row["label"]
    ]
    return {
        **row,
        "video": shown(row["video"]),
        "bars": bars,
        "pictures": [
            {"time": p.time, "face": _data(p.face), "context": _data(p.context)}
            for p in pictures.get(row["row"], [])
        ],
    }


def _data(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _difference(found, reach) -> dict:
    """A difference as places on an axis of `_AXIS` units with 0 in its middle.

    Args:
        found: The difference.
        reach: What lies at the ends of the axis, a share.
    """

    def place(value):
        return round(_AXIS / 2 * (1 + value / reach * _FILLED), 1)

    low, high = found.interval or (None, None)
    return {
        "found": found,
        "title": _TITLES[found.metric],
        "at": place(found.value),
        "low": None if low is None else place(low),
        "high": None if high is None else place(high),
    }
