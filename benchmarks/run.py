"""Runs the suite.

    python -m benchmarks.run [--quick] [--only GROUP,...] [--clips DIR]
        [--model DIR] [--output DIR]

The whole suite writes `benchmarks/results.json` and `benchmarks/RESULTS.md`;
a part of it (`--quick`, `--only`) writes to `build/bench`, so that it never
takes the place of a full run.
"""

import argparse
import datetime
import importlib
import pathlib
import sys
import time
import traceback

from benchmarks import material, peers, report, worker
from benchmarks.bench import Bench
from benchmarks.processes import ROOT, SideError
from benchmarks.rows import Row

# In the order in which they run.
GROUPS = (
    "detection",
    "end_to_end",
    "whole",
    "accuracy",
    "training",
    "reading",
    "capacity",
)


def arguments(words: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.run", description="Measures emorec and its peers."
    )
    parser.add_argument("--quick", action="store_true", help="under 2 minutes")
    parser.add_argument("--only", default="", help=", ".join(GROUPS))
    parser.add_argument("--clips", help="a folder of videos")
    parser.add_argument("--model", help="a model folder of `emorec train`")
    parser.add_argument("--output", type=pathlib.Path, help="a folder")
    given = parser.parse_args(words)
    given.only = [name for name in given.only.split(",") if name]
    unknown = set(given.only) - set(GROUPS)
    if unknown:
        parser.error(
            f"--only takes {', '.join(GROUPS)}. Received: {min(unknown)}"
        )
    return given


def output_folder(given: argparse.Namespace) -> pathlib.Path:
    """Returns where results go."""
    if given.output:
        return given.output
    part = given.quick or given.only
    return ROOT / "build" / "bench" if part else ROOT / "benchmarks"


def group_rows(bench: Bench, name: str) -> list[Row]:
    """Runs a group; a group that fails as a whole becomes one row."""
    found: list[Row] = []
    if not (ROOT / "benchmarks" / f"{name}.py").is_file():
        return found
    try:
        cases = importlib.import_module(f"benchmarks.{name}")
        for row in cases.rows(bench):
            found.append(row)
            bench.say(report.line(row))
    except Exception as e:
        # Half an hour of other groups is not to be lost by it.
        traceback.print_exc()
        reason = worker.one_line(e)
        found.append(Row(f"{name}: the rest", "", reason=reason))
        bench.say(report.line(found[-1]))
    return found


def facts(bench: Bench, given: argparse.Namespace, seconds: float) -> dict:
    """Says what was run, on what, where and when."""
    here = report.machine()
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": f"{now:%Y-%m-%d %H:%M} UTC",
        "run": ("QUICK=1" if given.quick else "full")
        + (f", only {', '.join(given.only)}" if given.only else "")
        + f", {seconds:.0f} s",
        "machine": f"{here['cpu']}, {here['cores']} cores, "
        f"{here['memory_gb']} GB, {' '.join(here['instructions'])}, "
        f"{here['system']}; load {here['load']:.1f} at the end",
        "videos": f"{bench.material.origin}; longer ones are "
        f"{bench.material.face.name} again and again",
        "model": bench.material.model_note,
    }


def main(words: list[str]) -> int:
    given = arguments(words)
    start = time.perf_counter()

    def say(text):
        print(f"[{time.perf_counter() - start:4.0f} s] {text}", flush=True)

    found = []
    made = peers.make(torch=not given.quick, say=say)
    if made.missing:
        print(f"make bench: {made.missing}", file=sys.stderr)
        return 1
    with Bench(
        quick=given.quick,
        work=ROOT / "build" / "bench",
        peers=made,
        weights=material.weights_folder(),
        say=say,
    ) as bench:
        try:
            bench.material = material.collect(bench, given.clips, given.model)
        except SideError as e:
            print(f"make bench: {e}", file=sys.stderr)
            return 1
        say("everything is set up")
        start = time.perf_counter()
        for name in given.only or GROUPS:
            found += group_rows(bench, name)
        seconds = time.perf_counter() - start
        folder = output_folder(given)
        text = report.markdown(
            found, facts(bench, given, seconds), bench.versions
        )
    report.write(folder / "results.json", report.as_json(found))
    report.write(folder / "RESULTS.md", text)
    print(f"\n{report.table(found)}\n")
    print(f"{folder / 'results.json'}\n{folder / 'RESULTS.md'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nmake bench: interrupted; no results were written")
        sys.exit(130)
