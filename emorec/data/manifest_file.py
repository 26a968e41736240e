"""Manifests as files: read as they are written, and written."""

import csv
from collections.abc import Mapping, Sequence

from emorec import labels as label_sets
from emorec.data import files, manifest
from emorec.data.csv_lines import Faults, read_cells
from emorec.errors import ManifestError


def load(path: str) -> list[tuple[manifest.Row, dict[str, str]]]:
    """Returns (checked row, column -> cell as written) of a manifest's rows.

    The labels may be of any set, and no video is opened. The manifest may be
    remote.

    Raises:
        ManifestError: It has faults; all are listed.
    """
    with files.local_copy(path) as local:
        rows = _check(path, local)
        # As there is no fault, each line but the first is a row.
        (_, header), *lines = read_cells(local, Faults(path))
    names = [name.lower() for name in header]
    return [(r, dict(zip(names, c))) for r, (_, c) in zip(rows, lines)]


def write(path: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes a manifest, if it is one that `manifest.read` takes.

    Args:
        path: The CSV, which may be remote; one that is there is replaced.
        rows: Column -> cell, names of `manifest.COLUMNS`. A column that no
            row fills is left out, unless it is required.

    Raises:
        ManifestError: The manifest would have faults, such as one identity in
            two splits; nothing was written.
        EmorecError: It cannot be written.
    """
    columns = [
        name
        for name in manifest.COLUMNS
        if name in manifest.REQUIRED or any(row.get(name) for row in rows)
    ]
    with files.atomic(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="") as f:
            writer = csv.writer(f, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([r.get(c, "") for c in columns] for r in rows)
        try:
            _check(str(temporary), temporary)
        except ManifestError as e:
            faults = str(e).removeprefix(f"{temporary}: ")
            raise ManifestError(
                f"{path}: not written, for it would have {faults}"
            ) from e


def _check(path: str, local) -> tuple[manifest.Row, ...]:
    faults = Faults(path)
    lines = read_cells(local, faults)
    header = [name.lower() for name in next(lines, (0, []))[1]]
    at = header.index("label") if "label" in header else len(header)
    is_labelled = any(any(cells[at : at + 1]) for _, cells in lines)
    # There is no set of labels to find where there are none.
    labels_spec = label_sets.AUTO if is_labelled else "mec2017"
    return manifest.read(path, labels_spec, check_videos=False).rows
