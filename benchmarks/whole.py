"""Whole processes: cold start, a minute of video, memory, many videos."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import end_to_end, processes
from benchmarks import material as materials
from benchmarks.bench import Bench, Side
from benchmarks.rows import Row, compared, value

# Two gigabytes, in MiB.
LIMIT_MB = 2048.0
# Length of each video of a folder.
FOLDER_S = 30
ONE_CORE = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


def rows(bench: Bench) -> Iterator[Row]:
    """Yields the rows of whole processes."""
    yield from _cold_start(bench)
    yield _cold_onnx(bench)
    yield from _cold_minute(bench)
    yield _full_hd(bench)
    yield from _folder(bench)
    yield from _half_hour(bench)


def predict_words(bench: Bench, *videos, flags=()) -> list[str]:
    """The words of an `emorec predict`, after the interpreter."""
    output = bench.work / "results.jsonl"
    return [
        "-m",
        "emorec",
        "predict",
        *map(str, videos),
        f"--model_dir={bench.material.model}",
        f"--output={output}",
        "--quiet",
        *flags,
    ]


def side_words(side: Side) -> list[str]:
    """The words of a side as a whole process."""
    return ["-m", "benchmarks.once", side.module, json.dumps(dict(side.args))]


def _analysed(bench) -> int:
    """Counts the frames that the last `emorec predict` analysed."""
    windows = {
        (found["video"], found["start"]): found["frames"]
        for found in _windows(bench)
    }
    return sum(windows.values())


def _windows(bench) -> Iterator[dict]:
    """Yields what the last `emorec predict` says of each window.

    Not of whole videos, whose frames are those of their windows.
    """
    output = bench.work / "results.jsonl"
    for line in output.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if not found.get("whole"):
            yield found


def _commands(bench, name, unit, ours, peer, units, **words) -> Row:
    """A row of two whole commands; `units` of work in each."""
    found, failed = bench.commands([ours, peer], words.pop("rounds", None))
    values = [
        [
            value(unit, {"units": count() if callable(count) else count, **a})
            for a in side
        ]
        for side, count in zip(found, units)
    ]
    detail = dict(words.pop("detail", {}))
    for label, side in zip(("ours", "peer"), found):
        if side:
            detail[f"{label}_cpu_s"] = round(side[-1]["cpu"], 2)
            detail[f"{label}_peak_mb"] = round(side[-1]["peak_mb"])
    reason = "; ".join(filter(None, failed)) or None
    return compared(name, unit, *values, reason=reason, detail=detail, **words)


def _cold_start(bench) -> Iterator[Row]:
    clip = bench.material.video(3)
    parts = "left out by QUICK=1" if bench.quick else _cold_parts(bench, clip)
    yield _commands(
        bench,
        "cold start: a 3 s clip, whole process",
        "s",
        ("ours", predict_words(bench, clip)),
        ("peers", side_words(end_to_end.fer_side(str(clip)))),
        (1, 1),
        peer_name=end_to_end.FER,
        goal=1.0,
        detail={"seconds_by_part": parts},
    )


def _cold_onnx(bench) -> Row:
    """The same without TensorFlow; the ONNX files are made once."""
    name, clip = "cold start, --onnx", bench.material.video(3)
    words = {"peer_name": end_to_end.FER}
    if bench.quick:
        return bench.skipped(name, "s", **words)
    folder = bench.work / f"onnx-{bench.material.model.parent.name}"
    if not folder.is_dir():
        export = ["-m", "emorec", "export", "--format=onnx"]
        export += [f"--model_dir={bench.material.model}"]
        _, failed = bench.commands(
            [("ours", [*export, f"--output_dir={folder}"])], rounds=1
        )
        if failed[0]:
            return bench.skipped(name, "s", failed[0], **words)
    flags = predict_words(bench, clip)
    flags = [f"--onnx={folder}" if "model_dir" in f else f for f in flags]
    return _commands(
        bench,
        name,
        "s",
        ("ours", flags),
        ("peers", side_words(end_to_end.fer_side(str(clip)))),
        (1, 1),
        **words,
    )


def _cold_parts(bench, clip) -> dict | str:
    """Says where a cold prediction's time goes, or why that is not known."""
    args = {"model": str(bench.material.model), "video": str(clip)}
    side = Side("benchmarks.sides.ours_cold", args, fresh=True)
    found, failed = bench.answers([side], rounds=1, warm_up=0)
    return failed[0] or found[0][0]["detail"]["parts"]


def _cold_minute(bench) -> Iterator[Row]:
    name = "end to end, cold, a minute of 640x360, whole process"
    peers = (
        (end_to_end.FER, 3.0, "", end_to_end.fer_side),
        (end_to_end.ONE, 8.0, ": one at a time", end_to_end.one_side),
    )
    for peer_name, goal, suffix, side in peers:
        words = {"peer_name": peer_name, "goal": goal}
        if bench.quick:
            yield bench.skipped(name + suffix, "frames/s", **words)
            continue
        video = bench.material.video(60)
        frames = 500 if side is end_to_end.fer_side else 480
        yield _commands(
            bench,
            name + suffix,
            "frames/s",
            ("ours", predict_words(bench, video)),
            ("peers", side_words(side(str(video)))),
            (lambda: _analysed(bench), frames),
            rounds=2 if side is end_to_end.fer_side else 1,
            **words,
        )


