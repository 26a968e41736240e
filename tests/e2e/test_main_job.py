"""The main job, from videos to an answer through a server, by the commands."""

import contextlib
import csv
import json
import re
import signal
import subprocess

import pytest
from testing import commands
from testing.evaluations import check_same, metrics_of, rows_of

# Rows of the sample set: two of train's identities, and one of each other.
ROWS = {"train": 6, "validation": 2, "test": 2}


def write_manifest(sample_set, path):
    """A few rows of the sample set, so that the job takes seconds."""
    with open(sample_set, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    kept = [
        row
        for split, count in ROWS.items()
        for row in [r for r in rows if r["split"] == split][:count]
    ]
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, kept[0])
        writer.writeheader()
        for row in kept:
            video = sample_set.parent / row["video"]
            writer.writerow({**row, "video": video})
    return [str(sample_set.parent / r["video"]) for r in kept[-2:]]


@contextlib.contextmanager
def serving(base_path):
    """`emorec serve` in a process of its own; gives its address."""
    process = subprocess.Popen(
        commands.line(
            "serve",
            "--embedded",
            "--port=0",
            "--model_name=emotion",
            f"--model_base_path={base_path}",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=commands.environment(),
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"'emotion' on (127\.0\.0\.1), gRPC on (\d+)$", line)
        assert found, line + process.stderr.read()
        yield f"{found[1]}:{found[2]}"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "stopped\n", "")
    finally:
        process.kill()
        process.communicate()


def test_from_videos_to_an_answer(run, sample_set, tmp_path):
    videos = write_manifest(sample_set, tmp_path / "manifest.csv")
    data, model = tmp_path / "data", tmp_path / "model"
    base = tmp_path / "serving" / "emotion"

    done = run(
        "prepare",
        f"--manifest={tmp_path / 'manifest.csv'}",
        f"--output_dir={data}",
        "--set=clip.clip_frames=4",
    )
    assert "train: 6 videos, 6 records, 100.0% of " in done.out
    # 0.75 s at 8 fps are 6 frames: a clip of 4 and one of 2.
    assert "test: 2 videos, 4 records, 100.0% of 12 frames" in done.out

    done = run(
        "train",
        f"--data_dir={data}",
        f"--output_dir={model}",
        "--missing_weights=random",
        "--set=train.epochs=2",
        "--set=train.batch_size=4",
    )
    assert re.search(r"^epoch   2  loss \d", done.out, re.MULTILINE)
    assert "caca_rnn_a: " in done.out and " parameters, best epoch " in done.out
    assert "WARNING: the context encoder has RANDOM frozen weights" in done.out
    config = json.loads((model / "model.json").read_text())["config"]
    assert config["clip"]["clip_frames"] == 4
    assert config["train"]["epochs"] == 2

    backends = [f"--model_dir={model}"]
    folders = [evaluated(run, data, tmp_path, backends[0])]

    done = run(
        "export",
        f"--model_dir={model}",
        f"--output_dir={base}",
        "--warmup_batch_sizes=1,2",
    )
    assert done.out.splitlines()[-1] == str(base / "1")
    assert done.out.count("largest difference of a probability") == 8
    backends.append(f"--saved_model={base}")
    with serving(base) as address:
        backends.append(f"--server={address}")
        folders += [evaluated(run, data, tmp_path, b) for b in backends[1:]]
        answers = [predicted(run, videos, tmp_path, b) for b in backends]
    for other in folders[1:]:
        check_same(folders[0], other)
    for other in answers[1:]:
        compare(answers[0], other)
    check_schema(answers[0], videos)


def evaluated(run, data, folder, backend):
    out = folder / backend.strip("-").partition("=")[0]
    done = run("evaluate", f"--data_dir={data}", f"--output_dir={out}", backend)
    values = metrics_of(out)
    assert values["metrics"]["n"] == 2
    assert values["system"] == "caca_rnn_a"
    assert values["random_weights"] == ["context"]
    assert f"ACC (accuracy) {100 * values['metrics']['acc']:.2f}" in (
        re.sub(r"[ :]+", " ", done.out)
    )
    assert "100.0% of the sampled frames had a face" in done.out
    assert len(rows_of(out)) == 2
    return out


def predicted(run, videos, folder, backend):
    output, report = folder / "results.jsonl", folder / "report.html"
    # An exported model computes in float32.
    exact = ["--bfloat16=none"] if "model_dir" in backend else []
    files = [f"--output={output}", f"--report={report}"]
    done = run("predict", *videos, backend, *exact, *files)
    assert done.err == ""
    assert done.out.splitlines()[-1] == str(report)
    page = report.read_text(encoding="utf-8")
    # One person in each video, over both of its windows.
    assert page.count("<h3>Person 0: ") == len(videos)
    return [json.loads(line) for line in output.read_text().splitlines()]


def compare(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        # Written to six places: 1e-5 as asked for, and one unit of the last.
        for name in ("probabilities", "confidence"):
            assert a[name] == pytest.approx(b[name], abs=1.1e-5)
            b = {**b, name: a[name]}
        assert a == b


def check_schema(results, videos):
    # Two windows of each video, then the answer over both.
    assert [r["video"] for r in results] == [v for v in videos for _ in "123"]
    assert [r["start"] for r in results] == [0.0, 0.5, 0.0] * 2
    assert [r["end"] for r in results] == [0.5, 0.75, 0.75] * 2
    for result in results[2::3]:
        assert (result["whole"], result["windows"]) == (True, 2)
        assert result["frames"] == 6 and "per_frame" not in result
    for result in results:
        check_answer(result)
        if result.get("whole"):
            continue
        assert set(result) == {
            "video",
            "track",
            "start",
            "end",
            "label",
            "confidence",
            "calibrated",
            "uncertain",
            "probabilities",
            "frames",
            "frames_with_face",
            "coverage",
            "per_frame",
        }
        assert len(result["per_frame"]) == result["frames"]
        times = [f["time"] for f in result["per_frame"]]
        assert times == sorted(times)
        assert result["start"] <= times[0] and times[-1] < result["end"]
        for frame in result["per_frame"]:
            x0, y0, x1, y1 = frame["box"]
            assert 0 <= x0 < x1 and 0 <= y0 < y1


def check_answer(result):
    assert result["track"] == 0
    assert result["frames"] == result["frames_with_face"]
    assert result["calibrated"] is True and result["coverage"] == 1
    shares = result["probabilities"]
    assert len(shares) == 8
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert result["label"] == max(shares, key=shares.get)
