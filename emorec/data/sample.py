"""A generated set of labelled videos that shows the software at work.

No labelled emotion video may be shipped, so this one is drawn: a photographed
person whose face is warped (`sample_face`) moves before a photographed scene
(`sample_scene`). It is a sanity set. It says nothing about emotion: a good
score on it means that the parts of the software fit together, no more.

What makes it a test of both streams: the label is the *pair* of expression and
scene. Each expression and each scene belongs to two labels, so that either
stream alone can be right half of the time, and both together always:

    expression    smile          frown         scowl           gape
    scene      table  meadow  meadow stars  stars  wall    wall    table
    label      happy  neutral sad   worried angry  disgust anxious surprise

The streams are kept apart: a drawn helmet fills the corners of the face crop,
and the person stands outside the middle square that the context stream sees.
Measured with the defaults, a logistic regression on the frozen features of
mini-XCEPTION and SqueezeNet, on the identities not trained on: face alone .48,
context alone .46 (.58 with random weights), both 1.0 of the labels right.

Identities differ in colours, proportions and mirroring and never share a
split.
"""

import concurrent.futures
import csv
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable

import av
import numpy as np

from emorec import labels
from emorec.data import sample_face, sample_scene
from emorec.data.sample_plan import (
    SOURCE,
    VERSION,
    Parameters,
    PlannedClip,
    plan_clips,
)
from emorec.errors import UsageError

COLUMNS = ("video", "label", "split", "identity", "source")

_MARKER = "sample.json"
_ENCODER = {"preset": "veryfast", "crf": "22", "x264-params": "mbtree=0"}
_README = """\
A sanity set, written by emorec.data.sample. NOT data about emotion.

Every video is drawn: one photograph of a person, warped into four crude
expressions, before four other photographs. The label is the pair of
expression and scene, and half of it is in each; its names are borrowed from
MEC 2017 and mean nothing here. A good score on this set shows that the
software works from video files to metrics. It says nothing about how well
anything recognises emotion, and must not be reported as if it did.

The photographs are those that scikit-image ships (skimage/data): astronaut
and hubble_deep_field (NASA), coffee, grass, brick. The person in the first
did not make these faces.
"""


def write_sample_set(
    output_dir: str | os.PathLike,
    *,
    identities: int = 14,
    clips_per_label: int = 1,
    seconds: float = 2.0,
    seed: int = 0,
    width: int = 384,
    height: int = 216,
    fps: int = 16,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pathlib.Path:
    """Writes the sample set, a sanity set that says nothing about emotion.

    The folder gets `videos/*.mp4` (H.264), `manifest.csv`, `README.txt` and
    `sample.json` with the parameters. All of it is written to a folder beside
    and renamed, so that an interrupted call leaves no half set; a complete
    set of the same parameters is kept as it is.

    Args:
        output_dir: Where the set goes; absent, empty, or an earlier set.
        identities: How many identities, at least one for each split.
        clips_per_label: Clips of each of the eight labels for each identity.
        seconds: Length of each clip.
        seed: Decides every pixel, with the other parameters.
        width: Frame width in pixels, even. From 1.75 x `height`, the face is
            outside the middle square, which is the context stream.
        height: Frame height in pixels, even; a face is 0.37 of it.
        fps: Frames per second.
        workers: Threads; the number of CPUs by default.
        progress: Called in this thread with (clips done, clips in all).

    Returns:
        The path of `manifest.csv`, whose video paths are relative to it.

    Raises:
        UsageError: A parameter is out of range, or `output_dir` holds
            something else.
        EmorecError: scikit-image, which has the photographs, is absent.
    """
    output_dir = pathlib.Path(output_dir).absolute()
    wanted = Parameters(
        identities, clips_per_label, float(seconds), seed, width, height, fps
    )
    clips = plan_clips(wanted)
    _check_folder(output_dir, wanted)
    if not _is_complete(output_dir, clips):
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(output_dir)
        partial = pathlib.Path(
            tempfile.mkdtemp(
                prefix=f".{output_dir.name}.partial.", dir=output_dir.parent
            )
        )
        try:
            _write_videos(partial, wanted, clips, workers, progress)
            _write_texts(partial, wanted, clips)
            _publish(partial, output_dir)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    if progress:
        progress(len(clips), len(clips))
    return output_dir / "manifest.csv"


def _marker_text(wanted: Parameters) -> str:
    values = {
        "what": "emorec sample set: a sanity set, not data about emotion",
        "version": VERSION,
        "parameters": dataclasses.asdict(wanted),
    }
    return json.dumps(values, indent=1) + "\n"


def _check_folder(output_dir: pathlib.Path, wanted: Parameters) -> None:
    """Refuses a folder that holds anything but this very set."""
    if not output_dir.exists():
        return
    if not output_dir.is_dir():
        raise UsageError(
            "the sample set needs a folder to write to. Received: "
            f"{output_dir}, which is a file"
        )
    marker = output_dir / _MARKER
    if marker.is_file():
        found = marker.read_text(encoding="utf-8", errors="replace")
        if found != _marker_text(wanted):
            raise UsageError(
                f"{output_dir} holds a sample set of other parameters or of "
                "another version of emorec: remove it or name another folder"
            )
    elif any(output_dir.iterdir()):
        raise UsageError(
            f"{output_dir} is not empty and holds no sample set: name "
            "another folder"
        )


def _is_complete(
    output_dir: pathlib.Path, clips: Iterable[PlannedClip]
) -> bool:
    names = [_MARKER, "manifest.csv", "README.txt"]
    names += [clip.video for clip in clips]
    return all((output_dir / name).is_file() for name in names)


def _remove_leftovers(output_dir: pathlib.Path) -> None:
    """Removes what killed runs left; an hour spares one that still runs."""
    for path in output_dir.parent.glob(f".{output_dir.name}.partial.*"):
        if time.time() - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)


