"""From a video file to its answers, warm, and where the time goes."""

from collections.abc import Iterator

from benchmarks.bench import Bench, Side
from benchmarks.detection import bfloat16_missing
from benchmarks.rows import Row, compared

FLOAT32 = "features.bfloat16=none"
PREDICT = "benchmarks.sides.ours_predict"
FER = "fer 25.10.3, Haar, every third frame"
FER_MTCNN = "fer 25.10.3, MTCNN, every third frame"
ONE = "mtcnn 1.0.0 and Keras predict(), a frame at a time"
# Core milliseconds for 24 analysed frames of 640x360 with one face: what the
# arithmetic alone took on a machine of 2 cores with AVX-512, float32.
FLOOR = {
    "decode": 76,
    "detection": 35,
    "context CNN": 129,
    "face CNN": 103,
    "RNN": 1,
}
FLOOR_FRAMES = 24
FLOOR_NAME = "twice the floor, core time"


def rows(bench: Bench) -> Iterator[Row]:
    """Yields the rows of whole predictions in a warm process."""
    model = str(bench.material.model)
    note = {"model": bench.material.model_note}
    video = str(bench.material.video(6 if bench.quick else 60))
    name = "end to end, warm, 640x360, 8 frames a second"
    ours = {"model": model, "video": video}
    sides = {
        "ours": Side(PREDICT, ours),
        "fer": fer_side(video),
        "fer_mtcnn": fer_side(video, mtcnn=True),
    }
    slower = []
    if not bfloat16_missing():
        sides["float32"] = Side(PREDICT, {**ours, "settings": [FLOAT32]})
        slower = [
            {
                "name": f"{name}: --bfloat16=none",
                "ours": "float32",
                "peer": "fer",
                "peer_name": FER,
                "detail": note,
            }
        ]
    yield from bench.table(
        "frames/s",
        sides,
        [
            {
                "name": name,
                "ours": "ours",
                "peer": "fer",
                "peer_name": FER,
                "goal": 3.0,
                "detail": note,
            },
            {
                "name": f"{name}: fer with MTCNN",
                "ours": "ours",
                "peer": "fer_mtcnn",
                "peer_name": FER_MTCNN,
            },
            *slower,
        ],
        rounds=None if bench.quick else 4,
    )
    short = str(bench.material.video(3))
    yield bench.pair(
        f"{name}: one at a time",
        "frames/s",
        Side(PREDICT, {"model": model, "video": short}),
        one_side(short, seconds=1 if bench.quick else None),
        peer_name=ONE,
        goal=8.0,
        rounds=2 if bench.quick else None,
    )
    yield from stages(bench)


def fer_side(video: str, mtcnn: bool = False) -> Side:
    """`fer` on every third frame of a video."""
    return Side(
        "benchmarks.sides.fer_frames",
        {"video": video, "every": 3, "mtcnn": mtcnn},
        venv="torch" if mtcnn else "peers",
    )


def one_side(video: str, seconds: float | None = None) -> Side:
    """One frame at a time, 8 a second."""
    args = {"video": video, "fps": 8, "seconds": seconds}
    return Side("benchmarks.sides.one_at_a_time", args, venv="peers")


def stages(bench: Bench) -> Iterator[Row]:
    """Yields each stage's core time, against twice its floor."""
    args = {
        "model": str(bench.material.model),
        "video": str(bench.material.video(6 if bench.quick else 20)),
    }
    found, failed = bench.answers(
        [Side("benchmarks.sides.ours_stages", args)],
        rounds=2 if bench.quick else 5,
    )
    name = "stages in turn, core time a frame"
    if failed[0]:
        yield bench.skipped(name, "ms/frame", failed[0], peer_name=FLOOR_NAME)
        return
    yield from stage_rows(name, found[0])


def stage_rows(name: str, answers: list[dict]) -> Iterator[Row]:
    """Makes rows of the answers of `sides.ours_stages`.

    Args:
        name: What the rows' names begin with.
        answers: Each has `units` (frames) and `detail.stages`, by name wall
            and CPU seconds.
    """
    frames = answers[0]["units"]
    found = [a["detail"]["stages"] for a in answers]
    per_stage = {
        stage: [1000 * stages[stage][1] / frames for stages in found]
        for stage in found[0]
    }
    walls = {stage: wall for stage, (wall, _) in found[-1].items()}
    whole = [sum(values) for values in zip(*per_stage.values())]
    shares = {
        stage: round(wall / sum(walls.values()), 3)
        for stage, wall in walls.items()
    }
    yield compared(
        f"{name}: all",
        "ms/frame",
        whole,
        [2 * sum(FLOOR.values()) / FLOOR_FRAMES],
        peer_name=FLOOR_NAME,
        goal=1.0,
        detail={"share_of_wall_time": shares, "frames": frames},
    )
    for stage, values in per_stage.items():
        floor = FLOOR.get(stage)
        yield compared(
            f"{name}: {stage}",
            "ms/frame",
            values,
            [2 * floor / FLOOR_FRAMES] if floor else [],
            peer_name=FLOOR_NAME if floor else None,
            reason=None if floor else "no floor was measured",
            detail={"share_of_wall_time": shares[stage]},
        )
