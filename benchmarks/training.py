"""Training from cached features: against the ceiling, PyTorch, and growth."""

from collections.abc import Iterator

from benchmarks.bench import QUICK_REASON, Bench, Side
from benchmarks.rows import Row
from emorec.data import processes

OURS = "benchmarks.sides.train_ours"
TORCH = "benchmarks.sides.train_torch"
SGEMM = "benchmarks.sides.sgemm"
EPOCH = "benchmarks.sides.train_epoch"
TORCH_NAME = "the same network in a plain PyTorch loop"
LENGTHS = (24, 32)
BATCH = 32
# As `emorec train` sets it (`processes.begin_training`).
THREADS = {"TF_NUM_INTRAOP_THREADS": str(processes.share(processes.AT_ONCE))}
# Of the matrices in `SGEMM`.
SIDE = 2048


def rows(bench: Bench) -> Iterator[Row]:
    """Yields the rows of training at the paper's sizes."""
    count = 10 if bench.quick else 30
    for length in LENGTHS[: 1 if bench.quick else None]:
        yield from _ceilings(bench, length, count)
    for length in LENGTHS:
        yield _pytorch(bench, length, count)
    yield from _growth(bench)
    yield from _epochs(bench)


def _ceilings(bench, length, count) -> list[Row]:
    """The share of sgemm: TensorFlow's is the fastest product there is."""
    args = {**_args(length, BATCH, count), "unit": "operations"}
    name = f"training step, arithmetic, T {length}, batch {BATCH}"
    sides = {
        "ours": Side(OURS, args, env=THREADS),
        "tensorflow": Side(SGEMM, {"by": "tensorflow"}),
        "numpy": Side(SGEMM, {"by": "numpy"}),
    }
    wanted = [
        {
            "name": f"{name}, against {title}",
            "ours": "ours",
            "peer": peer,
            "peer_name": f"sgemm of {SIDE} x {SIDE} by {title}, all cores",
            "goal": 0.5,
        }
        for peer, title in (("tensorflow", "oneDNN"), ("numpy", "OpenBLAS"))
    ]
    return bench.table("GFLOP/s", sides, wanted)


def _pytorch(bench, length, count) -> Row:
    name = f"training, T {length}, batch {BATCH}"
    if bench.quick:
        return bench.skipped(
            name, "clips/s", QUICK_REASON, peer_name=TORCH_NAME, goal=1.0
        )
    args = _args(length, BATCH, count)
    return bench.pair(
        name,
        "clips/s",
        Side(OURS, args, env=THREADS),
        Side(TORCH, args, venv="torch"),
        peer_name=TORCH_NAME,
        goal=1.0,
    )


def _args(length, batch, count) -> dict:
    return {"steps": length, "batch": batch, "count": count}


def _growth(bench) -> Iterator[Row]:
    """How long a step takes by T and by batch."""
    sizes = [(t, BATCH) for t in (8, 16, 32, 64)]
    sizes += [(24, b) for b in (8, 16, 64, 128)]
    for length, batch in sizes:
        name = f"training step by size, T {length}, batch {batch}"
        if bench.quick:
            yield bench.skipped(name, "clips/s", QUICK_REASON)
            continue
        yield bench.pair(
            name,
            "clips/s",
            Side(OURS, _args(length, batch, 10), env=THREADS),
            rounds=3,
            reason="no peer: growth with T and batch",
        )


def _epochs(bench) -> Iterator[Row]:
    """Whole epochs by clips: of reading alone, and of training."""
    for clips in (128, 256, 512):
        for train in (False, True):
            what = "training" if train else "reading features"
            name = f"epoch of {clips} clips, {what}, T 24"
            if bench.quick:
                yield bench.skipped(name, "clips/s", QUICK_REASON)
                continue
            args = {
                "folder": str((bench.work / "training").resolve()),
                "clips": clips,
                "steps": 24,
                "batch": BATCH,
                "train": train,
            }
            yield bench.pair(
                name,
                "clips/s",
                Side(EPOCH, args, env=THREADS),
                rounds=3,
                reason="no peer: growth with clips",
            )
