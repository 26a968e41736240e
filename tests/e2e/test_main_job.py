"""The main job, from videos to an answer through a server, by the commands."""

import contextlib
import csv
import json
import re
import signal
import subprocess

import pytest
from testing import commands

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
    figures = [evaluated(run, data, tmp_path, backends[0])]

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
        figures += [evaluated(run, data, tmp_path, b) for b in backends[1:]]
        answers = [predicted(run, videos, tmp_path, b) for b in backends]
    for other in figures[1:]:
        assert other["metrics"]["acc"] == figures[0]["metrics"]["acc"]
        assert other["metrics"]["cross_entropy"] == pytest.approx(
            figures[0]["metrics"]["cross_entropy"], abs=1e-5
        )
    for other in answers[1:]:
        compare(answers[0], other)
    check_schema(answers[0], videos)


def evaluated(run, data, folder, backend):
    out = folder / "evaluation"
    done = run("evaluate", f"--data_dir={data}", f"--output_dir={out}", backend)
    values = json.loads((out / "metrics.json").read_text())
    assert values["metrics"]["n"] == 2
    assert values["system"] == "caca_rnn_a"
    assert values["random_weights"] == ["context"]
    assert f"ACC (accuracy) {100 * values['metrics']['acc']:.2f}" in (
        re.sub(r"[ :]+", " ", done.out)
    )
    assert "100.0% of the sampled frames had a face" in done.out
    with open(out / "predictions.csv", newline="") as f:
        assert len(list(csv.DictReader(f))) == 2
    return values


def predicted(run, videos, folder, backend):
    output, report = folder / "results.jsonl", folder / "report.html"
    done = run(
        "predict", *videos, backend, f"--output={output}", f"--report={report}"
    )
    assert done.err == ""
    assert done.out.splitlines()[-1] == str(report)
    page = report.read_text(encoding="utf-8")
    assert page.count("<h3>Person 0, ") == 4
    return [json.loads(line) for line in output.read_text().splitlines()]


def compare(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        left, right = a.pop("probabilities"), b.pop("probabilities")
        # Written to six places: 1e-5 as asked for, and one unit of the last.
        assert left == pytest.approx(right, abs=1.1e-5)
        assert a == b
        a["probabilities"] = left


def check_schema(results, videos):
    assert [r["video"] for r in results] == [v for v in videos for _ in "12"]
    assert [r["start"] for r in results] == [0.0, 0.5] * 2
    assert [r["end"] for r in results] == [0.5, 0.75] * 2
    for result in results:
        assert set(result) == {
            "video",
            "track",
            "start",
            "end",
            "label",
            "probabilities",
            "frames",
            "frames_with_face",
            "per_frame",
        }
        assert result["track"] == 0
        assert result["frames"] == result["frames_with_face"]
        assert len(result["per_frame"]) == result["frames"]
        times = [f["time"] for f in result["per_frame"]]
        assert times == sorted(times)
        assert result["start"] <= times[0] and times[-1] < result["end"]
        for frame in result["per_frame"]:
            x0, y0, x1, y1 = frame["box"]
            assert 0 <= x0 < x1 and 0 <= y0 < y1
        shares = result["probabilities"]
        assert len(shares) == 8
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert result["label"] == max(shares, key=shares.get)
