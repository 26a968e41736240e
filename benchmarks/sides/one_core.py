"""A stage of the whole, on one core: what a cluster's core would do.

The unit is a clip: one person in a window of `clip.clip_frames` frames, 4 s
at the default rate.
"""

import os
import pathlib
import tempfile
from collections.abc import Callable

# Clips of a served request.
SERVED = 8


def prepare(args: dict) -> Callable[[], dict]:
    """Sets up one stage.

    Args:
        args: `stage`: `prepare`, `features`, `video` or `manifest`; `video`,
            a path; `model`, a model folder; `folder`, for what is made.
    """
    # Before TensorFlow counts the cores that it may use.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import cv2

    cv2.setNumThreads(1)
    folder = pathlib.Path(args["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    stages = {
        "prepare": _prepare,
        "features": _features,
        "video": _video,
        "manifest": _manifest,
    }
    return stages[args["stage"]](args, folder)


def _task(args, path):
    from emorec.config import Config
    from emorec.data import manifest, prepare

    rows = pathlib.Path(path).with_suffix(".csv")
    rows.write_text(f"video,label,split\n{args['video']},happy,test\n")
    (task,) = prepare.plan(
        manifest.read(str(rows)), pathlib.Path(path).parent, Config()
    )
    return task


def _prepare(args, folder):
    from emorec.data import shards

    def run():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            summary = shards.write_shard(
                _task(args, os.path.join(made, "data"))
            )
            size = os.path.getsize(summary.path)
        return {
            "units": summary.records,
            "detail": {"kb_a_clip": round(size / summary.records / 1000, 1)},
        }

    return run


def _features(args, folder):
    from emorec.data import shards
    from emorec.features import extract
    from emorec.training import bundle

    loaded = bundle.load(args["model"])
    source = shards.write_shard(_task(args, folder / "data")).path

    def run():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            target = os.path.join(made, "features.tfrecord.gz")
            clips = extract.extract_shard(
                source, target, loaded.encoders, loaded.inputs, loaded.config
            )
            size = os.path.getsize(target)
        return {
            "units": clips,
            "detail": {"kb_a_clip": round(size / clips / 1000, 1)},
        }

    return run


def _video(args, folder):
    """The graph that TensorFlow Serving runs, in a session as it runs it."""
    import cv2
    import numpy as np

    from emorec.config import VideoConfig
    from emorec.export import saved_model
    from emorec.export.graph_session import GraphSession
    from emorec.training import bundle
    from emorec.video import reader

    loaded = bundle.load(args["model"], use_cudnn=False)
    base = folder / "serving"
    if not saved_model.versions(base):
        saved_model.export(loaded, base, 1, batch_sizes=())
    steps = loaded.config.clip.clip_frames
    jpegs = []
    with reader.read_frames(str(args["video"]), VideoConfig()) as frames:
        for frame, _ in zip(frames, range(steps)):
            image = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
            jpegs.append(cv2.imencode(".jpg", image)[1].tobytes())
    times = np.arange(len(jpegs), dtype=np.float32) / loaded.config.video.fps
    inputs = {
        "frames": np.array([jpegs], object),
        "times": times[None],
    }
    session = GraphSession(base / "1")

    def run():
        for _ in range(SERVED):
            session.run("video", inputs)
        return {"units": SERVED}

    return run


def _manifest(args, folder):
    """Resident memory of a manifest's row and of its part of the plan."""
    import subprocess
    import sys

    code = (
        "import resource, sys\n"
        "from emorec.config import Config\n"
        "from emorec.data import manifest, prepare\n"
        "def used(): return resource.getrusage("
        "resource.RUSAGE_SELF).ru_maxrss\n"
        "before = used()\n"
        "rows = manifest.read(sys.argv[1])\n"
        "tasks = prepare.plan(rows, 'data', Config())\n"
        "print((used() - before) * 1.024 / len(rows.rows))\n"
    )
    count = 50_000
    path = folder / "rows.csv"
    with open(path, "w", encoding="utf-8") as f:
        f.write("video,label,split,start,end,identity\n")
        for i in range(count):
            f.write(
                f"{args['video']},happy,train,{i / 1000},{i / 1000 + 4},p{i}\n"
            )

    def run():
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            check=True,
            capture_output=True,
            text=True,
        )
        return {"units": count, "value": float(done.stdout)}

    return run
