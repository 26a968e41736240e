"""ClipExampleGen alone: its executor's records and refusals."""

import csv
import json
import pathlib
import shutil

import pytest
from testing import clip_runs, s3, videos

from emorec.config import Config
from emorec.data import dataset, records
from emorec.errors import (
    ConfigError,
    EmorecError,
    ManifestError,
    RecordError,
    VideoError,
)
from tfx_pipeline import executions
from tfx_pipeline.components import clip_example_gen

ROOT = pathlib.Path(clip_example_gen.__file__).resolve().parents[2]
SMALL = {"data": {"shard_rows": 2}}


@pytest.fixture
def few(sample_set):
    return clip_runs.few_rows(sample_set)


@pytest.fixture
def base(few, tmp_path):
    """A folder with a manifest of `few`."""
    return clip_runs.write_manifest(
        tmp_path / "in" / "manifest.csv", few
    ).parent


# Executor.


def test_records_are_those_of_prepare(prepared, sample_set, tmp_path):
    run = clip_runs.run(
        tmp_path, input_base=str(sample_set.parent), manifest="manifest.csv"
    )
    made = dataset.load(run.examples.uri)
    assert run.splits == set(prepared.splits) == set(made.splits)
    for split in prepared.splits:
        for ours, theirs in zip(
            made.files(split), prepared.files(split), strict=True
        ):
            assert f"/Split-{split}/" in ours
            assert (
                pathlib.Path(ours).read_bytes()
                == pathlib.Path(theirs).read_bytes()
            )
    assert made.fingerprint == prepared.fingerprint
    # All that TFX takes for records are records.
    for path in run.folder.glob("Split-*/*"):
        assert list(records.read(path))
    assert run.examples.span == 0
    custom = run.examples.mlmd_artifact.custom_properties
    assert (
        custom["input_fingerprint"].string_value
        == run.properties["input_fingerprint"]
    )
    assert run.dead == []
    assert run.failed == (0, 32)


def test_without_a_driver_the_executor_resolves_the_span(few, tmp_path):
    for version in (1, 4):
        path = tmp_path / "span-2" / f"v{version}" / "manifest.csv"
        clip_runs.write_manifest(path, few)
    arguments = {
        "input_base": str(tmp_path),
        "manifest": "span-{SPAN}/v{VERSION}/manifest.csv",
        "complete_splits": (),
    }
    made = clip_example_gen.ClipExampleGen(**arguments)
    run = clip_runs.Run(tmp_path / "out", 1, made.exec_properties).do()
    assert (run.examples.span, run.examples.version) == (2, 4)
    custom = run.examples.mlmd_artifact.custom_properties
    assert (custom["span"].int_value, custom["version"].int_value) == (2, 4)
    driven = clip_runs.driven(**arguments)
    assert (
        custom["input_fingerprint"].string_value == driven["input_fingerprint"]
    )


def broken(folder, few, count=1):
    """`few` and some videos that cannot be read."""
    rows = list(few)
    for i in range(count):
        path = folder / f"broken{i}.mp4"
        path.write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes([i]) * 200)
        rows.append({"video": str(path), "label": "sad", "split": "train"})
    return rows


def test_a_broken_video_is_a_dead_letter(few, base):
    clip_runs.write_manifest(base / "manifest.csv", broken(base, few))
    run = clip_runs.run(
        base.parent / "out",
        input_base=str(base),
        config=SMALL,
        max_failed_share=0.15,
        labels="auto",
    )
    (letter,) = run.dead
    assert letter["video"].endswith("broken0.mp4")
    assert (letter["line"], letter["split"]) == ("8", "train")
    assert "broken0.mp4" in letter["reason"]
    assert run.failed == (1, 7)
    assert run.data["splits"]["train"]["rows"] == 4
    assert run.splits == {"train", "validation", "test"}


