"""From a manifest to a data set of records."""

import collections
import json
import math
import pathlib

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from testing import videos

from emorec.config import Config
from emorec.data import dataset, keys, manifest, prepare, records, shards
from emorec.errors import EmorecError, RecordError, VideoError

# A third of the frames, two rows in a shard.
CONFIG = Config().override(
    ["data.shard_rows=2", "data.train_phases=1", "video.fps=4"]
)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def rows(sample_set) -> list[tuple[str, str, str]]:
    """Five videos of the sample set: (path, label, split)."""
    found = manifest.read(str(sample_set)).rows
    train = [r for r in found if r.split == "train"][:3]
    test = [r for r in found if r.split == "test"][:2]
    return [(r.path, r.label, r.split) for r in train + test]


def write_manifest(folder, rows) -> manifest.Manifest:
    lines = ["video,label,split", *(",".join(row) for row in rows)]
    path = pathlib.Path(folder) / "manifest.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return manifest.read(str(path))


@pytest.fixture(scope="module")
def small(rows, tmp_path_factory) -> manifest.Manifest:
    return write_manifest(tmp_path_factory.mktemp("small"), rows)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory) -> dataset.Dataset:
    """`small`, prepared without interruption; read-only."""
    return prepare.prepare(small, tmp_path_factory.mktemp("whole"), CONFIG)


def shards_of(folder) -> dict[str, bytes]:
    paths = sorted(pathlib.Path(folder).glob("*.tfrecord"))
    return {p.name: p.read_bytes() for p in paths}


def test_records_hold_what_the_manifest_says(sample_set, prepared):
    made = manifest.read(str(sample_set))
    rows = {r.id: r for r in made.rows}
    seen = collections.Counter()
    for split in ("train", "validation", "test"):
        for path in prepared.files(split):
            for record in records.read(path):
                name, track, window = records.one(record, keys.CLIP_ID).split(
                    "/"
                )
                row = rows[name]
                assert row.split == split and (track, window) == ("t0", "w0")
                assert (
                    records.one(record, keys.VIDEO_SHA256)
                    == made.sha256[row.path]
                )
                fps = 16 if split == "train" else 8
                check_record(record, row, prepared, fps)
                seen[name] += 1
    assert seen == dict.fromkeys(rows, 1)


def check_record(record, row, data, fps):
    one = {
        key: records.one(record, key)
        for key in (
            keys.CLIP_LABEL,
            keys.CLIP_LABEL_ID,
            keys.CLIP_IDENTITY,
            keys.CLIP_SOURCE,
            keys.VIDEO_PATH,
            keys.CONFIG_HASH,
        )
    }
    assert one == {
        keys.CLIP_LABEL: row.label,
        keys.CLIP_LABEL_ID: data.labels.id_of(row.label),
        keys.CLIP_IDENTITY: row.identity,
        keys.CLIP_SOURCE: "emorec-sample-set",
        keys.VIDEO_PATH: row.video,
        keys.CONFIG_HASH: Config().data_hash(),
    }
    # 0.75 s of video: all frames of training, half of them elsewhere.
    times = np.array(records.many(record, keys.FRAME_TIME))
    n = math.ceil(0.75 * fps)
    np.testing.assert_allclose(times, np.arange(n) / fps, atol=1e-3)
    assert records.one(record, keys.FRAMES_TOTAL) == n
    assert records.one(record, keys.FRAMES_WITH_FACE) == n
    assert records.one(record, keys.CLIP_START) == 0
    assert records.one(record, keys.CLIP_END) == pytest.approx(0.75)
    boxes = np.array(records.many(record, keys.FRAME_BOX)).reshape(n, 4)
    assert ((boxes[:, 2:] - boxes[:, :2]) > 30).all()
    for key in (keys.FACE_JPEG, keys.CONTEXT_JPEG):
        images = records.decode_jpegs(
            tf.constant(list(records.many(record, key))[:2]), 224
        )
        assert images.shape == (2, 224, 224, 3)
        assert np.std(images) > 10


