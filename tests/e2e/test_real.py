"""The main job on real clips with the real weights, through the commands."""

import csv
import json

import numpy as np
import pytest

from emorec.cli.main import main
from emorec.data import dataset
from emorec.predict import NO_FACE
from serving.server.server import ModelServer

pytestmark = [pytest.mark.real, pytest.mark.long]

# Looked at by eye: a pool, a tree, a title with animals, and pedestrians
# whose faces are about 12 pixels wide.
WITHOUT_FACE = {
    "mmaction2_part_0.mp4",
    "pyfeat_no_face.mp4",
    "tree.avi",
    "vtest.avi",
}
SPLITS = ("train", "train", "train", "validation", "test")


def _emorec(*args):
    assert main([*args]) == 0


@pytest.fixture(scope="module")
def job(test_data, tmp_path_factory):
    """Prepares, trains and exports on every labelled clip."""
    folder = tmp_path_factory.mktemp("real")
    clips = test_data / "clips" / "labelled"
    with open(clips / "labels.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    # By name, d_* to s_*: each split gets clips of both kinds.
    with open(folder / "manifest.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["video", "label", "split", "source"])
        for i, row in enumerate(rows):
            writer.writerow(
                [
                    clips / row["video"],
                    row["label"],
                    SPLITS[i % len(SPLITS)],
                    row["video"][0],
                ]
            )
    weights = test_data / "weights"
    _emorec(
        "prepare",
        f"--manifest={folder / 'manifest.csv'}",
        f"--output_dir={folder / 'data'}",
        "--labels=auto",
    )
    _emorec(
        "train",
        f"--data_dir={folder / 'data'}",
        f"--output_dir={folder / 'model'}",
        f"--face_weights={weights}",
        f"--context_weights={weights}",
        "--set=train.epochs=20",
        "--set=train.batch_size=4",
    )
    _emorec(
        "export",
        f"--model_dir={folder / 'model'}",
        f"--output_dir={folder / 'serving'}",
        "--warmup_batch_sizes=1",
    )
    return folder, rows


def test_every_labelled_clip_is_prepared(job):
    folder, rows = job
    data = dataset.load(folder / "data")
    assert set(data.labels.names) == {r["label"] for r in rows}
    assert data.failures == []
    assert sum(s["rows"] for s in data.splits.values()) == len(rows)
    assert sum(s["no_face"] for s in data.splits.values()) == 0
    share = sum(s["frames_with_face"] for s in data.splits.values()) / sum(
        s["frames_total"] for s in data.splits.values()
    )
    assert share > 0.95


def test_real_weights_learn_the_training_clips(job):
    folder, _ = job
    history = json.loads((folder / "model" / "history.json").read_text())
    losses = [e["loss"] for e in history["epochs"]]
    assert min(losses) < 0.6 * losses[0]
    model = json.loads((folder / "model" / "model.json").read_text())
    assert model["random_weights"] == []


def test_model_and_saved_model_evaluate_alike(job):
    folder, _ = job
    found = []
    for flag, path in (("model_dir", "model"), ("saved_model", "serving")):
        out = folder / f"evaluation_{flag}"
        _emorec(
            "evaluate",
            f"--data_dir={folder / 'data'}",
            f"--{flag}={folder / path}",
            f"--output_dir={out}",
            "--split=test",
        )
        with open(out / "predictions.csv", newline="") as f:
            rows = list(csv.DictReader(f))
        found.append(
            np.array(
                [
                    [float(v) for k, v in r.items() if k.startswith("p_")]
                    for r in rows
                ]
            )
        )
    assert len(found[0]) == 3
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_prepare_and_evaluate_give_one_share_of_frames(job, test_data):
    """Of all frames, though windows without the person give no record."""
    folder, _ = job
    names = dataset.load(folder / "data").labels.names
    video = test_data / "clips" / "unlabelled" / "pyfeat_noface_face.mov"
    manifest = folder / "noface_face.csv"
    manifest.write_text(f"video,label,split\n{video},{names[0]},test\n")
    labels = folder / "labels.txt"
    labels.write_text("\n".join(names) + "\n")
    data, out = folder / "noface_face", folder / "evaluation_noface_face"
    _emorec(
        "prepare",
        f"--manifest={manifest}",
        f"--output_dir={data}",
        f"--labels={labels}",
    )
    _emorec(
        "evaluate",
        f"--data_dir={data}",
        f"--saved_model={folder / 'serving'}",
        f"--output_dir={out}",
    )
    split = dataset.load(data).splits["test"]
    with open(out / "predictions.csv", newline="") as f:
        (row,) = csv.DictReader(f)
    frames = int(row["frames"]), int(row["frames_with_face"])
    assert frames == (split["frames_total"], split["frames_with_face"])
    # The video begins without anybody, as its name says.
    assert frames[0] == 51 and 10 < frames[1] < 30
    values = json.loads((out / "metrics.json").read_text())
    assert values["frames_with_face_share"] == frames[1] / frames[0]


def test_every_clip_gets_a_right_answer_through_a_server(job, test_data):
    folder, _ = job
    videos = sorted(
        p
        for p in (test_data / "clips").rglob("*")
        if p.suffix in (".mp4", ".mov", ".avi")
    )
    assert len(videos) == 34
    results = folder / "results.jsonl"
    with ModelServer(str(folder / "serving"), "emotion", port=0) as server:
        _emorec(
            "predict",
            *map(str, videos),
            f"--server=127.0.0.1:{server.port}",
            f"--output={results}",
            f"--report={folder / 'report.html'}",
        )
    by_video = {}
    for line in results.read_text().splitlines():
        value = json.loads(line)
        by_video.setdefault(value["video"], []).append(value)
    for video in videos:
        values = by_video[str(video)]
        if video.name in WITHOUT_FACE:
            assert [v.get("message") for v in values] == [NO_FACE], video
            assert "probabilities" not in values[0]
            assert values[0]["frames"] > 0
            continue
        for value in values:
            assert sum(value["probabilities"].values()) == pytest.approx(
                1, abs=1e-4
            )
            assert value["label"] in value["probabilities"]
            assert value["frames_with_face"] > 0
            if "whole" not in value:
                assert len(value["per_frame"]) == value["frames_with_face"]
            assert value["start"] < value["end"]


def test_people_are_counted(job):
    """Tracks where the number of people is known by eye."""
    folder, _ = job
    tracks = {}
    for line in (folder / "results.jsonl").read_text().splitlines():
        value = json.loads(line)
        name = value["video"].rsplit("/", 1)[1]
        tracks.setdefault(name, set()).add(value.get("track"))
    one = [n for n in tracks if n[:2] in ("a_", "d_", "s_")]
    assert len(one) == 15
    for name in (*one, "pyfeat_single_face.mp4", "liveportrait_d18.mp4"):
        assert len(tracks[name]) == 1, name
    assert len(tracks["facenetpt_video.mp4"]) >= 3
