"""The sample set: a sanity set for the software, not data about emotion."""

import csv
import hashlib
import os
import sys

import av
import numpy as np
import pytest

from emorec import labels
from emorec.data import (
    sample,
    sample_face,
    sample_plan,
    sample_points,
    sample_scene,
)
from emorec.errors import EmorecError, UsageError

SMALL = {"identities": 3, "seconds": 0.5, "fps": 8}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "set"
    manifest = sample.write_sample_set(folder, **SMALL)
    assert manifest == folder / "manifest.csv"
    return folder


@pytest.fixture(scope="module")
def rows(small_set):
    with open(small_set / "manifest.csv", newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope="module")
def identity():
    photograph = sample_face.load_photograph("astronaut.png")
    return sample_face.make_identity(photograph, 0, np.random.default_rng(0))


def _hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _frames(path):
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format="rgb24")
            for frame in container.decode(video=0)
        ]


def test_each_factor_alone_leaves_two_labels():
    assert tuple(r[0] for r in sample_plan.RECIPES) == labels.MEC2017
    assert len({r[1:] for r in sample_plan.RECIPES}) == 8
    for column, names in (
        (1, sample_points.EXPRESSIONS),
        (2, sample_scene.SCENES),
    ):
        used = [r[column] for r in sample_plan.RECIPES]
        assert {name: used.count(name) for name in used} == dict.fromkeys(
            names, 2
        )


def test_manifest(small_set, rows):
    assert tuple(rows[0]) == sample.COLUMNS
    assert len(rows) == 3 * 8
    assert {row["source"] for row in rows} == {"emorec-sample-set"}
    videos = {row["video"] for row in rows}
    assert len(videos) == len(rows)
    on_disk = {f"videos/{p.name}" for p in (small_set / "videos").iterdir()}
    assert videos == on_disk
    for split in ("train", "validation", "test"):
        found = {row["label"] for row in rows if row["split"] == split}
        assert found == set(labels.MEC2017)


@pytest.mark.parametrize("identities", [3, 4, 7, 14, 50])
def test_no_identity_is_in_two_splits(identities):
    wanted = sample_plan.Parameters(identities, 2, 1.0, 0, 384, 216, 8)
    clips = sample_plan.plan_clips(wanted)
    pairs = {(clip.identity, clip.split) for clip in clips}
    assert len(pairs) == identities
    assert {split for _, split in pairs} == {"train", "validation", "test"}
    assert len({clip.video for clip in clips}) == identities * 8 * 2


def test_default_splits():
    splits = sample_plan.split_identities(14)
    counts = [splits.count(s) for s in ("train", "validation", "test")]
    assert counts == [8, 2, 4]


def test_videos_decode(small_set, rows):
    for row in rows:
        with av.open(str(small_set / row["video"])) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert stream.average_rate == 8
            shapes = [(f.height, f.width) for f in container.decode(video=0)]
        assert shapes == [(216, 384)] * 4


def test_says_that_it_is_not_about_emotion(small_set):
    text = (small_set / "README.txt").read_text()
    assert "NOT data about emotion" in text
    assert "says nothing about how well" in " ".join(text.split())
    assert "not data about emotion" in (small_set / "sample.json").read_text()


def test_same_seed_same_bytes_for_any_number_of_workers(small_set, tmp_path):
    sample.write_sample_set(tmp_path / "set", **SMALL, workers=1)
    assert _hashes(tmp_path / "set") == _hashes(small_set)


def test_another_seed_gives_other_pixels(small_set, rows, tmp_path):
    sample.write_sample_set(tmp_path / "set", **SMALL, seed=1)
    ours, theirs = _hashes(small_set), _hashes(tmp_path / "set")
    assert ours["manifest.csv"] == theirs["manifest.csv"]
    assert not any(ours[r["video"]] == theirs[r["video"]] for r in rows)


def test_complete_set_is_kept_and_a_damaged_one_mended(small_set, rows):
    before = _hashes(small_set)
    times = {p: p.stat().st_mtime_ns for p in small_set.rglob("*")}
    calls = []
    sample.write_sample_set(
        small_set, **SMALL, progress=lambda *c: calls.append(c)
    )
    assert {p: p.stat().st_mtime_ns for p in small_set.rglob("*")} == times
    assert calls == [(24, 24)]

    (small_set / rows[5]["video"]).unlink()
    sample.write_sample_set(small_set, **SMALL)
    assert _hashes(small_set) == before