def test_too_many_broken_videos_end_the_run(few, base):
    clip_runs.write_manifest(base / "manifest.csv", broken(base, few, 22))
    with pytest.raises(VideoError) as caught:
        clip_runs.run(base.parent / "out", input_base=str(base), labels="auto")
    first, *lines = str(caught.value).splitlines()
    assert "22 of 28 videos (78.6%) could not be read" in first
    assert "the limit of 10.0%" in first
    assert len(lines) == 21
    assert lines[0].startswith("line 8: ") and "broken0.mp4" in lines[0]
    more, _, path = lines[-1].partition("; all of them: ")
    assert more == "and 2 more"
    with open(path, newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 22


def test_no_readable_video_at_all_tells_the_list_too(base):
    clip_runs.write_manifest(base / "manifest.csv", broken(base, [], 2))
    with pytest.raises(VideoError, match="2 of 2 videos") as caught:
        clip_runs.run(base.parent / "out", input_base=str(base))
    assert len(str(caught.value).splitlines()) == 3


def test_a_faulty_manifest_is_told_by_its_lines(few, base):
    rows = [{**few[0], "label": "joy"}, {**few[1], "video": "none.mp4"}]
    clip_runs.write_manifest(base / "manifest.csv", rows)
    with pytest.raises(ManifestError) as caught:
        clip_runs.run(base.parent / "out", input_base=str(base))
    assert "joy" in str(caught.value) and "none.mp4" in str(caught.value)


def test_nothing_to_train_on_is_refused(few, base):
    rows = [r for r in few if r["split"] != "train"]
    clip_runs.write_manifest(base / "manifest.csv", rows)
    with pytest.raises(RecordError, match="no video of the split train"):
        clip_runs.run(base.parent / "out", input_base=str(base))


def test_a_train_split_without_a_face_is_refused(few, base):
    path = base / "grey.mp4"
    videos.write_video(path, 8, fps=8)
    rows = [{"video": str(path), "label": "sad", "split": "train"}, few[-1]]
    clip_runs.write_manifest(base / "manifest.csv", rows)
    with pytest.raises(RecordError, match="no labelled video.*shows a face"):
        clip_runs.run(base.parent / "out", input_base=str(base))


def test_a_split_that_lacks_a_label_is_refused(base):
    out = base.parent / "out"
    with pytest.raises(RecordError) as caught:
        clip_runs.run(out, input_base=str(base))
    assert "the split train is labelled angry, surprise" in str(caught.value)
    given = {"input_base": str(base), "labels": "auto"}
    clip_runs.run(out, 2, **given)
    with pytest.raises(RecordError, match="split test is labelled sad"):
        clip_runs.run(out, 3, complete_splits=("train", "test"), **given)


# Going on.


def killed(run):
    """Leaves of an execution what a kill does: no end, one shard unwritten."""
    (run.folder / "dataset.json").unlink()
    shards = sorted((run.folder / "Split-train").iterdir())
    shards[-1].rename(shards[-1].with_name(f".{shards[-1].name}.1.tmp"))
    (run.folder / "shards" / f"{shards[-1].stem}.json").unlink()
    # A mark in a finished shard's summary: who takes it over, has it.
    path = run.folder / "shards" / f"{shards[0].stem}.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "sources": {"adopted": 2}}))


def test_shards_of_a_killed_execution_are_taken_over(base):
    arguments = {"input_base": str(base), "config": SMALL, "labels": "auto"}
    first = clip_runs.run(base.parent / "out", 1, **arguments)
    content = {p.name: p.read_bytes() for p in first.folder.glob("Split-*/*")}
    assert len(content) == 4
    killed(first)
    second = clip_runs.run(base.parent / "out", 2, **arguments)
    assert "adopted" in second.data["sources"]
    assert content == {
        p.name: p.read_bytes() for p in second.folder.glob("Split-*/*")
    }


def test_a_run_that_fails_at_a_limit_loses_no_work(few, base):
    clip_runs.write_manifest(base / "manifest.csv", broken(base, few))
    out = base.parent / "out"
    given = {"input_base": str(base), "labels": "auto"}
    for number in (1, 2):
        with pytest.raises(VideoError, match="over the limit"):
            clip_runs.run(out, number, **given, max_failed_share=0)
    # TFX removes the folders of both; the newer one's work is kept.
    kept = [p.name for p in out.rglob("kept-*")]
    assert kept == ["kept-2"]
    for path in out.rglob("kept-2/shards/*.json"):
        values = json.loads(path.read_text())
        path.write_text(json.dumps({**values, "sources": {"kept": 1}}))
    third = clip_runs.run(out, 3, **given, max_failed_share=1)
    assert set(third.data["sources"]) == {"kept"}
    assert not list(out.rglob("kept-*"))


def test_the_newest_of_many_executions_are_looked_at(tmp_path):
    for name in ("8", "9", "10", "kept-11", "12", "notes"):
        (tmp_path / name).mkdir()
    path = f"{tmp_path}/12"
    found = [f"{tmp_path}/{n}" for n in ("kept-11", "10", "9", "8")]
    assert executions.beside(path) == found
    assert executions.beside(path, 2) == found[:2]


def test_what_was_kept_under_the_same_number_is_replaced(tmp_path):
    """A new store of metadata begins at 1."""
    for name in ("2", "kept-1", "kept-2"):
        (tmp_path / name / "shards").mkdir(parents=True)
        (tmp_path / name / "of").write_text(name)
    executions.keep(f"{tmp_path}/2", "shards")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "kept-2"]
    assert (tmp_path / "kept-2" / "of").read_text() == "2"
    assert list((tmp_path / "2").iterdir()) == []


