"""Reading records of JPEG frames, against decoding and nothing else."""

from collections.abc import Iterator

from benchmarks.bench import Bench, Side
from benchmarks.rows import Row

SIDE = "benchmarks.sides.read_frames"


def rows(bench: Bench) -> Iterator[Row]:
    """Yields the row of reading."""
    args = {
        "folder": str((bench.work / "reading").resolve()),
        "video": str(bench.material.video(60)),
    }
    yield bench.pair(
        "reading TFRecords of 224 x 224 JPEG frames",
        "frames/s",
        Side(SIDE, {**args, "bare": False}),
        Side(SIDE, {**args, "bare": True}),
        peer_name="tf.io.decode_jpeg in a bare loop, one thread",
        goal=0.8,
    )
