"""What several tests of the pipeline share."""

import csv

import pytest


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """A tiny pipeline with a history; read-only."""
    from testing import tiny_pipeline

    return tiny_pipeline.history(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def world(history, tmp_path, monkeypatch):
    """A copy of the pipeline that may be changed; the tests are in it."""
    made = history.copied(tmp_path / "copy")
    monkeypatch.chdir(made.folder)
    return made


SPLITS = {
    "person00": "train",
    "person01": "train",
    "person02": "validation",
    "person03": "test",
    "person04": "unlabelled",
}


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """The manifest of 40 short clips: four splits, two sources; read-only."""
    from emorec.data import sample

    folder = tmp_path_factory.mktemp("pipeline_clips")
    path = sample.write_sample_set(folder / "set", identities=5, seconds=0.75)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        row["split"] = SPLITS[row["identity"]]
        row["source"] = ("north", "south")[i % 2]
        if row["split"] == "unlabelled":
            row["label"] = ""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path
