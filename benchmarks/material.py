"""What the suite measures on: clips, videos made of them, and a model."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

from benchmarks import videos
from benchmarks.bench import Bench, Side
from benchmarks.processes import ROOT, SideError

SMALL = (640, 360)
HD = (1280, 720)
FULL_HD = (1920, 1080)


@dataclasses.dataclass(frozen=True)
class Material:
    """What there is to measure on.

    Attributes:
        origin: Where the videos come from, in words.
        clips: The clips, by path; short ones.
        face: The clip that longer videos are made of: one face.
        model: A model folder.
        model_note: What the model is, in words.
        folder: Where made videos are kept.
    """

    origin: str
    clips: tuple[pathlib.Path, ...]
    face: pathlib.Path
    model: pathlib.Path
    model_note: str
    folder: pathlib.Path

    def video(
        self,
        seconds: float,
        size: tuple[int, int] = SMALL,
        tiles: tuple[int, int] = (1, 1),
    ) -> pathlib.Path:
        """Returns a video of the face clip; see `videos.looped`."""
        return videos.looped(self.face, self.folder, seconds, size, tiles)


def data_folder() -> pathlib.Path | None:
    """Returns the folder of real data, found as the tests find it."""
    given = os.environ.get("EMOREC_TEST_DATA")
    folder = pathlib.Path(given or ROOT.parent / "shared" / "data")
    if given and not folder.is_dir():
        raise SideError(
            f"$EMOREC_TEST_DATA must be a folder. Received: {folder}"
        )
    return folder if folder.is_dir() else None


def weights_folder() -> pathlib.Path | None:
    """Returns the folder of the encoders' weights, or None."""
    given = os.environ.get("EMOREC_WEIGHTS_DIR")
    if given:
        return pathlib.Path(given)
    data = data_folder()
    found = data / "weights" if data else None
    return found if found and found.is_dir() else None


def collect(
    bench: Bench, clips: str | None = None, model: str | None = None
) -> Material:
    """Finds or makes all that is measured on.

    Args:
        bench: Makes what takes a process.
        clips: A folder of videos; else the real data's, else the sample set.
        model: A model folder; else a small one is trained.

    Raises:
        SideError: A folder is empty or absent, or the model cannot be made.
    """
    folder, origin = _clips_folder(clips)
    labels = folder / "labelled" / "labels.csv" if folder else None
    if labels is not None and not labels.is_file():
        labels = None
    sample = bench.work / "sample"
    if folder is None and not sample.is_dir():
        bench.say("writing the sample set (once)")
        args = {"folder": str(sample)}
        bench.once(Side("benchmarks.sides.make_sample", args))
    made, note = _model(bench, labels, sample, model)
    if folder is None:
        folder, origin = sample, "the sample set"
    found = videos.listed(folder)
    if not found:
        raise SideError(f"{folder}: no videos; give CLIPS=a folder of videos")
    return Material(
        origin=origin,
        clips=tuple(found),
        face=_face_clip(found),
        model=made,
        model_note=note,
        folder=bench.work / "videos",
    )


def _clips_folder(clips) -> tuple[pathlib.Path | None, str]:
    if clips:
        if not pathlib.Path(clips).is_dir():
            raise SideError(f"CLIPS must be a folder. Received: {clips}")
        return pathlib.Path(clips), "the videos of CLIPS"
    data = data_folder()
    if data is None or not (data / "clips").is_dir():
        return None, ""
    return data / "clips", "the real clips"


def _face_clip(found) -> pathlib.Path:
    """Chooses a clip of 640x360 where there is one: nothing to resize."""

    def order(path):
        width, height, seconds = videos.size_of(path)
        return (width, height) != SMALL, -seconds, path.name

    return min(found, key=order)


def _model(bench, labels, sample, given) -> tuple[pathlib.Path, str]:
    if given:
        path = pathlib.Path(given)
        if not (path / "model.json").is_file():
            raise SideError(
                f"MODEL must be a model folder of `emorec train`. "
                f"Received: {given}"
            )
        return path.resolve(), f"MODEL={path.name}{_random(path)}"
    folder = bench.work / ("model-real" if labels else "model-sample")
    path = folder / "model"
    wanted = {
        "labels": labels and str(labels),
        "weights": bool(bench.weights),
        "code": _code(),
    }
    marker = folder / "made-of.json"
    if not (marker.is_file() and json.loads(marker.read_text()) == wanted):
        bench.say("training a small model (once)")
        shutil.rmtree(folder, ignore_errors=True)
        args = {"folder": str(folder), "labels": wanted["labels"]}
        args["sample"] = str(sample)
        bench.once(Side("benchmarks.sides.make_model", args, fresh=True))
        marker.write_text(json.dumps(wanted))
    source = "the labelled real clips" if labels else "the sample set"
    return path, f"CACA-RNN A, trained here on {source}{_random(path)}"


def _code() -> str:
    """Names the networks' code: other code may not take the weights."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "emorec" / "models").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _random(model: pathlib.Path) -> str:
    """Says which encoders of a model have random weights."""
    values = json.loads((model / "model.json").read_text(encoding="utf-8"))
    names = values.get("random_weights") or []
    return f"; RANDOM weights: {', '.join(names)}" if names else ""
