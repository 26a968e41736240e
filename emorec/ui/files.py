"""The files that a visitor may download."""

import pathlib
from collections.abc import Callable

from emorec.config import Config
from emorec.evaluation import clip_report
from emorec.results import Results
from emorec.video import annotate


def annotated(
    path: pathlib.Path,
    folder: pathlib.Path,
    results: Results,
    config: Config,
    blur: bool,
    detector,
    progress: Callable[[float], None],
) -> pathlib.Path:
    """Writes the annotated video; returns its path.

    Args:
        path: The video.
        folder: Where to.
        results: Its results.
        config: The model's.
        blur: Whether faces are hidden.
        detector: Finds the faces to hide; for this alone meanwhile.
        progress: Called with the share that is done, 0 to 1.
    """
    target = folder / f"{path.stem}_annotated.mp4"

    def watched(done: float, total: float | None):
        progress(done / total if total else 0)

    annotate.annotate(
        str(path),
        results,
        target,
        config=config,
        blur=blur,
        detector=detector,
        progress=watched,
    )
    return target


def tables(
    folder: pathlib.Path, path: pathlib.Path, results: Results
) -> dict[str, pathlib.Path]:
    """Writes the CSV tables; returns their paths by the outcome's fields."""
    made = {
        "csv": folder / f"{path.stem}_answers.csv",
        "frames_csv": folder / f"{path.stem}_frames.csv",
    }
    results.to_pandas().to_csv(made["csv"], index=False)
    results.frames_to_pandas().to_csv(made["frames_csv"], index=False)
    return made


def report(
    folder: pathlib.Path,
    path: pathlib.Path,
    description: dict,
    results: Results,
    *,
    blur: bool,
    pictures: bool,
    detector,
) -> pathlib.Path:
    """Writes the HTML report; returns its path."""
    target = folder / f"{path.stem}_report.html"
    made = clip_report.ClipReport(
        description, thumbnails=pictures, blur=blur, detector=detector
    )
    for result in results:
        made.add(result)
    made.write(target)
    return target