def test_the_description_of_a_data_set(whole, small):
    assert whole.fingerprint != small.fingerprint
    assert {k: v["files"] for k, v in whole.splits.items()} == {
        "test": ["test-00000-of-00001.tfrecord"],
        "train": [
            "train-00000-of-00002.tfrecord",
            "train-00001-of-00002.tfrecord",
        ],
    }
    train = {**whole.splits["train"]}
    labels = collections.Counter(r.label for r in small.split("train"))
    assert train.pop("labels") == labels
    del train["files"]
    assert train == {
        "rows": 3,
        "records": 3,
        "frames_total": 9,
        "frames_with_face": 9,
        "no_face": 0,
    }
    assert dataset.load(whole.path) == whole
    assert whole.files("test") == [f"{whole.path}/test-00000-of-00001.tfrecord"]
    with pytest.raises(RecordError) as e:
        whole.files("validation")
    assert str(e.value) == (
        f"{whole.path}: no records of the split 'validation'; it has test, "
        "train"
    )


def test_a_killed_run_goes_on_where_it_stopped(small, whole, tmp_path):
    """Killed within the third shard; the first two are not touched again."""

    def kill(done, _):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        prepare.prepare(small, tmp_path, CONFIG, progress=kill)
    finished = {p: p.stat() for p in tmp_path.glob("*.tfrecord")}
    assert sorted(p.name for p in finished) == [
        "test-00000-of-00001.tfrecord",
        "train-00000-of-00002.tfrecord",
    ]
    assert not (tmp_path / dataset.FILE).exists()
    steps = []
    made = prepare.prepare(
        small, tmp_path, CONFIG, progress=lambda *step: steps.append(step)
    )
    for path, before in finished.items():
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (
            before.st_ino,
            before.st_mtime_ns,
        )
    # Finished shards count at once, then each row.
    assert steps[-1] == (5, 5) and len(steps) == 3
    assert shards_of(tmp_path) == shards_of(whole.path)
    assert made.splits == whole.splits and made.sources == whole.sources
    assert made.fingerprint == whole.fingerprint
    assert not list(tmp_path.glob(".*"))


def test_a_finished_data_set_is_not_made_again(small, whole, tmp_path):
    first = prepare.prepare(small, tmp_path, CONFIG)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tfrecord")}
    steps = []
    again = prepare.prepare(
        small, tmp_path, CONFIG, progress=lambda *step: steps.append(step)
    )
    assert again == first and steps == [(2, 5), (4, 5), (5, 5)]
    assert before == {
        p: p.stat().st_mtime_ns for p in tmp_path.glob("*.tfrecord")
    }
    # A shard that is gone is made again, and that one alone.
    gone = tmp_path / "train-00001-of-00002.tfrecord"
    gone.unlink()
    prepare.prepare(small, tmp_path, CONFIG)
    changed = {p for p in before if p.stat().st_mtime_ns != before[p]}
    assert changed == {gone}
    assert shards_of(tmp_path) == shards_of(whole.path)


def test_another_data_set_in_the_folder_is_refused(small, rows, tmp_path):
    folder = tmp_path / "data"
    prepare.prepare(small, folder, CONFIG)
    before = shards_of(folder)
    fewer = write_manifest(tmp_path / "fewer", rows[1:4])
    for other, config in (
        (fewer, CONFIG),
        (small, CONFIG.override(["clip.jpeg_quality=50"])),
    ):
        with pytest.raises(EmorecError) as e:
            prepare.prepare(other, folder, config)
        assert str(e.value) == (
            f"{folder}: holds a data set of another manifest or config; "
            "choose another --output_dir, or give --overwrite"
        )
    with pytest.raises(EmorecError, match="another manifest or config"):
        prepare.prepare(small, folder, CONFIG, people="all")
    assert shards_of(folder) == before
    (folder / "mine.txt").write_text("stays")
    made = prepare.prepare(fewer, folder, CONFIG, overwrite=True)
    assert made.splits["train"]["rows"] == 2
    assert sorted(shards_of(folder)) == [
        "test-00000-of-00001.tfrecord",
        "train-00000-of-00001.tfrecord",
    ]
    assert (folder / "mine.txt").exists()


def test_overwrite_makes_the_same_data_set_again(small, whole, tmp_path):
    prepare.prepare(small, tmp_path, CONFIG)
    path = tmp_path / "test-00000-of-00001.tfrecord"
    path.write_bytes(b"")
    prepare.prepare(small, tmp_path, CONFIG, overwrite=True)
    assert shards_of(tmp_path) == shards_of(whole.path)


