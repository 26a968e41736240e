"""`emorec experiment`: its output, its files, its exit codes, a real kill."""

import contextlib
import csv
import json
import os
import pathlib
import signal
import statistics
import subprocess
import time

import pytest
from testing import commands

SMALL = (
    "--set=train.epochs=1",
    "--set=train.batch_size=8",
    "--set=model.encoder_units=8",
    "--set=model.rnn_units=8",
    "--missing_weights=random",
)


@pytest.fixture
def run(capsys, prepared, tmp_path):
    def run(*flags, out=tmp_path / "out"):
        return commands.here(
            capsys,
            "experiment",
            f"--data_dir={prepared.path}",
            f"--output_dir={out}",
            *SMALL,
            *flags,
        )

    return run


def described(out) -> list[dict]:
    found = [json.loads(p.read_text()) for p in out.glob("runs/*/*/run.json")]
    return sorted(found, key=lambda v: (v["variant"], v["seed"]))


@pytest.mark.long
def test_an_experiment_and_its_table(run, tmp_path):
    """The table says what the runs say; the same command makes none again."""
    out = tmp_path / "out"
    done = run("--systems=face_rnn,majority,face_average", "--seeds=2")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == [
        "[1/4] face_rnn, seed 0",
        "[2/4] majority, seed 0",
        "[3/4] face_average, seed 0",
        "[4/4] face_rnn, seed 1",
    ]
    assert " to go" in lines[2] and " to go" not in lines[3]
    assert "face_average: the face classifier cannot give" in done.out
    assert "a sanity set of generated videos, not emotion" in done.out
    runs = described(out)
    assert [(r["variant"], r["seed"]) for r in runs] == [
        ("face_average", 0),
        ("face_rnn", 0),
        ("face_rnn", 1),
        ("majority", 0),
    ]
    with open(out / "results.csv", encoding="utf-8", newline="") as f:
        rows = {row["id"]: row for row in csv.DictReader(f)}
    assert list(rows) == ["face_rnn", "majority", "face_average"]
    for name, row in rows.items():
        own = [r for r in runs if r["variant"] == name]
        assert int(row["seeds"]) == len(own)
        assert int(row["parameters"]) == own[0]["parameters"]
        for split in ("validation", "test"):
            for metric in ("map", "acc", "ranking_map", "macro_f1", "uar"):
                values = [100 * r["metrics"][split][metric] for r in own]
                for what, of in (
                    ("median", statistics.median),
                    ("min", min),
                    ("max", max),
                ):
                    cell = row[f"{split}_{metric}_percent_{what}"]
                    assert float(cell) == pytest.approx(of(values), abs=1e-5)
    assert (out / "confusion" / "test" / "face_rnn.png").stat().st_size
    assert (out / "curves" / "face_rnn.png").stat().st_size

    before = (out / "results.md").read_text()
    stamps = [p.stat().st_mtime_ns for p in out.glob("runs/*/*/run.json")]
    again = run("--systems=face_rnn,majority,face_average", "--seeds=2")
    assert again.code == 0, again.err
    assert again.out.splitlines()[0] == "4 of 4 runs are finished"
    assert (out / "results.md").read_text() == before
    assert stamps == [
        p.stat().st_mtime_ns for p in out.glob("runs/*/*/run.json")
    ]
    other = run("--systems=majority", "--set=train.epochs=2")
    assert other.fault() == (
        f"emorec experiment: {out}/runs/majority/seed0: holds another run "
        "(train.epochs is 1, not 2); choose another --output_dir, or give "
        "--overwrite"
    )


def test_a_failed_run_is_told_after_all_is_written(run, tmp_path):
    done = run(
        "--systems=face_rnn,majority",
        "--seeds=1",
        "--splits=test",
        "--quiet",
        "--set=train.learning_rate=1e38",
        "--set=train.epochs=3",
    )
    assert done.code == 1
    assert done.fault().startswith(
        "emorec experiment: 1 of 2 runs failed, the first: face_rnn with "
        "seed 0: the loss became "
    )
    assert "[1/2]" not in done.out
    text = (tmp_path / "out" / "results.md").read_text()
    assert "0 (1 failed)" in text
    assert "- `face_rnn`, seed 0: the loss became " in text
    assert "`majority`" in text


def test_what_is_not_possible_is_said(run, tmp_path):
    """It fails the command only where it was named."""
    flags = ("--seeds=1", "--face_encoder=squeezenet", "--splits=test")
    done = run("--systems=face_average,majority", *flags)
    assert done.fault() == (
        "emorec experiment: face_average is not possible: the face encoder "
        "(random squeezenet) gives no probabilities, which the system reads; "
        "it gives features, maps. Choose another one by --face_encoder, or "
        "another system"
    )
    assert "face_average is not possible: the face encoder" in done.out
    with open(tmp_path / "out" / "results.csv", newline="") as f:
        reasons = {r["id"]: r["not_possible"] for r in csv.DictReader(f)}
    assert reasons["majority"] == ""
    assert reasons["face_average"].startswith("the face encoder (")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--systems=face"], "`systems` must be all or some of face_rnn, "),
        (["--systems=majority", "--members=face_rnn"], "--members is for the"),
        (["--members=ensemble"], "`members` must be different ones of face_"),
        (["--splits=dev"], "{data}: no records of the split 'dev'; it has "),
        (["--set=model.no=1"], "`--set` must be section.field=value with"),
        (["--seeds=0"], "flag --seeds=0: 0 is not an integer in the range"),
    ],
)
def test_a_wrong_flag_leaves_nothing_behind(
    run, prepared, tmp_path, flags, message
):
    fault = run(*flags).fault()
    wanted = f"emorec experiment: {message.format(data=prepared.path)}"
    assert fault.startswith(wanted)
    assert not (tmp_path / "out").exists()


def start(prepared, out) -> subprocess.Popen:
    return subprocess.Popen(
        commands.line(
            "experiment",
            f"--data_dir={prepared.path}",
            f"--output_dir={out}",
            "--systems=majority,face_rnn,ensemble",
            "--members=face_rnn,majority",
            "--seeds=2",
            "--workers=2",
            *SMALL,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=commands.environment(),
        start_new_session=True,
    )


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_experiment_goes_on(prepared, tmp_path, how):
    out = tmp_path / "out"
    process = start(prepared, out)
    try:
        ends = time.monotonic() + 300
        while not list(out.glob("runs/*/*/run.json")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < ends
            time.sleep(0.02)
        if how == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, how)
        printed, err = process.communicate(timeout=120)
        # Workers end with their parent.
        while pathlib.Path("/proc").exists() and group_of(process.pid):
            assert time.monotonic() < ends
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "run the same command again to go on" in printed
        assert err == (
            "emorec experiment: interrupted; what was finished is kept\n"
        )
    kept = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/*/run.json")}
    assert 1 <= len(kept) < 5
    assert not (out / "results.md").exists()
    again = start(prepared, out)
    printed, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert f"{len(kept)} of 5 runs are finished" in printed
    for path, stamp in kept.items():
        assert path.stat().st_mtime_ns == stamp
    runs = [(r["variant"], r["seed"]) for r in described(out)]
    assert runs == [
        ("ensemble", 0),
        ("ensemble", 1),
        ("face_rnn", 0),
        ("face_rnn", 1),
        ("majority", 0),
    ]
    assert (out / "results.md").exists()
    assert not list(out.rglob(".*.tmp"))


def group_of(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
            if int(number) == group and state not in "ZX":
                found.append(int(path.parent.name))
    return found
