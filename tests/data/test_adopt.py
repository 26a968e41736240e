"""Finished shards of another run, taken over instead of made anew."""

import pathlib
import shutil

import pytest

from emorec.config import Config
from emorec.data import dataset, files, manifest, prepare, records, shards
from emorec.errors import RecordError

CONFIG = Config().override(
    ["data.shard_rows=2", "data.train_phases=1", "video.fps=4"]
)


@pytest.fixture(scope="module")
def small(sample_set, tmp_path_factory) -> manifest.Manifest:
    """Five videos of the sample set: three shards."""
    rows = manifest.read(str(sample_set)).rows
    chosen = [r for r in rows if r.split == "train"][:3]
    chosen += [r for r in rows if r.split == "test"][:2]
    path = tmp_path_factory.mktemp("small") / "manifest.csv"
    write(path, chosen)
    return manifest.read(str(path))


def write(path, rows):
    lines = [f"{row.path},{row.label},{row.split}" for row in rows]
    path.write_text("\n".join(["video,label,split", *lines]) + "\n")


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory) -> dataset.Dataset:
    """`small`, in folders of splits; read-only."""
    return prepare.prepare(
        small, tmp_path_factory.mktemp("whole"), CONFIG, by_split=True
    )


def content(data) -> list[bytes]:
    return [
        pathlib.Path(path).read_bytes()
        for split in sorted(data.splits)
        for path in data.files(split)
    ]


def none_is_written(waiting):
    assert waiting == []


def test_the_layout_of_tfx(whole):
    assert {k: v["files"] for k, v in whole.splits.items()} == {
        "test": ["Split-test/test-00000-of-00001.tfrecord"],
        "train": [
            "Split-train/train-00000-of-00002.tfrecord",
            "Split-train/train-00001-of-00002.tfrecord",
        ],
    }
    assert files.listing(whole.path) == [
        "Split-test",
        "Split-train",
        "dataset.json",
        "plan.json",
        "shards",
    ]
    # TFX takes every file of these folders for records.
    assert files.listing(f"{whole.path}/Split-train") == [
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]
    again = dataset.load(whole.path)
    assert again.files("test") == whole.files("test")
    assert len(list(records.read(again.files("test")[0]))) == 2
    assert shards.read_summary(again.files("test")[0]).records == 2


def test_the_layout_changes_no_record(small, whole, tmp_path):
    plain = prepare.prepare(small, tmp_path, CONFIG)
    assert content(plain) == content(whole)
    assert plain.fingerprint == whole.fingerprint


def test_overwriting_removes_what_lies_in_the_folders(small, whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "data")
    removed = []

    def write(waiting):
        removed.extend(files.listing(tmp_path / "data" / "Split-train"))
        for task in waiting:
            shards.write_shard(task)

    other = CONFIG.override(["data.shard_rows=4"])
    prepare.prepare(
        small,
        tmp_path / "data",
        other,
        overwrite=True,
        by_split=True,
        write=write,
    )
    assert removed == []
    assert files.listing(tmp_path / "data" / "shards") == [
        "test-00000-of-00001.json",
        "train-00000-of-00001.json",
    ]


@pytest.mark.parametrize("by_split", [True, False])
def test_all_is_taken_over_from_a_finished_run(
    small, whole, tmp_path, by_split
):
    made = prepare.prepare(
        small,
        tmp_path / "new",
        CONFIG,
        by_split=by_split,
        earlier=[tmp_path / "absent", whole.path],
        write=none_is_written,
    )
    assert content(made) == content(whole)
    assert made.fingerprint == whole.fingerprint
    assert made.coverage("train") == whole.coverage("train")
    name = "Split-test/" * by_split + "test-00000-of-00001.tfrecord"
    assert made.splits["test"]["files"] == [name]


def test_a_killed_run_is_gone_on_with_elsewhere(small, whole, tmp_path):
    """Only what it had finished is taken: a summary is what says so."""
    killed = tmp_path / "killed"
    shutil.copytree(whole.path, killed)
    for name in ("dataset.json", "shards/train-00001-of-00002.json"):
        (killed / name).unlink()
    written = []

    def write(waiting):
        written.extend(files.name(task.path) for task in waiting)
        for task in waiting:
            shards.write_shard(task)

    made = prepare.prepare(
        small,
        tmp_path / "new",
        CONFIG,
        by_split=True,
        earlier=[killed],
        write=write,
    )
    assert written == ["train-00001-of-00002.tfrecord"]
    assert content(made) == content(whole)


def test_shards_of_a_plan_of_another_total_fit(small, whole, tmp_path):
    """More rows behind the old ones leave the first shards as they were."""
    more = [*small.rows, *_others(small, 2)]
    write(tmp_path / "manifest.csv", more)
    longer = manifest.read(str(tmp_path / "manifest.csv"))
    tasks = prepare.plan(longer, tmp_path / "new", CONFIG, by_split=True)
    assert [files.name(t.path) for t in tasks if t.split == "train"] == [
        "train-00000-of-00003.tfrecord",
        "train-00001-of-00003.tfrecord",
        "train-00002-of-00003.tfrecord",
    ]
    assert shards.adopt(tasks, [whole.path]) == 2
    done = {files.name(t.path) for t in tasks if shards.finished(t)}
    assert done == {
        "test-00000-of-00001.tfrecord",
        "train-00000-of-00003.tfrecord",
    }
    summary = shards.read_summary(tasks[1].path)
    assert summary.path == tasks[1].path and summary.records == 2
    assert len(list(records.read(tasks[1].path))) == 2
    # What is there is left alone.
    assert shards.adopt(tasks, [whole.path]) == 0