def test_a_bad_video_is_listed_and_the_others_go_on(rows, whole, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(pathlib.Path(rows[0][0]).read_bytes()[:2000])
    text = tmp_path / "text.avi"
    text.write_text("no video")
    batch = [
        rows[0],
        (str(bad), "sad", "train"),
        *rows[1:3],
        (str(text), "sad", "test"),
        *rows[3:],
    ]
    made = prepare.prepare(
        write_manifest(tmp_path / "csv", batch), tmp_path / "data", CONFIG
    )
    assert made.splits["train"]["rows"] == 3
    assert made.splits["train"]["records"] == 3
    assert sum(made.splits["train"]["labels"].values()) == 3
    assert made.sources == {"": 5}
    assert [(f["line"], f["video"], f["split"]) for f in made.failures] == [
        (6, str(text), "test"),
        (3, str(bad), "train"),
    ]
    for failure in made.failures:
        assert failure["reason"].startswith(failure["video"] + ": ")
        assert "\n" not in failure["reason"]
    assert dataset.load(made.path).failures == made.failures
    # The sound ones are what they are without the bad ones.
    ids = [
        {
            records.one(r, keys.CLIP_ID): r
            for path in data.files("train")
            for r in records.read(path)
        }
        for data in (made, whole)
    ]
    assert ids[0] == ids[1]


def test_only_bad_videos(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    made = write_manifest(tmp_path, [(str(bad), "sad", "train")])
    with pytest.raises(RecordError) as e:
        prepare.prepare(made, tmp_path / "data", CONFIG)
    assert str(e.value).startswith(
        f"{made.path}: none of its 1 videos could be read; the first: {bad}: "
    )
    assert not (tmp_path / "data" / dataset.FILE).exists()


def test_the_remedy_of_a_bound_helps(small, whole, tmp_path):
    """`video.*` bounds are not in the data hash, but failures know them."""
    strict = CONFIG.override(["video.max_pixels=1000"])
    with pytest.raises(RecordError, match="video.max_pixels"):
        prepare.prepare(small, tmp_path, strict)
    made = prepare.prepare(small, tmp_path, CONFIG)
    assert made.failures == []
    assert shards_of(tmp_path) == shards_of(whole.path)


def test_a_video_that_fails_midway_leaves_no_record(
    rows, tmp_path, monkeypatch
):
    """Its first windows were done by then."""
    real = shards.reader.read_frames

    def read_frames(path, *args, **kwargs):
        frames = real(path, *args, **kwargs)
        if path != rows[0][0]:
            return frames

        class Failing:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                frames.close()

            def __iter__(self):
                yield from frames
                raise VideoError(f"{path}: too much of it is damaged")

        return Failing()

    monkeypatch.setattr(shards.reader, "read_frames", read_frames)
    config = CONFIG.override(
        [
            "data.train_frames=1",
            "tracks.min_frames=1",
            "detector.batch_frames=1",
        ]
    )
    made = prepare.prepare(
        write_manifest(tmp_path, rows[:2]), tmp_path / "data", config
    )
    (failure,) = made.failures
    assert failure["reason"] == f"{rows[0][0]}: too much of it is damaged"
    paths = {
        records.one(r, keys.VIDEO_PATH)
        for r in records.read(made.files("train")[0])
    }
    assert paths == {rows[1][0]}
    assert made.splits["train"]["records"] == 3  # Windows of one frame.


def test_frames_of_windows_without_a_face_count(tmp_path):
    face = skimage.data.astronaut()[:256, 64:320]
    shown = [face] * 5 + [np.zeros_like(face)] * 11
    path = videos.write_video(
        tmp_path / "x.mp4", fps=8, size=(256, 256), pictures=shown
    )
    config = Config().override(["clip.clip_frames=4"])
    made = prepare.prepare(
        write_manifest(tmp_path, [(str(path), "sad", "test")]),
        tmp_path / "data",
        config,
    )
    assert made.splits["test"]["frames_total"] == 16
    assert made.splits["test"]["frames_with_face"] == 5
    assert made.splits["test"]["no_face"] == 0
    found = list(records.read(made.files("test")[0]))
    assert [records.one(r, keys.FRAMES_TOTAL) for r in found] == [4, 4]
    assert [records.one(r, keys.FRAMES_WITH_FACE) for r in found] == [4, 1]
    summary = shards.read_summary(made.files("test")[0])
    assert list(summary.row_frames.values()) == [(16, 5)]
    assert made.coverage("test") == 5 / 16


def test_a_video_without_a_face_is_one_empty_record(tmp_path):
    path = videos.write_video(tmp_path / "x.mp4", 8, fps=8)
    made = prepare.prepare(
        write_manifest(tmp_path, [(str(path), "sad", "train")]),
        tmp_path / "data",
        Config(),
    )
    (record,) = records.read(made.files("train")[0])
    assert records.one(record, keys.TRACK_ID) == -1
    assert records.one(record, keys.FRAMES_WITH_FACE) == 0
    assert records.one(record, keys.FRAMES_TOTAL) == 8
    assert made.splits["train"]["no_face"] == 1
    assert made.splits["train"]["frames_with_face"] == 0


def test_a_full_disk_is_one_line_and_leaves_no_half_shard(
    small, tmp_path, file_size_limit
):
    folder = tmp_path / "data"
    with file_size_limit(20_000), pytest.raises(EmorecError) as e:
        prepare.prepare(small, folder, CONFIG)
    message = str(e.value)
    assert message.startswith(f"{folder}/test-00000-of-00001.tfrecord: cannot")
    assert message.endswith("); free some space or choose another place")
    assert "\n" not in message
    assert [p.name for p in folder.iterdir()] == [prepare.PLAN]


def test_leftovers_of_a_killed_run_are_cleared_away(small, tmp_path):
    name = "test-00000-of-00001.tfrecord"
    # No process has this id: the kernel's are below 2^22.
    left = tmp_path / f".{name}.{1 << 23}.tmp"
    left.touch()
    prepare.prepare(small, tmp_path, CONFIG)
    assert not left.exists() and (tmp_path / name).exists()


def test_any_number_of_workers_writes_the_same_bytes(small, whole, tmp_path):
    steps = []
    made = prepare.prepare(
        small,
        tmp_path,
        CONFIG,
        workers=2,
        progress=lambda *step: steps.append(step),
    )
    assert shards_of(tmp_path) == shards_of(whole.path)
    assert made.splits == whole.splits
    assert made.fingerprint == whole.fingerprint
    assert steps[-1] == (5, 5)


def test_the_fingerprint_names_what_the_records_hold(small, whole, tmp_path):
    made = prepare.prepare(small, tmp_path / "all", CONFIG, people="all")
    assert made.fingerprint != whole.fingerprint


def test_a_plan_is_the_same_every_time(small, tmp_path):
    first = prepare.plan(small, tmp_path, CONFIG)
    assert [len(t.rows) for t in first] == [2, 2, 1]
    assert [t.split for t in first] == ["test", "train", "train"]
    assert prepare.plan(small, tmp_path, CONFIG) == first
    elsewhere = prepare.plan(small, tmp_path / "x", CONFIG)
    assert [t.hash for t in elsewhere] == [t.hash for t in first]
    others = [
        prepare.plan(small, tmp_path, CONFIG, people="all"),
        prepare.plan(small, tmp_path, CONFIG.override(["video.fps=5"])),
    ]
    hashes = {t.hash for plan in (first, *others) for t in plan}
    assert len(hashes) == 9
    # Nothing that leaves the content as it is changes the hash.
    same = CONFIG.override(["detector.batch_frames=2", "train.epochs=1"])
    assert [t.hash for t in prepare.plan(small, tmp_path, same)] == [
        t.hash for t in first
    ]


def test_summaries_are_json(whole):
    folder = pathlib.Path(whole.path) / "shards"
    names = sorted(p.name for p in folder.iterdir())
    assert names == [
        "test-00000-of-00001.json",
        "train-00000-of-00002.json",
        "train-00001-of-00002.json",
    ]
    values = json.loads((folder / names[0]).read_text())
    assert values["records"] == 2 and values["failures"] == []
    # Of each row; `dataset.json` has sums alone, however many rows there are.
    assert list(values["row_frames"].values()) == [[3, 3], [3, 3]]
    assert "row_frames" not in (folder.parent / dataset.FILE).read_text()


def test_a_shard_whose_summary_is_of_an_older_version_is_made_again(
    small, whole, tmp_path
):
    prepare.prepare(small, tmp_path, CONFIG)
    path = tmp_path / "shards" / "test-00000-of-00001.json"
    values = json.loads(path.read_text())
    del values["row_frames"]
    path.write_text(json.dumps(values))
    made = prepare.prepare(small, tmp_path, CONFIG)
    assert "row_frames" in json.loads(path.read_text())
    assert made.splits == whole.splits
