"""What the evaluation of a model on a split found."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np

import emorec
from emorec.errors import ModelError
from emorec.evaluation import bootstrap, calibration
from emorec.evaluation import metrics as measures

# Every labelled row of a manifest, whatever split it is of.
ALL = "all"
# What is known of splits that are no fair test.
_CAUTIONS = {
    "train": "the model was trained on these clips: the figures say how well "
    "it remembers them",
    "validation": "training chose its best epoch by these clips, and fitted "
    "its temperature to them: that flatters the figures",
}
_PERHAPS = (
    "clips that the model was trained on, if there are any among these, "
    "flatter the figures"
)
# Of a row, as `predictions.csv` has them; the probabilities follow.
COLUMNS = (
    "row",
    "video",
    "source",
    "label",
    "predicted",
    "correct",
    "confidence",
    "frames",
    "frames_with_face",
)


@dataclasses.dataclass(frozen=True)
class Source:
    """The part of a split that is of one source.

    Attributes:
        name: The manifest's source column; "" where it says nothing.
        metrics: Over its rows. A class that the source lacks counts as 0 in
            its MAP, as everywhere: compare a source's MAP between models, not
            one source's with another's.
        coverage: Share of its sampled frames that had a face.
    """

    name: str
    metrics: measures.Metrics
    coverage: float

    def to_dict(self) -> dict:
        found = self.metrics
        values = {"n": found.n, "answered": found.answered}
        values |= {name: getattr(found, name) for name in bootstrap.COUNTED}
        return {**values, "frames_with_face_share": self.coverage}


@dataclasses.dataclass(frozen=True)
class Report:
    """The evaluation of one split.

    Attributes:
        split: Its name; `ALL` for every labelled row of a manifest.
        rows: One dict a row: `COLUMNS` (`predicted`, `correct` and
            `confidence` are None, False and None without a face; `frames` are
            all that were sampled) and `probabilities`, the model's own.
        metrics: Over all rows.
        majority: The most frequent label of the training split.
        majority_metrics: Of always answering with it.
        coverage: Share of the split's sampled frames that had a face, the
            same that `prepare` gives.
        failures: Videos of the split that `prepare` could not read, dicts
            with `video` and `reason`; they are in no figure.
        description: Of the model.
        fingerprint: Of the data set.
    """

    split: str
    rows: list[dict]
    metrics: measures.Metrics
    majority: str
    majority_metrics: measures.Metrics
    coverage: float
    failures: list[dict]
    description: dict
    fingerprint: str

    @property
    def unreadable(self) -> int:
        """Videos of the split that are in no figure."""
        return len(self.failures)

    @property
    def caution(self) -> str:
        """Why the figures are no fair test; "" where nothing says so."""
        trained_on = self.description["info"].get("data") or {}
        is_known = trained_on.get("fingerprint") == self.fingerprint
        if is_known and self.split in _CAUTIONS:
            return _CAUTIONS[self.split]
        return _PERHAPS if self.split in ("train", ALL) else ""

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """True class ids, int [N]."""
        return self._ids("label")

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """Answered class ids, int [N]; K where there is no answer."""
        return self._ids("predicted")

    def _ids(self, column):
        ids = {name: i for i, name in enumerate(self.metrics.names)}
        ids[None] = len(ids)
        return np.array([ids[row[column]] for row in self.rows])

    @functools.cached_property
    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """How far the figures are to be trusted; see `bootstrap`."""
        return bootstrap.intervals(
            self.labels, self.predicted, len(self.metrics.names)
        )

    @functools.cached_property
    def sources(self) -> list[Source]:
        """The sources, by name; one where the manifest names none."""
        places: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            places.setdefault(row["source"], []).append(i)
        return [self._source(name, places[name]) for name in sorted(places)]

    def _source(self, name, places) -> Source:
        rows = [self.rows[i] for i in places]
        seen = sum(row["frames_with_face"] for row in rows)
        return Source(
            name,
            measures.evaluate(
                self.labels[places],
                np.array([row["probabilities"] for row in rows]),
                np.array([row["predicted"] is not None for row in rows]),
                self.metrics.names,
            ),
            seen / max(sum(row["frames"] for row in rows), 1),
        )

    @functools.cached_property
    def calibration(self) -> dict | None:
        """`calibration.measure` over answered rows; None where none is.

        With `fitted_on`, the split that the model's temperature comes from;
        None where the model has no temperature.
        """
        answered = self.predicted < len(self.metrics.names)
        if not answered.any():
            return None
        stored = self.description["info"].get("calibration") or {}
        return {
            "fitted_on": stored.get("split"),
            **calibration.measure(
                np.array([row["probabilities"] for row in self.rows])[answered],
                self.labels[answered],
                temperature_of(self.description),
            ),
        }

    def to_dict(self) -> dict:
        """Returns what `metrics.json` holds."""
        return {
            "emorec": emorec.__version__,
            "split": self.split,
            "data_fingerprint": self.fingerprint,
            "system": self.description["system"],
            "run": self.description["info"].get("run"),
            "caution": self.caution,
            "random_weights": self.description["random_weights"],
            "notes": self.description["info"].get("notes", []),
            "frames_with_face_share": self.coverage,
            "unreadable_videos": self.unreadable,
            "metrics": {
                **self.metrics.to_dict(),
                "intervals": self.intervals,
                "interval_level": bootstrap.LEVEL,
                "interval_method": bootstrap.HOW,
                "sources": {s.name: s.to_dict() for s in self.sources},
                "calibration": self.calibration,
            },
            "majority_class": {
                "label": self.majority,
                "acc": self.majority_metrics.acc,
                "map": self.majority_metrics.map,
            },
        }

    def write(
        self, folder: str | os.PathLike, kinds: Sequence[str] = ("csv",)
    ) -> None:
        """Writes `metrics.json` and `predictions.<kind>` into a folder.

        Args:
            folder: Where to; made if it is not there.
            kinds: `csv` and `parquet`, either or both.

        Raises:
            EmorecError: A file cannot be written.
            ModuleNotFoundError: Parquet needs pyarrow.
        """
        from emorec.evaluation import evaluation_files

        evaluation_files.write(self, folder, kinds)


def temperature_of(description: dict) -> float | None:
    """Returns a model's temperature, or None where it has none.

    Args:
        description: `Bundle.describe()`.

    Raises:
        ModelError: It is no number above 0.
    """
    found = description["info"].get("calibration")
    if not found:
        return None
    try:
        temperature = float(found["temperature"])
        if 0 < temperature < float("inf"):
            return temperature
        problem = f"a temperature of {temperature}"
    except (KeyError, TypeError, ValueError) as e:
        problem = repr(e)
    raise ModelError(
        f"the model's calibration is damaged ({problem}); train or export the "
        "model again"
    )
