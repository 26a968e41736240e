"""What is wrong with the input ends a run with one message and no push."""

import csv
import json
import pathlib
import shutil

import pytest

from emorec.config import Config
from emorec.data import manifest, prepare
from emorec.errors import EmorecError
from tfx_pipeline import pipeline, settings


@pytest.fixture
def run(tmp_path):
    """Runs a pipeline that must fail; gives the table and the message."""
    from tfx_pipeline import local_runner

    def run(given, **values):
        found = settings.resolve(
            {
                "input": given,
                "encoders": {"missing_weights": "random"},
                **values,
            },
            str(tmp_path),
        )
        result = local_runner.run(found)
        assert isinstance(result.error, EmorecError), result.error
        assert not (tmp_path / "serving").exists()
        last = result.table.text().splitlines()[-1]
        assert last.startswith("nothing was pushed; nothing is served yet")
        failed = [r.node for r in result.table.rows if r.state == "failed"]
        told = [r.outcome for r in result.table.rows if r.state == "failed"]
        assert told == [" ".join(str(result.error).splitlines()[0].split())]
        after = [r.node for r in result.table.rows if r.state == "not reached"]
        assert len(failed) == 1
        assert {"Trainer", "Pusher"} <= set(after)
        return failed[0], str(result.error)

    return run


def copied(prepared, folder) -> pathlib.Path:
    shutil.copytree(
        prepared.path, folder, ignore=shutil.ignore_patterns("features")
    )
    return folder


def rewritten(sample_set, path, keep, change=lambda row: None) -> pathlib.Path:
    """The sample set's manifest without some rows."""
    with open(sample_set, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if keep(row)]
    for row in rows:
        row["video"] = str(pathlib.Path(sample_set).parent / row["video"])
        change(row)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def edited(data, folder, **splits):
    """A copy of a data set whose description lacks something."""
    folder = copied(data, folder)
    values = json.loads((folder / "dataset.json").read_text())
    for split, labels in splits.items():
        if labels is None:
            del values["splits"][split]
        else:
            values["splits"][split]["labels"] = labels
    (folder / "dataset.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split(run, prepared, tmp_path, split):
    edited(prepared, tmp_path / "data", **{split: None})
    node, message = run({"data": "data"})
    assert node == "ClipExampleGen"
    assert f"the split {split}" in message
    assert "\n" not in message


def test_a_split_without_some_label(run, prepared, tmp_path):
    edited(prepared, tmp_path / "data", test={"happy": 8})
    node, message = run({"data": "data"})
    assert node == "ClipExampleGen"
    assert "the split test" in message and "disgust" in message
    assert "\n" not in message


def test_a_corrupt_shard(run, prepared, tmp_path):
    folder = copied(prepared, tmp_path / "data")
    shard = sorted(folder.glob("train-*.tfrecord"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    node, message = run({"data": "data"})
    assert node == "ClipExampleGen"
    assert shard.name in message
    assert "\n" not in message


def test_records_of_another_config(run, prepared, tmp_path):
    copied(prepared, tmp_path / "data")
    node, message = run(
        {"data": "data"}, config={"clip": {"face_margin": 0.25}}
    )
    assert node == "ClipExampleGen"
    assert "clip.face_margin is 0.0, not 0.25" in message
    assert "\n" not in message


def test_a_label_that_the_schema_does_not_know(run, sample_set, tmp_path):
    def change(row):
        row["label"] = {"happy": "joy"}.get(row["label"], row["label"])

    def keep(row):
        return row["label"] in ("happy", "sad")

    path = rewritten(sample_set, tmp_path / "labels.csv", keep, change)
    prepare.prepare(
        manifest.read(str(path), "auto"), tmp_path / "data", Config()
    )
    node, message = run(
        {"data": "data", "labels": "auto"}, schema_file=pipeline.SCHEMA_FILE
    )
    assert node == "ExampleValidator"
    assert "clip/label" in message and "joy" in message


def test_a_label_that_the_label_set_does_not_know(run, sample_set, tmp_path):
    def change(row):
        row["label"] = {"happy": "joy"}.get(row["label"], row["label"])

    rewritten(sample_set, tmp_path / "m.csv", lambda row: True, change)
    node, message = run({"manifest": "m.csv"})
    assert node == "ClipExampleGen"
    assert "'joy'" in message


def test_no_manifest_where_it_should_be(run):
    node, message = run({"manifest": "span-{SPAN}/labels.csv"})
    assert node == "ClipExampleGen"
    assert "span-" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "values, message",
    [
        ({"trainer": {"system": "nothing"}}, "nothing"),
        ({"trainer": {"system": "majority"}}, "must read features"),
        ({"config": {"train": {"source_weights": "x"}}}, "source_weights"),
        (
            {"input": {"manifest": "m.csv", "labels": "auto"}},
            "`schema_file` is needed where `input.labels` is 'auto'",
        ),
        (
            {"tuner": {"max_trials": 1, "space": {"model.size": [1]}}},
            "model.size",
        ),
        ({"serving": {"server": "/no/such/server"}}, "/no/such/server"),
        ({"serving_dir": "a-file/serving"}, "`serving_dir` must be a folder"),
        (
            {"metadata_path": "s3://bucket/metadata.sqlite"},
            "`metadata_path` must be a local file",
        ),
    ],
)
def test_wrong_settings_run_nothing(tmp_path, values, message):
    from tfx_pipeline import local_runner

    (tmp_path / "a-file").touch()
    found = settings.resolve(
        {"input": {"manifest": "m.csv"}, **values}, str(tmp_path)
    )
    with pytest.raises(EmorecError, match=message) as caught:
        local_runner.run(found)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pipeline" / "metadata.sqlite").exists()


def test_a_cluster_is_refused_before_it_waits_for_its_workers(
    tmp_path, monkeypatch
):
    from tfx_pipeline import local_runner

    cluster = {"worker": ["127.0.0.1:9", "127.0.0.1:10"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": cluster, "task": task})
    )
    found = settings.resolve({"input": {"manifest": "m.csv"}}, str(tmp_path))
    with pytest.raises(EmorecError, match="names 2 workers"):
        local_runner.run(found)


def test_an_edited_schema_is_another_one(tmp_path):
    from tfx_pipeline import schema

    path = schema.write(("happy", "sad"), tmp_path / "schema.pbtxt")
    found = settings.resolve(
        {
            "input": {"data": "data", "labels": "auto"},
            "schema_file": "schema.pbtxt",
        },
        str(tmp_path),
    )
    first = pipeline._schema_file(found, managed=False)
    assert schema.label_names(first) == ("happy", "sad")
    schema.write(("happy", "glad"), path)
    second = pipeline._schema_file(found, managed=False)
    assert second != first
    assert schema.label_names(second) == ("happy", "glad")


def test_an_empty_metadata_file_is_none(run, prepared, tmp_path):
    edited(prepared, tmp_path / "data", test=None)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "metadata.sqlite").touch()
    node, _ = run({"data": "data"})
    assert node == "ClipExampleGen"
