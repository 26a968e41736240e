import pathlib
import sys

import pytest

# `benchmarks` lies beside the package and is not installed with it.
ROOT = str(pathlib.Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

SIDE = """
import pathlib

def prepare(args):
    if args.get("broken") == "prepare":
        raise ValueError("no such thing")
    log = pathlib.Path(args["log"])
    def run():
        with log.open("a") as f:
            f.write(args["mark"])
        print("noise on standard output", flush=True)
        if args.get("broken") == "run":
            raise RuntimeError("gave\\nup")
        if args.get("broken") == "die":
            import os
            os._exit(7)
        return {"units": args["units"], "seconds": args["seconds"],
                "detail": {"mark": args["mark"]}}
    return run
"""


@pytest.fixture
def side(tmp_path):
    """Makes tiny sides that note the order of their runs in one file."""
    from benchmarks.bench import Side

    (tmp_path / "tiny_side.py").write_text(SIDE)
    log = tmp_path / "order.txt"

    def make(mark, units=10, seconds=1.0, venv="ours", **more):
        args = {"log": str(log), "mark": mark, "units": units}
        env = {"PYTHONPATH": str(tmp_path)}
        return Side(
            "tiny_side", {**args, "seconds": seconds, **more}, venv, env
        )

    make.log = log
    return make


@pytest.fixture
def bench(tmp_path):
    """A suite whose peers run in this very environment, without torch."""
    from benchmarks.bench import Bench
    from benchmarks.peers import Peers

    peers = Peers(
        pathlib.Path(sys.executable), torch_missing="torch is not there"
    )
    with Bench(quick=False, work=tmp_path / "work", peers=peers) as made:
        yield made