def _others(small, count):
    folder = pathlib.Path(small.rows[0].path).parent
    known = {row.path for row in small.rows}
    paths = [p for p in sorted(folder.glob("*.mp4")) if str(p) not in known]
    first = small.rows[0]
    return [
        manifest.Row(
            **{
                name: getattr(first, name)
                for name in first.__slots__
                if name != "path"
            },
            path=str(path),
        )
        for path in paths[:count]
    ]


def test_shards_of_another_task_are_not_taken(small, whole, tmp_path):
    for config, people in (
        (CONFIG.override(["video.fps=8"]), "main"),
        (CONFIG, "all"),
    ):
        tasks = prepare.plan(small, tmp_path / people, config, people)
        assert shards.adopt(tasks, [whole.path]) == 0
    assert files.listing(tmp_path) == []


def test_damaged_summaries_and_absent_shards_are_passed_over(
    small, whole, tmp_path
):
    old = tmp_path / "old"
    shutil.copytree(whole.path, old)
    (old / "shards" / "train-00000-of-00002.json").write_text("{")
    (old / "Split-train" / "train-00001-of-00002.tfrecord").unlink()
    (old / "shards" / "notes.txt").write_text("")
    summary = old / "shards" / "test-00000-of-00001.json"
    values = files.read_json(summary, "summary", "")
    tasks = prepare.plan(small, tmp_path / "new", CONFIG)
    # One that points out of its folder gives nothing.
    (old / "a.tfrecord").write_text("secret")
    files.write_json(summary, {**values, "path": "../old/a.tfrecord"})
    assert shards.adopt(tasks, [old]) == 0
    files.write_json(summary, values)
    assert shards.adopt(tasks, [old]) == 1
    assert shards.finished(tasks[0]).records == 2


def test_no_more_is_read_than_is_needed(small, whole, tmp_path, monkeypatch):
    """Each summary is a request or more of a bucket."""
    data = shutil.copytree(whole.path, tmp_path / "data")
    (data / "shards" / "test-00001-of-00002.json").write_text("{}")
    tasks = prepare.plan(small, tmp_path / "new", CONFIG, by_split=True)
    test, *train = tasks
    listed, read = [], []
    listing, read_json = files.listing, files.read_json

    def seen_listing(folder):
        listed.append(folder)
        return listing(folder)

    def seen_read(path, *more):
        read.append(files.name(path))
        return read_json(path, *more)

    monkeypatch.setattr(files, "listing", seen_listing)
    monkeypatch.setattr(files, "read_json", seen_read)
    assert shards.adopt([test], [tmp_path / "absent", data, whole.path]) == 1
    assert listed == [f"{tmp_path}/absent/shards", f"{data}/shards"]
    assert read == ["test-00000-of-00001.json"]
    listed.clear()
    read.clear()
    # One is there now, and of its split nothing is looked for any more.
    assert shards.adopt(tasks, [data, whole.path]) == len(train) == 2
    assert listed == [f"{data}/shards"]
    assert sorted(read) == [
        "test-00000-of-00001.json",
        "train-00000-of-00002.json",
        "train-00001-of-00002.json",
    ]


def test_shards_of_another_file_system_are_taken_over(small, whole, tmp_path):
    """Their summaries are read by threads, some at a time."""
    data = shutil.copytree(whole.path, tmp_path / "data")
    for i in range(40):
        name = data / "shards" / f"train-00000-of-{i + 3:05d}.json"
        name.write_text("{" if i % 2 else "{}")
    tasks = prepare.plan(small, tmp_path / "new", CONFIG, by_split=True)
    assert shards.adopt(tasks, [f"file://{data}"]) == 3
    made = [pathlib.Path(task.path).read_bytes() for task in tasks]
    assert made == content(whole)


def test_a_copy_that_fails_leaves_no_shard(
    small, whole, tmp_path, file_size_limit
):
    tasks = prepare.plan(small, tmp_path / "new", CONFIG)
    with (
        file_size_limit(10_000),
        pytest.raises(Exception, match="cannot be written .File too large"),
    ):
        shards.adopt(tasks, [whole.path])
    assert files.listing(tmp_path / "new") == []
    assert all(shards.finished(task) is None for task in tasks)


def test_a_run_that_dies_while_it_writes_a_shard_anew(
    small, whole, tmp_path, monkeypatch
):
    """An old summary must not stand beside new records."""
    data = tmp_path / "data"
    shutil.copytree(whole.path, data)
    (task, *_) = prepare.plan(
        small, data, CONFIG.override(["video.fps=8"]), by_split=True
    )
    (old, *_) = prepare.plan(small, data, CONFIG, by_split=True)
    assert shards.finished(old) is not None
    write_json = files.write_json
    monkeypatch.setattr(files, "write_json", _raise)
    with pytest.raises(RecordError, match="killed"):
        shards.write_shard(task)
    monkeypatch.setattr(files, "write_json", write_json)
    assert shards.finished(old) is None


def _raise(*_):
    raise RecordError("killed")
