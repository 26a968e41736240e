"""The pipeline's commands on real clips with real weights."""

import csv
import json
import os

import pytest
from testing import commands

pytestmark = [pytest.mark.real, pytest.mark.long]

SPLITS = ("train", "train", "train", "validation", "test")


@pytest.fixture(scope="module")
def folder(test_data, tmp_path_factory):
    """Settings and a manifest of every clip; the unlabelled ones as such."""
    made = tmp_path_factory.mktemp("real_pipeline")
    labelled = test_data / "clips" / "labelled"
    with open(labelled / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(made / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "label", "split", "source"])
        for i, row in enumerate(rows):
            path = labelled / row["video"]
            split = SPLITS[i % len(SPLITS)]
            writer.writerow([path, row["label"], split, row["video"][0]])
        for name in ("fer_test.mp4", "pyfeat_no_face.mp4"):
            path = test_data / "clips" / "unlabelled" / name
            writer.writerow([path, "", "unlabelled", "wild"])
    weights = str(test_data / "weights")
    values = {
        "pipeline_name": "real",
        "input": {
            "manifest": "manifest.csv",
            "labels": "auto",
            # 15 clips of 9 labels: no split has all.
            "complete_splits": [],
        },
        "schema_file": "schema.pbtxt",
        "config": {
            "train": {"epochs": 3, "batch_size": 4},
            "data": {"shard_rows": 4},
        },
        "encoders": {"face_weights": weights, "context_weights": weights},
        "tuner": {
            "max_trials": 2,
            "algorithm": "random",
            "space": {"model.rnn_units": [8, 16]},
        },
    }
    (made / "pipeline.json").write_text(json.dumps(values))
    return made


@pytest.fixture
def emorec(capsys, folder):
    def run(command, *args):
        given = [f"--config={folder / 'pipeline.json'}"]
        return commands.here(capsys, "pipeline", command, *given, *args)

    return run


def served(folder):
    path = folder / "serving" / "emotion"
    return sorted(os.listdir(path)) if path.is_dir() else []


def test_all_of_it(capsys, emorec, folder):
    done = commands.here(
        capsys,
        "pipeline",
        "schema",
        "--labels=auto",
        f"--manifest={folder / 'manifest.csv'}",
        f"--output={folder / 'schema.pbtxt'}",
    )
    assert done.code == 0, done.err
    done = emorec("run", "--fail_unblessed")
    assert done.code == 0, done.err
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert "17 rows" in lines["ClipExampleGen"]
    assert "RANDOM" not in done.out + done.err
    assert "blessed" in lines["ServableValidator"]
    assert "ran" in lines["Tuner"]
    (first,) = served(folder)

    status = emorec("status", "--json")
    assert status.code == 0, status.err
    found = json.loads(status.out)
    text = json.dumps(found)
    assert first in text and "SqueezeNet" in text
    assert "model.rnn_units" in text

    done = emorec("run", "--set=train.learning_rate=0.002")
    assert done.code == 0, done.err
    assert len(served(folder)) == 2
    done = emorec("rollback")
    assert done.code == 0, done.err
    assert len(served(folder)) == 3
    status = emorec("status")
    assert "rolled back" in status.out.lower() or "again" in status.out
