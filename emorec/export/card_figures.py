"""The figures of a model card: of the training run and of evaluations.

Both come to one form, since `emorec train` measures the records of the
validation split, and `emorec evaluate` the rows of any.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from emorec.data import files
from emorec.errors import EmorecError, ModelError

METRICS = "metrics.json"
SCALARS = {
    "map": "MAP (macro average precision)",
    "acc": "ACC (accuracy)",
    "ranking_map": "ranking mAP (area under precision-recall)",
    "macro_f1": "macro F1",
    "uar": "UAR (unweighted average recall)",
}
_VALIDATION = (
    "training chose its best epoch by these records, and fitted its "
    "temperature to them: that flatters the figures"
)
_REMEDY = "give a folder that `emorec evaluate` wrote for this model"


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured on one split. Shares are 0 to 1, or None.

    Attributes:
        split: Its name.
        unit: What is counted.
        n: How many, those without a face among them.
        answered: How many had a face.
        scalars: Name of `SCALARS` -> share.
        intervals: Name -> (low, high), of those that have one.
        classes: (name, clips, precision, recall) of each class.
        sources: (name, clips, answered, accuracy) of each source.
        coverage: The same by the share of frames with a face.
        majority: Accuracy of the training split's commonest class.
        calibration: Of `calibration.measure`, or None.
        fingerprint: Of the data set.
        caution: Why the figures are no fair test, or "".
    """

    split: str
    unit: str
    n: int
    answered: int
    scalars: dict[str, float | None]
    intervals: dict[str, Sequence[float]]
    classes: list[tuple]
    sources: list[tuple]
    coverage: list[tuple]
    majority: float | None
    calibration: dict | None
    fingerprint: str
    caution: str


def of_training(description: Mapping[str, Any]) -> Figures | None:
    """Returns what the training run measured; None of an older model's.

    Args:
        description: `Bundle.describe()`.
    """
    found = description["info"].get("validation")
    if not found:
        return None
    return Figures(
        split=found["split"],
        unit="records (one person in one window)",
        n=found["clips"],
        answered=found["answered"],
        scalars={name: found[name] for name in SCALARS},
        intervals={},
        classes=[
            (name, c["clips"], c["precision"], c["recall"])
            for name, c in found["classes"].items()
        ],
        sources=_slices(found["sources"], "clips"),
        coverage=_slices(found["coverage"], "clips"),
        majority=None,
        calibration=description["info"].get("calibration"),
        fingerprint=description["info"]["data"]["fingerprint"],
        caution=_VALIDATION,
    )


def read(folder: str | os.PathLike, description: Mapping[str, Any]) -> Figures:
    """Reads what `emorec evaluate` wrote.

    Args:
        folder: Its output folder; local or remote.
        description: `Bundle.describe()` of the model whose card it is for.

    Raises:
        ModelError: There is none, it is damaged, or of another model.
    """
    path = files.join(folder, METRICS)
    try:
        values = files.read_json(path, "evaluation", _REMEDY)
    except EmorecError as e:
        raise ModelError(str(e)) from e
    try:
        figures = _of_evaluation(values)
        names = [name for name, *_ in figures.classes]
        run = values.get("run", description["info"].get("run"))
        given = (values["system"], names, run)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ModelError(
            f"{path}: is no evaluation of this version ({e!r}); {_REMEDY}"
        ) from e
    wanted = (
        description["system"],
        list(description["labels"]["names"]),
        description["info"].get("run"),
    )
    for what, a, b in zip(("system", "labels", "run"), wanted, given):
        if a != b:
            raise ModelError(
                f"{path}: is of another model: its {what} must be {a}. "
                f"Received: {b}; {_REMEDY}"
            )
    return figures


def _of_evaluation(values) -> Figures:
    found = values["metrics"]
    rows = zip(
        found["names"],
        found["support"],
        found["precision"],
        found["recall"],
        strict=True,
    )
    return Figures(
        split=str(values["split"]),
        unit="clips (rows of the manifest)",
        n=int(found["n"]),
        answered=int(found["answered"]),
        scalars={name: _share(found[name]) for name in SCALARS},
        intervals={
            name: (_share(pair[0]), _share(pair[1]))
            for name, pair in (found.get("intervals") or {}).items()
            if pair and name in SCALARS
        },
        classes=[
            (str(n), int(count), _share(p), _share(r))
            for n, count, p, r in rows
        ],
        sources=_slices(found.get("sources") or {}, "n"),
        coverage=[],
        majority=_share((values.get("majority_class") or {}).get("acc")),
        calibration=_calibration(found.get("calibration")),
        fingerprint=str(values["data_fingerprint"]),
        caution=str(values.get("caution") or ""),
    )


def _slices(found, count) -> list[tuple]:
    return [
        (str(name), int(s[count]), int(s["answered"]), _share(s["acc"]))
        for name, s in found.items()
    ]


def _calibration(found) -> dict | None:
    if not found or found.get("temperature") is None:
        return None
    names = ("temperature", "ece_before", "ece_after", "nll_before")
    return {
        "clips": int(found["clips"]),
        **{n: float(found[n]) for n in (*names, "nll_after")},
    }


def _share(value) -> float | None:
    return None if value is None else float(value)
