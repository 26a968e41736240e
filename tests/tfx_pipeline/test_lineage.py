"""What ML Metadata tells: runs, pushed versions, what a model is made of."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
from testing import commands, tiny_pipeline

from emorec.data import files
from emorec.errors import EmorecError
from tfx_pipeline import (
    lineage,
    metadata_store,
    pushes,
    run_list,
    run_table,
    status,
)


@pytest.fixture
def store(history, monkeypatch):
    monkeypatch.chdir(history.folder)
    with metadata_store.opened(tiny_pipeline.METADATA) as found:
        yield found


def told(store, **arguments):
    return status.collect(store, tiny_pipeline.NAME, **arguments)


def test_runs_newest_first(store, history):
    found = run_list.runs(store, tiny_pipeline.NAME)
    assert [r.id for r in found] == list(history.ids.values())[::-1]
    named = dict(zip(list(history.ids)[::-1], found, strict=True))
    assert {k: r.state for k, r in named.items()} == {
        **dict.fromkeys(history.ids, "complete"),
        "failed": "failed in Trainer",
        "killed": "killed or still running in Trainer",
    }
    assert {k: r.pushed for k, r in named.items() if r.pushed} == {
        "first": history.versions[0],
        "second": history.versions[1],
    }
    assert (named["first"].ran, named["first"].cached) == (9, 0)
    assert (named["same"].ran, named["same"].cached) == (2, 7)
    assert named["first"].seconds > 0
    assert run_list.runs(store, tiny_pipeline.NAME, 2) == found[:2]
    assert run_list.runs(store, "other") == []


def test_a_run_that_was_killed_between_two_nodes(history, tmp_path):
    world = history.copied(tmp_path / "copy")
    world.run("cut", 8, push=False)
    with metadata_store.opened(world.folder / tiny_pipeline.METADATA) as store:
        [run] = run_list.runs(store, tiny_pipeline.NAME, 1)
    assert run.state == "ended before the Pusher"


def test_pushed_versions(store, history):
    found = pushes.pushed_versions(store, tiny_pipeline.NAME)
    assert [p.version for p in found] == history.versions[::-1]
    first = found[-1]
    assert first.destination == f"serving/emotion/{first.version}"
    assert first.base == "serving/emotion"
    assert first.blessed_by == ("Evaluator", "ServableValidator")
    assert first.run_id == history.ids["first"]
    assert first.rolled_back_to is first.rolled_back_from is None
    model = lineage.model_artifact(store, first)
    assert model.type == "Model"
    here = str(history.folder / "serving/emotion/")
    assert pushes.pushed_versions(store, tiny_pipeline.NAME, here) == found
    assert pushes.pushed_versions(store, tiny_pipeline.NAME, "else") == []
    assert pushes.pushed_versions(store, "other") == []


def test_what_made_the_model_that_is_served(store, history):
    found = told(store)
    assert found.served == found.version == history.versions[1]
    made = found.lineage
    assert made.model["run_id"] == history.ids["second"]
    assert made.data["given"] == {
        "input_base": "clips",
        "labels": "mec2017",
        "manifest": "labels.csv",
    }
    assert (made.data["span"], made.data["version"]) == (3, None)
    assert made.data["input_fingerprint"] == "abc"
    assert made.data["fingerprint"] == "f" * 16
    assert made.data["sources"] == {"web": 3}
    assert made.data["splits"] == {
        "train": {"rows": 2, "records": 3},
        "test": {"rows": 1, "records": 1},
    }
    assert made.data["failed"] == 1
    assert made.training["seed"] == 2
    assert made.training["assignments"] == ["train.epochs=3"]
    assert made.code == {
        "ClipExampleGen": "c1",
        "FeatureExtractor": "c2",
        "Trainer": "c3",
    }
    assert made.encoders == {"face": {"id": "mini_xception", "hash": "e1"}}
    assert made.evaluation["blessed"] is True
    assert made.servable == {
        "blessed": True,
        "reason": "",
        "uri": made.servable["uri"],
    }
    # It was begun from the first one, whose own lineage is not mixed in.
    first = told(store, version=history.versions[0]).lineage
    assert made.bases == [{"id": first.model["id"], "uri": first.model["uri"]}]
    assert first.bases == []
    assert first.training["seed"] == 1
    assert not made.notes


def test_a_model_that_was_not_pushed_has_a_lineage(store, history):
    models = sorted(store.get_artifacts_by_type("Model"), key=lambda a: a.id)
    found = lineage.lineage_of(store, models[-1])
    assert found.model["run_id"] == history.ids["unservable"]
    assert found.servable["blessed"] is False
    assert found.servable["reason"] == tiny_pipeline.REFUSED
    worse = lineage.lineage_of(store, models[-2])
    assert worse.evaluation["blessed"] is False


def test_its_videos(store):
    found = told(store, videos=True)
    assert found.videos == [
        {
            "split": split,
            "video": video,
            "sha256": f"sha-of-{video}",
            "label": "happy",
            "clips": clips,
        }
        for split, video, clips in (
            ("train", "a.mp4", 1),
            ("train", "b.mp4", 2),
            ("test", "c.mp4", 1),
        )
    ]
    assert "  test  c.mp4  happy  sha-of-c.mp4" in found.text().splitlines()
    assert told(store).videos is None


def test_the_text(store, history):
    first, second = history.versions
    lines = told(store).text().splitlines()
    assert lines[0] == "pipeline tiny"
    assert f"version {second} is served in serving/emotion" in lines
    assert f"version {second} is made of" in lines
    [served] = [line for line in lines if line.endswith("SERVED")]
    assert served.split()[0] == str(second)
    [run] = [x for x in lines if x.startswith(f"  {history.ids['second']}")]
    assert run.endswith(f"complete  pushed version {second}")
    facts = dict(
        x[2:].split(None, 1) for x in lines[lines.index("") + 1 :] if x
    )
    assert facts["records"] == (
        "train 3 clips of 2 rows, test 1 clips of 1 rows; 1 rows unreadable"
    )
    assert facts["settings"] == "train.epochs=3"
    assert facts["code"] == (
        "Trainer c3, FeatureExtractor c2, ClipExampleGen c1"
    )
    assert facts["data"] == "clips/labels.csv, span 3, fingerprint " + "f" * 16
    assert facts["face"] == "CNN    id mini_xception, hash e1"


def test_artifacts_that_were_removed_are_told(history, tmp_path, monkeypatch):
    world = history.copied(tmp_path / "copy")
    monkeypatch.chdir(world.folder)
    for node in ("ClipExampleGen", "FeatureExtractor"):
        shutil.rmtree(world.folder / "root" / node)
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        made = told(store).lineage
        assert len(made.notes) == 2
        assert "features.json: no description" in made.notes[1]
        assert made.data["span"] == 3
        assert made.training["seed"] == 2
        with pytest.raises(EmorecError, match=r"dataset.json: no description"):
            told(store, videos=True)


def test_a_version_that_somebody_else_put_there(history, tmp_path, monkeypatch):
    world = history.copied(tmp_path / "copy")
    monkeypatch.chdir(world.folder)
    foreign = world.folder / tiny_pipeline.SERVING / "9999999999"
    foreign.mkdir()
    (foreign / "saved_model.pb").write_text("?")
    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        found = told(store)
    assert found.served == 9999999999
    assert found.lineage is None
    assert "which this pipeline did not push" in found.text()


def settings_file(folder, **changes):
    path = folder / "pipeline.json"
    values = {
        "pipeline_name": "tiny",
        "pipeline_root": "root",
        "metadata_path": "metadata.sqlite",
        "serving_dir": "serving/emotion",
        "input": {"manifest": "labels.csv"},
    }
    path.write_text(json.dumps({**values, **changes}))
    return path


def test_the_command(history, tmp_path, capsys, monkeypatch):
    world = history.copied(tmp_path / "copy")
    monkeypatch.chdir(world.folder)
    config = settings_file(world.folder)
    done = commands.here(
        capsys,
        "pipeline",
        "status",
        f"--config={config}",
        "--json",
        "--limit=2",
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found["runs"]) == 2
    assert found["served"] == world.versions[1]
    assert found["serving_dir"] == str(world.folder / "serving/emotion")
    assert found["lineage"]["training"]["seed"] == 2
    done = commands.here(
        capsys,
        "pipeline",
        "status",
        f"--config={config}",
        f"--model_version={world.versions[0]}",
    )
    assert f"version {world.versions[0]} is made of" in done.out
    done = commands.here(
        capsys,
        "pipeline",
        "status",
        f"--config={config}",
        f"--run={history.ids['unservable']}",
    )
    assert done.out.splitlines()[1].split()[0] == "node"
    assert tiny_pipeline.REFUSED in done.out


def test_a_run_tells_what_was_served_then_and_what_is_now(
    history, tmp_path, monkeypatch
):
    """Its own table, written at its end; here before the second was pushed."""
    world = history.copied(tmp_path / "copy")
    monkeypatch.chdir(world.folder)
    first, second = world.versions
    run = world.ids["failed"]

    def shown(store):
        return told(store, run_id=run).text().splitlines()

    with metadata_store.opened(tiny_pipeline.METADATA) as store:
        # Of a run that was killed nothing was written: told as of now.
        assert shown(store)[-1] == (
            f"nothing was pushed; version {second} is still served in "
            "serving/emotion"
        )
        assert told(store, run_id=run).run_seen == "now"
        table = run_table.collect(
            store,
            tiny_pipeline.NAME,
            run,
            tiny_pipeline.NODES,
            error="the loss is not finite",
        )
        left = dataclasses.replace(table, served=first)
        files.write_json(run_table.run_file("root", run), left.to_dict())
        lines = shown(store)
        assert lines[-2:] == [
            f"nothing was pushed; version {first} was served then in "
            "serving/emotion",
            f"now: version {second} is served in serving/emotion",
        ]
        found = told(store, run_id=run)
    [line] = [x for x in lines if x.startswith("Trainer")]
    assert line.endswith("  the loss is not finite")
    assert (found.run_seen, found.run.served, found.served) == (
        "at its end",
        first,
        second,
    )
    assert found.to_dict()["run"]["rows"][4]["outcome"] == (
        "the loss is not finite"
    )


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ([], 2, "give exactly one of --config, --metadata. Received: none"),
        (
            ["--metadata=no.sqlite"],
            1,
            "no.sqlite: no ML Metadata (there is no such file); run `emorec "
            "pipeline run` first, or give the right path",
        ),
        (
            ["--metadata=metadata.sqlite", "--run=1", "--videos"],
            2,
            "--run shows a run, --model_version and --videos a model; give "
            "one or the other",
        ),
    ],
)
def test_wrong_flags(history, capsys, monkeypatch, arguments, code, message):
    monkeypatch.chdir(history.folder)
    done = commands.here(capsys, "pipeline", "status", *arguments)
    assert done.code == code
    assert done.fault() == f"emorec pipeline status: {message}"


def test_an_unknown_version(history, capsys, monkeypatch):
    monkeypatch.chdir(history.folder)
    done = commands.here(
        capsys,
        "pipeline",
        "status",
        "--metadata=metadata.sqlite",
        "--model_version=7",
    )
    assert done.fault() == (
        "emorec pipeline status: `--model_version` must be a version that "
        "this pipeline pushed: "
        f"{', '.join(map(str, history.versions[::-1]))}. Received: 7"
    )


def test_it_answers_without_tensorflow(history):
    code = (
        "import sys; from emorec.cli import app;"
        "code = app.run('pipeline_status', sys.argv[1:]);"
        "heavy = {'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules);"
        "sys.exit(code or bool(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--metadata=metadata.sqlite"],
        capture_output=True,
        text=True,
        cwd=history.folder,
        env=commands.environment(),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "pushed versions" in done.stdout