def test_interrupted_run_leaves_nothing_and_starts_over(small_set, tmp_path):
    folder = tmp_path / "new" / "set"
    stale = tmp_path / "new" / ".set.partial.killed"
    fresh = tmp_path / "new" / ".set.partial.running"
    stale.mkdir(parents=True)
    fresh.mkdir()
    os.utime(stale, (0, 0))

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample.write_sample_set(folder, **SMALL, progress=interrupt)
    # Another run's folder is spared, an abandoned one is not.
    assert list(folder.parent.iterdir()) == [fresh]

    calls = []
    sample.write_sample_set(
        folder, **SMALL, progress=lambda *c: calls.append(c)
    )
    assert calls == [(8, 24), (16, 24), (24, 24)]
    assert _hashes(folder) == _hashes(small_set)
    assert set(folder.parent.iterdir()) == {fresh, folder}


def test_foreign_folders_are_refused(small_set, tmp_path):
    with pytest.raises(UsageError, match="of other parameters"):
        sample.write_sample_set(small_set, **SMALL, seed=7)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty and holds no sample set"):
        sample.write_sample_set(tmp_path, **SMALL)
    with pytest.raises(UsageError, match="which is a file"):
        sample.write_sample_set(tmp_path / "mine.txt", **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"identities": 2}, "`identities` must be 3 to 1000. Received: 2"),
        ({"identities": 3.5}, "`identities` must be 3 to 1000. Received: 3.5"),
        ({"clips_per_label": 0}, "`clips_per_label` must be 1 to 1000"),
        ({"seconds": 0}, "`seconds` must be 0.1 to 600. Received: 0"),
        ({"seed": -1}, "`seed` must be 0 to"),
        ({"fps": 0}, "`fps` must be 1 to 60. Received: 0"),
        ({"width": 321}, "must be even.*Received: 321x216"),
    ],
)
def test_bad_parameters(tmp_path, bad, message):
    with pytest.raises(UsageError, match=message):
        sample.write_sample_set(tmp_path / "set", **bad)
    assert not list(tmp_path.iterdir())


def test_scikit_image_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(EmorecError, match="pip install 'scikit-image"):
        sample.write_sample_set(tmp_path / "set", **SMALL)
    assert not list(tmp_path.iterdir())


def test_clips_start_at_rest_and_end_in_their_expression(identity):
    scene = sample_scene.load_scene("meadow")
    clips = {}
    for name in sample_points.EXPRESSIONS:
        shot = sample_scene.Shot(name, "meadow", 384, 216, 5, 8)
        rng = np.random.default_rng(3)
        clips[name] = list(sample_scene.render(identity, scene, shot, rng))
    assert clips["smile"][0].shape == (216, 384, 3)
    assert clips["smile"][0].dtype == np.uint8
    for name in ("frown", "scowl", "gape"):
        np.testing.assert_array_equal(clips[name][0], clips["smile"][0])
        change = np.abs(clips[name][4].astype(int) - clips["smile"][4])
        changed = change.max(-1) > 40
        assert 150 < changed.sum() < 6000
        # All of it is in the face, which is outside the middle square.
        rows, columns = np.nonzero(changed)
        assert rows.min() > 40 and rows.max() < 170
        assert columns.max() < 84 or columns.min() >= 300


def test_the_person_hides_the_scene_around_the_face(identity):
    shots = {}
    for name in sample_scene.SCENES:
        shot = sample_scene.Shot("smile", name, 384, 216, 1, 8)
        rng = np.random.default_rng(3)
        scene = sample_scene.load_scene(name)
        (shots[name],) = sample_scene.render(identity, scene, shot, rng)
    # What all scenes share is the person; a face crop must lie within.
    stack = np.stack(list(shots.values())).astype(int)
    person = (stack.max(0) - stack.min(0)).max(-1) < 8
    face = person[60:150, :74], person[60:150, -74:]
    assert max(half.mean() for half in face) > 0.99
    assert min(half.mean() for half in face) < 0.05
    assert person[:, 84:300].mean() < 0.25


def test_odd_identities_are_mirrored_and_all_differ():
    photograph = sample_face.load_photograph("astronaut.png")
    made = [
        sample_face.make_identity(photograph, i, np.random.default_rng(i))
        for i in range(4)
    ]
    assert [m.flip for m in made] == [False, True, False, True]
    faces = [m.textures["rest"][80:180, 160:250, :3].mean() for m in made]
    assert len({round(v) for v in faces}) == 4
    assert np.abs(made[0].maps["rest"] - made[2].maps["rest"]).max() > 0.5


def test_mtcnn_finds_every_face(small_set, rows):
    from mtcnn import MTCNN

    detector = MTCNN(device="CPU:0")
    found = []
    for row in rows:
        last = _frames(small_set / row["video"])[-1]
        boxes = [
            (x, x + w)
            for x, _, w, h in (d["box"] for d in detector.detect_faces(last))
            if 40 < w < 100 and 55 < h < 130
        ]
        found.append(len(boxes))
        # Outside the middle square, which is the context stream.
        assert all(x1 <= 90 or x0 >= 294 for x0, x1 in boxes), row
    # With the defaults: 448 of 448 frames, and one false face.
    assert found == [1] * 24
