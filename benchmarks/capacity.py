"""Rows that docs/scaling.md is computed from: stages on one core, sizes."""

from collections.abc import Iterator

from benchmarks.bench import Bench, Side
from benchmarks.rows import Row

NO_PEER = "no peer: for docs/scaling.md"
STAGES = {
    "prepare": "one core, video to record",
    "features": "one core, record to features",
    "video": "one core, signature `video` in a session",
}
MANIFEST = "memory of a manifest's row and its plan"
TRAINING = "training, T 32, batch 32"
# What docs/scaling.md takes from the results: key -> (row, the row's detail
# or None for our figure, unit, what it is).
FIGURES = {
    "prepare": (STAGES["prepare"], None, "clips/s", "video to record"),
    "features": (STAGES["features"], None, "clips/s", "record to features"),
    "video": (STAGES["video"], None, "clips/s", "the `video` signature"),
    "training": (TRAINING, None, "clips/s", "training from features"),
    "training_cores": (TRAINING, "ours_cores", "cores", "that this kept busy"),
    "record_kb": (STAGES["prepare"], "ours_kb_a_clip", "KB", "a clip's record"),
    "feature_kb": (
        STAGES["features"],
        "ours_kb_a_clip",
        "KB",
        "a clip's features",
    ),
    "manifest_kb": (MANIFEST, None, "KB", "memory of a manifest's row"),
}


def rows(bench: Bench) -> Iterator[Row]:
    """Yields the rows; a clip is 32 frames of 640x360, 4 s at 8 a second."""
    for stage, name in STAGES.items():
        yield _row(bench, stage, name, "clips/s")
    yield _row(bench, "manifest", MANIFEST, "KB")


def _row(bench, stage, name, unit) -> Row:
    if bench.quick:
        return bench.skipped(name, unit)
    args = {
        "stage": stage,
        "video": str(bench.material.video(16)),
        "model": str(bench.material.model),
        "folder": str(bench.work / "one_core" / stage),
    }
    # A process of its own, which keeps to one core.
    side = Side("benchmarks.sides.one_core", args, fresh=True)
    return bench.pair(name, unit, side, rounds=3, reason=NO_PEER)