def _write_videos(partial, wanted, clips, workers, progress) -> None:
    """Draws and encodes all clips, one task an identity."""
    (partial / "videos").mkdir()
    person = sample_face.load_photograph("astronaut.png")
    scenes = {
        name: sample_scene.load_scene(name) for name in sample_scene.SCENES
    }
    parts: dict[int, list[PlannedClip]] = {}
    for clip in clips:
        parts.setdefault(clip.identity, []).append(clip)
    # Threads: OpenCV and x264 let go of the interpreter's lock.
    pool = concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        tasks = [
            pool.submit(_write_identity, partial, wanted, part, person, scenes)
            for part in parts.values()
        ]
        done = 0
        for task in concurrent.futures.as_completed(tasks):
            done += task.result()
            if progress and done < len(clips):
                progress(done, len(clips))
    finally:
        pool.shutdown(cancel_futures=True)


def _write_identity(partial, wanted, clips, person, scenes) -> int:
    """Writes the clips of one identity; returns how many."""
    index = clips[0].identity
    identity = sample_face.make_identity(
        person, index, np.random.default_rng([wanted.seed, index])
    )
    for clip in clips:
        label_id = labels.MEC2017.index(clip.label)
        rng = np.random.default_rng([wanted.seed, index, label_id, clip.take])
        shot = sample_scene.Shot(
            clip.expression,
            clip.scene,
            wanted.width,
            wanted.height,
            wanted.frames,
            wanted.fps,
        )
        frames = sample_scene.render(identity, scenes[clip.scene], shot, rng)
        _encode(partial / clip.video, frames, wanted)
    return len(clips)


def _encode(path: pathlib.Path, frames, wanted: Parameters) -> None:
    """Writes RGB uint8 [H, W, 3] frames as H.264 in MP4."""
    with av.open(str(path), "w") as container:
        # Without mbtree: with it, x264 gave other bytes in each run (15 kinds
        # in 30 runs of the same frames), also with one thread.
        stream = container.add_stream("libx264", wanted.fps, _ENCODER)
        stream.width, stream.height = wanted.width, wanted.height
        stream.pix_fmt = "yuv420p"
        # x264's output depends on its thread count, which follows the CPUs.
        stream.codec_context.thread_count = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _write_texts(partial, wanted, clips) -> None:
    path = partial / "manifest.csv"
    with open(path, "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(COLUMNS)
        for clip in clips:
            writer.writerow(
                (
                    clip.video,
                    clip.label,
                    clip.split,
                    f"person{clip.identity:02d}",
                    SOURCE,
                )
            )
    (partial / "README.txt").write_text(_README, encoding="utf-8")
    (partial / _MARKER).write_text(_marker_text(wanted), encoding="utf-8")


def _publish(partial: pathlib.Path, output_dir: pathlib.Path) -> None:
    """Puts the finished set in place; a damaged one of ours is mended."""
    if not (output_dir / _MARKER).is_file():
        # mkdtemp makes folders that only their owner can read.
        partial.chmod(0o755)
        partial.rename(output_dir)  # replaces an empty folder
        return
    (output_dir / "videos").mkdir(exist_ok=True)
    for path in sorted(partial.rglob("*")):
        if path.is_file():
            path.replace(output_dir / path.relative_to(partial))
