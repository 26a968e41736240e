"""A manifest of videos as a data set that fits a model, to evaluate it on."""

import dataclasses
import os
import pathlib
import tempfile
from collections import Counter
from collections.abc import Callable

from emorec.config import Config
from emorec.data import dataset, manifest, prepare
from emorec.errors import ManifestError
from emorec.evaluation.evaluation_result import ALL
from emorec.labels import LabelSet

_TEST = "test"
_NAME = "those of the model"


def read(
    path: str, split: str, labels: LabelSet, seed: int = 0
) -> manifest.Manifest:
    """Reads the rows of a split.

    Args:
        path: The CSV; may be remote.
        split: One split, drawn as `prepare` draws where rows name none; or
            `ALL`, for every labelled row, as the split `test`.
        labels: The model's.
        seed: Of a split that has to be drawn.

    Raises:
        ManifestError: The CSV has faults, among them labels that the model
            does not know; or no row is of the split.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A label file, so that each unknown label is told with its line.
        names = pathlib.Path(folder) / _NAME
        names.write_text("\n".join(labels.names) + "\n", encoding="utf-8")
        found = manifest.read(path, str(names), seed=seed)
    if split == ALL:
        rows = [r for r in found.rows if r.label is not None]
        rows = [dataclasses.replace(r, split=_TEST) for r in rows]
    else:
        rows = list(found.split(split))
    if not rows:
        counts = Counter(row.split for row in found.rows)
        has = ", ".join(f"{name} ({n})" for name, n in counts.items())
        raise ManifestError(
            f"{path}: no rows of the split {split!r}; it has {has}; "
            f"--split={ALL} takes every labelled row"
        )
    return dataclasses.replace(
        found,
        rows=tuple(rows),
        labels=labels,
        fingerprint=manifest.fingerprint(rows, found.sha256),
    )


def split_of(split: str) -> str:
    """Returns the split that the rows have in the data set."""
    return _TEST if split == ALL else split


def make(
    found: manifest.Manifest,
    folder: str | os.PathLike,
    config: Config,
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dataset.Dataset:
    """Writes the records that a model is asked, as `emorec prepare` does.

    Args:
        found: What `read` gave.
        folder: Where to; in it these rows with this config have a folder of
            their own. What is finished there is not made again.
        config: The model's.
        workers: Processes; 0 chooses.
        progress: Called with (videos done, all videos).

    Raises:
        EmorecError: No video could be read, or nothing can be written.
    """
    place = os.path.join(folder, f"{found.fingerprint}-{config.data_hash()}")
    return prepare.prepare(
        found, place, config, workers=workers, progress=progress
    )
