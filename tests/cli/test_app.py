"""What a user sees who errs: one line, a code, and never a traceback."""

import csv
import errno
import json
import signal
import subprocess
import sys
import time
import types

import keras
import pytest
from testing import commands

from emorec import errors
from emorec.cli import app
from emorec.data import dataset, keys, manifest, prepare, records
from emorec.models import presets
from emorec.training import train


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, *args)


@pytest.mark.parametrize(
    "args, words",
    [
        ([], ["no command given", "emorec --help"]),
        (["predcit"], ["unknown command 'predcit'", "predict", "--help"]),
        (["--quiet"], ["unknown command '--quiet'"]),
        (
            ["prepare", "--manifst=x", "--output_dir=y"],
            ["manifst", "manifest", "emorec prepare --help"],
        ),
        (["prepare", "--manifest=x"], ["--output_dir", "None"]),
        (["prepare"], ["--manifest", "--help"]),
        (
            ["prepare", "--manifest=x", "--output_dir=y", "clip.mp4"],
            ["takes flags only", "clip.mp4"],
        ),
        (
            ["prepare", "--manifest=x", "--output_dir=y", "--workers=none"],
            ["--workers", "none"],
        ),
        (
            ["prepare", "--manifest=x", "--output_dir=y", "--workers=-1"],
            ["--workers", "-1"],
        ),
        (
            ["prepare", "--manifest=x", "--output_dir=y", "--people=few"],
            ["--people", "few", "main|all"],
        ),
        (
            ["train", "--data_dir=x", "--output_dir=y", "--seed=-1"],
            ["--seed", "-1"],
        ),
        (["predict"], ["needs one video or more"]),
        (
            ["predict", "clip.mp4"],
            ["one of --model_dir, --saved_model, --onnx, --server", "none"],
        ),
        (
            ["predict", "clip.mp4", "--model_dir=a", "--saved_model=b"],
            ["exactly one of", "--model_dir, --saved_model"],
        ),
        (
            ["predict", "clip.mp4", "--server=localhost"],
            ["host:port", "localhost"],
        ),
        (
            ["predict", "a.mp4", "--model_dir=a", "--output=a.mp4"],
            ["a.mp4", "never overwritten"],
        ),
        (
            ["predict", "a.mp4", "--model_dir=a", "--output=b", "--report=b"],
            ["must differ"],
        ),
        (
            ["evaluate", "--data_dir=x", "--output_dir=y"],
            ["exactly one of", "none"],
        ),
        (
            ["serve", "--model_base_path=/dev/null/none"],
            ["/dev/null/none", "emorec export"],
        ),
        (["serve", "--model_base_path=/", "--port=70000"], ["--port", "70000"]),
        (["models", "caca_rnn_a"], ["takes flags only", "caca_rnn_a"]),
        (["demo", "--video=/dev/null/none.mp4"], ["/dev/null/none.mp4"]),
        (["models", "--flagfile=/dev/null/none"], ["/dev/null/none"]),
    ],
)
def test_a_wrong_call_is_told_in_one_line_with_code_2(
    here, tmp_path, monkeypatch, args, words
):
    monkeypatch.chdir(tmp_path)
    done = here(*args)
    assert done.code == 2
    fault = done.fault()
    for word in words:
        assert word in fault
    assert fault.startswith("emorec")
    assert not done.out
    assert not list(tmp_path.iterdir()), "a wrong call must write nothing"


@pytest.mark.parametrize(
    "assignment, words",
    [
        ("clip.face_margin", ["section.field=value", "clip.face_margin"]),
        ("clip.margin=1", ["clip.margin=1", "face_margin"]),
        ("video.fps=fast", ["video.fps", "float", "fast"]),
        ("video.fps=0", ["video.fps", "0.01 to 240"]),
        ("clip.jpeg_quality=101", ["clip.jpeg_quality", "1 to 100", "101"]),
    ],
)
def test_a_bad_set_names_the_field(here, tmp_path, assignment, words):
    done = here(
        "prepare",
        "--manifest=none.csv",
        f"--output_dir={tmp_path / 'data'}",
        f"--set={assignment}",
    )
    assert done.code == 1
    for word in words:
        assert word in done.fault()


def test_flags_may_follow_the_videos_and_come_from_a_file(here, tmp_path):
    flagfile = tmp_path / "flags"
    flagfile.write_text("--model_dir=a\n--saved_model=b\n")
    done = here("predict", "clip.mp4", f"--flagfile={flagfile}")
    assert done.code == 2
    assert "Received: --model_dir, --saved_model" in done.fault()


def test_a_second_call_starts_from_the_defaults(here):
    first = here("predict", "clip.mp4", "--model_dir=a", "--saved_model=b")
    assert "Received: --model_dir, --saved_model" in first.fault()
    second = here("predict", "clip.mp4")
    assert "Received: none" in second.fault()


def test_version(here):
    import emorec

    assert here("--version").out == f"emorec {emorec.__version__}\n"
    assert here("--version").code == 0