def test_shards_of_other_code_are_not(base):
    arguments = {"input_base": str(base), "config": SMALL, "labels": "auto"}
    killed(clip_runs.run(base.parent / "out", 1, **arguments))
    properties = {**clip_runs.driven(**arguments), "code": "another"}
    second = clip_runs.Run(base.parent / "out", 2, properties).do()
    assert "adopted" not in second.data["sources"]


# Shards of `emorec prepare`.


def copied(prepared, tmp_path, **more):
    return clip_runs.run(
        tmp_path / "out",
        input_base=str(tmp_path),
        data="data",
        **more,
    )


@pytest.fixture
def shards_of_prepare(prepared, tmp_path):
    shutil.copytree(prepared.path, tmp_path / "data")
    return tmp_path / "data"


def test_prepared_shards_are_copied(prepared, shards_of_prepare, tmp_path):
    run = copied(prepared, tmp_path)
    made = dataset.load(run.examples.uri)
    assert run.splits == set(prepared.splits)
    for split in prepared.splits:
        for ours, theirs in zip(
            made.files(split), prepared.files(split), strict=True
        ):
            assert (
                pathlib.Path(ours).read_bytes()
                == pathlib.Path(theirs).read_bytes()
            )
    assert made.fingerprint == prepared.fingerprint
    assert len(list((run.folder / "shards").iterdir())) == 3
    # What was copied is itself something to copy.
    again = clip_runs.run(
        tmp_path / "again", input_base=str(run.folder.parent), data="1"
    )
    assert again.data == run.data


def test_a_corrupt_shard_is_refused_by_name(
    prepared, shards_of_prepare, tmp_path
):
    shard = next(shards_of_prepare.glob("train-*.tfrecord"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(bytes(data))
    with pytest.raises(EmorecError) as caught:
        copied(prepared, tmp_path)
    assert str(shard) in str(caught.value)
    assert "not a readable TFRecord file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shard_that_lacks_records_is_refused(
    prepared, shards_of_prepare, tmp_path
):
    shard = next(shards_of_prepare.glob("train-*.tfrecord"))
    kept = list(records.read(shard))[:-1]
    records.write(shard, kept)
    with pytest.raises(EmorecError, match="holds 15 records where.*says 16"):
        copied(prepared, tmp_path)


def test_records_of_another_config_are_refused(
    prepared, shards_of_prepare, tmp_path
):
    with pytest.raises(ConfigError, match="clip.crop_size is 224, not 112"):
        copied(prepared, tmp_path, config={"clip": {"crop_size": 112}})
    with pytest.raises(ConfigError, match="its labels.*are not those of"):
        copied(prepared, tmp_path, labels="fer2013")
    path = shards_of_prepare / "dataset.json"
    values = json.loads(path.read_text())
    values["config"] = Config().override(["clip.crop_size=112"]).to_dict()
    path.write_text(json.dumps(values))
    with pytest.raises(EmorecError, match="record 1 is of config"):
        copied(prepared, tmp_path, config={"clip": {"crop_size": 112}})


# Other file systems.

ON_S3 = """
import sys

sys.path.insert(0, "tests")
from testing import clip_runs

base, root = sys.argv[1:]
arguments = {
    "input_base": base,
    "manifest": "span-{SPAN}/manifest.csv",
    "labels": "auto",
    "config": {"data": {"shard_rows": 2}},
}
for execution in (1, 2):
    run = clip_runs.run(root, execution, **arguments)
    print(run.examples.span, *sorted(run.splits))
data = clip_runs.run(
    root,
    3,
    input_base=f"{root}/ClipExampleGen/examples",
    data="2",
    labels="auto",
)
print(*sorted(data.splits))
"""


@pytest.mark.long
def test_all_of_it_on_s3(few, tmp_path):
    with s3.s3_server() as server:
        rows = []
        for row in few:
            name = pathlib.Path(row["video"]).name
            server.put(row["video"], f"in/span-3/{name}")
            rows.append({**row, "video": name})
        path = clip_runs.write_manifest(tmp_path / "manifest.csv", rows)
        server.put(path, "in/span-3/manifest.csv")
        server.put(path, "in/span-2/manifest.csv")
        done = server.python(ON_S3, f"{server.url}/in", f"{server.url}/root")
        held = "test train validation"
        assert done.stdout.splitlines() == [f"3 {held}", f"3 {held}", held]
        examples = "root/ClipExampleGen/examples"
        first, *others = (
            {
                key.removeprefix(f"{examples}/{i}/"): server.get(key)
                for key in server.keys(f"{examples}/{i}/Split-")
            }
            for i in (1, 2, 3)
        )
        assert len(first) == 4 and all(first.values())
        assert others == [first, first]