def _full_hd(bench) -> Row:
    name = "peak memory, a minute of 1080p with six faces"
    words = {"peer_name": "the limit of 2 GB", "goal": 1.0}
    if bench.quick:
        return bench.skipped(name, "MB", **words)
    video = bench.material.video(60, materials.FULL_HD, (3, 2))
    found, failed = bench.commands(
        [("ours", predict_words(bench, video))], rounds=1
    )
    detail = {}
    if found[0]:
        frames = _analysed(bench)
        detail = {
            "frames": frames,
            "seconds": round(found[0][0]["seconds"], 1),
            "faces": _faces(bench) / max(frames, 1),
        }
    return compared(
        name,
        "MB",
        [a["peak_mb"] for a in found[0]],
        [LIMIT_MB],
        reason=failed[0],
        detail=detail,
        **words,
    )


def _faces(bench) -> int:
    return sum(found["frames_with_face"] for found in _windows(bench))


def _folder(bench) -> Iterator[Row]:
    """`--workers` on a folder, and memory against the number of videos."""
    for command in ("prepare", "predict"):
        name = f"emorec {command} of a folder, --workers={bench.threads}"
        words = {"peer_name": "1 worker of 1 thread", "goal": 1.7}
        reason = None
        if bench.quick:
            reason = "left out by QUICK=1"
        elif bench.threads < 2:
            reason = "needs two cores"
        elif not _has_workers(bench, command):
            reason = f"emorec {command} has no --workers"
        if reason:
            yield bench.skipped(name, "frames/s", reason, **words)
        else:
            yield _scaling(bench, command, name, words)
    if bench.quick:
        yield bench.skipped(
            "peak memory, 8 videos", "MB", peer_name="1 video", goal=0.9
        )
    else:
        yield _many(bench)


def _scaling(bench, command, name, words) -> Row:
    """Times a folder by all workers, and by one on one core."""
    count = 8
    clips = _copies(bench, count)
    if command == "predict":
        ours = predict_words(bench, *clips, flags=[_workers(bench.threads)])
        peer = predict_words(bench, *clips, flags=[_workers(1)])
    else:
        ours, peer = (
            _prepare_words(bench, clips, n) for n in (bench.threads, 1)
        )
    found, failed = bench.commands(
        [("ours", ours), ("ours", peer)],
        rounds=2,
        cores=[None, {0}],
        env=[{}, ONE_CORE],
    )
    units = count * FOLDER_S * (8 if command == "predict" else 16)
    return compared(
        name,
        "frames/s",
        *([units / a["seconds"] for a in side] for side in found),
        reason="; ".join(filter(None, failed)) or None,
        detail={
            "ours_peak_mb": [round(a["peak_mb"]) for a in found[0]],
            "peer_peak_mb": [round(a["peak_mb"]) for a in found[1]],
            "note": "starts are part of it",
        },
        **words,
    )


def _workers(count) -> str:
    return f"--workers={count}"


def _copies(bench, count) -> list[pathlib.Path]:
    """Videos of half a minute that differ by name."""
    video = bench.material.video(FOLDER_S)
    folder = bench.work / "videos" / f"folder-{video.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for i in range(count):
        path = folder / f"{i:02d}.mp4"
        if not path.is_symlink():
            path.symlink_to(video.resolve())
        made.append(path)
    return made


def _prepare_words(bench, clips, workers) -> list[str]:
    manifest = clips[0].parent / "manifest.csv"
    lines = [f"{p.name},happy,train" for p in clips]
    manifest.write_text("\n".join(["video,label,split", *lines]))
    return [
        "-m",
        "emorec",
        "prepare",
        f"--manifest={manifest}",
        f"--output_dir={bench.work / 'prepared'}",
        "--overwrite",
        "--quiet",
        "--set=data.shard_rows=1",
        _workers(workers),
    ]


def _has_workers(bench, command) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "emorec", command, "--help"],
        capture_output=True,
        text=True,
        cwd=processes.ROOT,
    )
    return "--workers" in done.stdout


def _many(bench) -> Row:
    clips = _copies(bench, 8)
    found, failed = bench.commands(
        [
            ("ours", predict_words(bench, *clips)),
            ("ours", predict_words(bench, clips[0])),
        ],
        rounds=1,
    )
    return compared(
        "peak memory, 8 videos",
        "MB",
        *([a["peak_mb"] for a in side] for side in found),
        peer_name="1 video",
        goal=0.9,
        reason="; ".join(filter(None, failed)) or None,
    )


def _half_hour(bench) -> Iterator[Row]:
    names = (
        ("30 minutes of video, frame rate of the last minutes", "frames/s"),
        ("30 minutes of video, memory of the last minute", "MB"),
    )
    peer = ("its first minutes", "its second minute")
    if bench.quick:
        for (name, unit), peer_name in zip(names, peer):
            yield bench.skipped(name, unit, peer_name=peer_name, goal=0.9)
        return
    args = {
        "model": str(bench.material.model),
        "video": str(bench.material.video(1800)),
        "short": str(bench.material.video(3)),
    }
    found, failed = bench.answers(
        [Side("benchmarks.sides.ours_long", args, fresh=True)],
        rounds=1,
        warm_up=0,
    )
    minutes = found[0][0]["detail"]["minutes"] if found[0] else []
    rates = [m["frames/s"] for m in minutes]
    memory = [m["resident_mb"] for m in minutes]
    detail = {"frames/s by minute": rates, "MB by minute": memory}
    # Whole clips are told at once, so a minute alone is uneven.
    parts = (rates[-5:], rates[:5]), (memory[-1:], memory[1:2])
    for (name, unit), peer_name, (ours, theirs) in zip(names, peer, parts):
        yield compared(
            name,
            unit,
            ours,
            theirs,
            peer_name=peer_name,
            goal=0.9,
            reason=failed[0],
            detail=detail,
        )