def test_models_lists_the_systems_with_their_sizes(here):
    done = here("models")
    assert done.code == 0
    rows = {r.split()[0]: r for r in done.out.splitlines() if r}
    assert "context > face" in rows["caca_rnn_a"]
    assert "F 128, H 128" in rows["caca_rnn_a"]
    assert "789,256" in rows["caca_rnn_a"]
    assert rows["caca_rnn_a"].endswith("0.79M      40.73 / 53.01")
    assert "face + context" in rows["parallel_rnn"]
    assert rows["cnn_2d3d"].split()[-2:] == ["-", "-"]
    assert "not measured here" in done.out
    values = {r["system"]: r for r in json.loads(here("models", "--json").out)}
    assert set(values) == set(presets.SYSTEMS)
    assert values["majority"]["paper_reports"] is None
    assert values["ensemble"]["inputs"] == [
        "context_features",
        "face_features",
        "face_maps",
    ]


@pytest.mark.parametrize("backend", ["numpy", "torch", "foo"])
def test_a_backend_that_does_not_do_lists_what_does(here, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    done = here("models")
    assert done.code == 2
    assert done.fault() == (
        "emorec models: $KERAS_BACKEND must be tensorflow, or jax for the "
        f"networks alone. Received: {backend!r}"
    )


def test_training_needs_tensorflow(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(errors.ConfigError) as e:
        train.check_backend("training")
    assert str(e.value) == (
        "training needs Keras' backend tensorflow; the networks of "
        "emorec.models alone run on jax too. Received: 'jax'; unset "
        "KERAS_BACKEND"
    )


def guarded(error):
    """What the frame of all commands makes of an error."""

    def main(args):
        raise error

    return app._guarded("emorec x", types.SimpleNamespace(main=main), [])


@pytest.mark.parametrize(
    "error, code, line",
    [
        (errors.ModelError("m: bad; mend it"), 1, "m: bad; mend it"),
        (errors.UsageError("u"), 2, "u"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out.jsonl"),
            1,
            "out.jsonl: No space left on device; free some space",
        ),
        (OSError(errno.EFBIG, "File too large"), 1, "the output: File too"),
        (PermissionError(errno.EACCES, "Permission denied", "d"), 1, "d: Perm"),
    ],
)
def test_codes_and_lines_of_errors(capsys, monkeypatch, error, code, line):
    monkeypatch.setattr(app, "_quiet_libraries", lambda: None)
    assert guarded(error) == code
    shown = capsys.readouterr()
    assert shown.err.startswith(f"emorec x: {line}")
    assert shown.err.count("\n") == 1
    assert not shown.out


@pytest.mark.parametrize(
    "error", [ValueError("ours"), OSError(errno.EBADF, "Bad file descriptor")]
)
def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(app, "_quiet_libraries", lambda: None)
    with pytest.raises(type(error)):
        guarded(error)


TALKATIVE = """
import sys, types
from emorec.cli import app
from emorec.errors import ModelError

def main(args):
    for i in range(100_000):
        print("a line of output", i)
    raise ModelError("never reached")

app._quiet_libraries = lambda: None
sys.exit(app._guarded("emorec x", types.SimpleNamespace(main=main), []))
"""


def test_a_reader_that_goes_away_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-c", TALKATIVE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=commands.environment(),
    )
    assert process.stdout.readline() == "a line of output 0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1


@pytest.mark.parametrize("args", [["--help"], ["models", "--help"]])
def test_help_without_a_reader(args):
    process = subprocess.Popen(
        commands.line(*args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=commands.environment(),
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_a_full_disk_behind_standard_output():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", TALKATIVE],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=commands.environment(),
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("emorec x: the output: No space left")
    assert done.stderr.count("\n") == 1


def many_shards(sample_set, folder):
    """A manifest of 16 videos, one a shard."""
    with open(sample_set, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))[:16]
    path = folder / "manifest.csv"
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, ["video", "label", "split", "identity"])
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    "video": sample_set.parent / row["video"],
                    "label": row["label"],
                    "split": "train",
                    "identity": row["identity"],
                }
            )
    return path


def test_ctrl_c_keeps_the_finished_shards(sample_set, tmp_path, here):
    path = many_shards(sample_set, tmp_path)
    data = tmp_path / "data"
    args = [
        "prepare",
        f"--manifest={path}",
        f"--output_dir={data}",
        "--set=data.shard_rows=1",
    ]
    process = subprocess.Popen(
        commands.line(*args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=commands.environment(),
    )
    ends = time.monotonic() + 120
    while not list(data.glob("shards/*.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < ends
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "emorec prepare: interrupted; what was finished is kept\n"
    finished = {
        p: p.stat().st_mtime_ns
        for p in data.glob("*.tfrecord")
        if (data / "shards" / f"{p.stem}.json").exists()
    }
    assert 1 <= len(finished) < 16
    assert not list(data.glob(".*.tmp")), "half a shard was left behind"
    assert not (data / dataset.FILE).exists(), "it is not complete"

    # The same command goes on: what was finished is not written again.
    done = here(*args)
    assert done.code == 0, done.err
    assert "train: 16 videos, 16 records" in done.out
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    whole = prepare.prepare(
        manifest.read(str(path)),
        tmp_path / "whole",
        dataset.load(data).config,
    )
    assert contents(whole) == contents(dataset.load(data))


def contents(data):
    return [
        (records.one(e, keys.CLIP_ID), e.SerializeToString(deterministic=True))
        for shard in data.files("train")
        for e in records.read(shard)
    ]
