"""Features of records: the encoders' own, cached, and refused when stale."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from emorec.config import Config
from emorec.data import keys, processes, records
from emorec.errors import ConfigError, RecordError
from emorec.features import extract
from emorec.features.encoders import Encoders

BOTH = ("face_features", "context_features")


@pytest.fixture(scope="module")
def features(prepared, encoders, tmp_path_factory) -> pathlib.Path:
    """The features of the split `test`, of both streams in one file."""
    (source,) = prepared.files("test")
    target = tmp_path_factory.mktemp("features") / "both.tfrecord"
    assert extract.extract_shard(source, target, encoders, BOTH, Config()) == 8
    return target


@pytest.fixture
def copy(prepared, tmp_path):
    """The data set with a copy of the split `test`, to be damaged."""
    (source,) = map(pathlib.Path, prepared.files("test"))
    shutil.copy(source, tmp_path / source.name)
    data = dataclasses.replace(prepared, path=str(tmp_path))
    return data, tmp_path / source.name


class Means:
    """An encoder of a picture's mean colour that notes its batches."""

    id, hash, outputs = "means", "means", {"features": (3,)}

    def __init__(self):
        self.sizes = []

    def encode_kinds(self, images, kinds, batch):
        assert kinds == ("features",) and len(images) <= batch
        self.sizes.append(len(images))
        return {"features": images.mean((1, 2), dtype=np.float32)}


class Unused:
    """Stands for an encoder that must not be asked."""

    def __init__(self, encoder):
        self.id, self.hash = encoder.id, encoder.hash
        self.outputs, self.weights = encoder.outputs, encoder.weights


def unused(encoders) -> Encoders:
    return Encoders(Unused(encoders.face), Unused(encoders.context))


def run(data, encoders, inputs=("face_features",), config=None, **arguments):
    """Extracts the split `test`; returns the files."""
    found = extract.extract(
        data, "test", encoders, inputs, config or Config(), **arguments
    )
    return [path for part in found for path in part.files]


def one_record(path) -> tf.train.Example:
    return next(iter(records.read(path)))


def test_features_are_the_encoders_own(prepared, encoders, features):
    """Record by record, whatever frames were batched together."""
    size = Config().clip.crop_size
    found = list(records.read(features))
    (source,) = prepared.files("test")
    originals = list(records.read(source))
    assert len(found) == len(originals) == 8
    for record, original in zip(found, originals, strict=True):
        n = records.one(original, keys.FRAMES_WITH_FACE)
        for stream, jpegs, key, name in (
            ("face", keys.FACE_JPEG, keys.FACE_FEATURES, keys.FACE_ENCODER),
            (
                "context",
                keys.CONTEXT_JPEG,
                keys.CONTEXT_FEATURES,
                keys.CONTEXT_ENCODER,
            ),
        ):
            encoder = getattr(encoders, stream)
            images = [
                records.decode_jpeg(tf.constant(j), size).numpy()
                for j in records.many(original, jpegs)
            ]
            ours = np.float32(records.many(record, key)).reshape(n, -1)
            theirs = encoder.encode(np.stack(images))
            assert (
                ours.shape == theirs.shape == (6, *encoder.outputs["features"])
            )
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
            assert np.ptp(ours, axis=0).max() > 1e-3
            assert records.one(record, name) == encoder.hash


def test_the_description_of_a_clip_is_kept(prepared, features):
    (source,) = prepared.files("test")
    pixels = {keys.FACE_JPEG, keys.CONTEXT_JPEG}
    added = {
        keys.FACE_FEATURES,
        keys.CONTEXT_FEATURES,
        keys.FACE_ENCODER,
        keys.CONTEXT_ENCODER,
        keys.FRAMES_COVERAGE,
    }
    record, original = one_record(features), one_record(source)
    ours, theirs = record.features.feature, original.features.feature
    assert set(ours) == set(theirs) - pixels | added
    for key in set(theirs) - pixels:
        assert ours[key] == theirs[key]


def test_a_folder_holds_one_kind_of_one_encoder_and_says_so(
    prepared, encoders, tmp_path
):
    inputs = ("face_maps", "face_probabilities")
    found = extract.extract(
        prepared, "test", encoders, inputs, Config(), feature_dir=tmp_path
    )
    assert [part.holds for part in found] == [
        {"face_maps": (4, 4, 128)},
        {"face_probabilities": (7,)},
    ]
    for name, part in zip(inputs, found, strict=True):
        (path,) = map(pathlib.Path, part.files)
        assert path.parent == tmp_path / f"{name}-{encoders.face.hash}"
        said = json.loads((path.parent / "features.json").read_text())
        assert said["holds"] == name
        assert tuple(said["shape"]) == part.holds[name]
        assert said["encoder"]["id"] == "mini_xception"
        assert said["encoder"]["hash"] == encoders.face.hash
        assert said["encoder"]["random"] is False
        record = one_record(path)
        kept = [k for k in record.features.feature if k.startswith("face/")]
        assert sorted(kept) == sorted(["face/encoder", name.replace("_", "/")])
    maps = records.many(one_record(found[0].files[0]), keys.FACE_MAPS)
    shares = records.many(one_record(found[1].files[0]), "face/probabilities")
    assert len(maps) == 6 * 4 * 4 * 128
    sums = np.reshape(shares, (6, 7)).sum(1)
    np.testing.assert_allclose(sums, 1, rtol=1e-5)


def test_maps_are_the_features_before_their_pooling(
    prepared, encoders, features, tmp_path
):
    (path,) = run(prepared, encoders, ["face_maps"], feature_dir=tmp_path)
    for a, b in zip(records.read(path), records.read(features), strict=True):
        maps = np.reshape(records.many(a, keys.FACE_MAPS), (6, 16, 128))
        pooled = np.reshape(records.many(b, keys.FACE_FEATURES), (6, 128))
        np.testing.assert_allclose(maps.mean(1), pooled, atol=1e-5)


def test_a_folder_of_another_encoder_is_refused(prepared, encoders, tmp_path):
    (path,) = run(prepared, encoders, feature_dir=tmp_path)
    said = pathlib.Path(path).parent / "features.json"
    values = json.loads(said.read_text())
    values["encoder"]["hash"] = "0123456789abcdef"
    said.write_text(json.dumps(values))
    with pytest.raises(RecordError) as e:
        run(prepared, encoders, feature_dir=tmp_path)
    assert str(e.value) == (
        f"{said.parent}: its features are others than asked for: the "
        f"encoder's hash must be {encoders.face.hash}. Received: "
        "0123456789abcdef; delete the folder, and they are computed again"
    )


def test_what_an_encoder_does_not_give(prepared, encoders):
    with pytest.raises(ConfigError) as e:
        run(prepared, encoders, ["context_probabilities"])
    assert str(e.value) == (
        "the context encoder (random squeezenet) gives no probabilities, "
        "which the system reads; it gives features, maps. Choose another one "
        "by --context_encoder, or another system"
    )
    with pytest.raises(ConfigError, match="an encoder of the face stream is"):
        run(prepared, Encoders(context=encoders.context))


def test_names_and_shapes(encoders):
    assert encoders.hash == f"{encoders.face.hash}-{encoders.context.hash}"
    assert encoders.shapes["face_features"] == (128,)
    assert encoders.shapes["context_features"] == (512,)
    assert encoders.random_weights == ["context"]
    alone = encoders.only(["face_maps"])
    assert alone.context is None and alone.hash == encoders.face.hash
    assert alone.random_weights == []


def test_without_any_input_the_records_of_frames_are_read(prepared, encoders):
    (found,) = extract.extract(prepared, "test", encoders, (), Config())
    assert found.holds == {} and list(found.files) == prepared.files("test")


def test_features_are_computed_once(prepared, encoders, tmp_path):
    paths = run(prepared, encoders, BOTH, feature_dir=tmp_path)
    before = [pathlib.Path(p).stat().st_mtime_ns for p in paths]
    steps = []
    again = run(
        prepared,
        unused(encoders),
        BOTH,
        feature_dir=tmp_path,
        progress=lambda *step: steps.append(step),
    )
    assert again == paths and steps == [(1, 2), (2, 2)]
    after = [pathlib.Path(p).stat().st_mtime_ns for p in paths]
    assert after == before


def test_features_of_a_source_that_changed_are_made_anew(copy, encoders):
    data, source = copy
    (path,) = run(data, encoders)
    assert pathlib.Path(path).parents[1] == source.parent / "features"
    before = list(records.read(path))
    changed = list(records.read(source))[::-1]
    records.write(source, changed)
    (again,) = run(data, encoders)
    assert again == path
    after = [records.one(r, keys.CLIP_ID) for r in records.read(path)]
    assert after == [records.one(r, keys.CLIP_ID) for r in before][::-1]
    # The same bytes, written anew, are taken for another source too.
    with pytest.raises(AttributeError, match="'Unused' object"):
        stat = source.stat()
        os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
        run(data, unused(encoders))


def test_a_copied_data_set_keeps_its_features(prepared, encoders, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(
        prepared.path, here, ignore=shutil.ignore_patterns("features")
    )
    data = dataclasses.replace(prepared, path=str(here))
    run(data, encoders)
    # `cp -r` gives the copy new times.
    shutil.copytree(here, there, copy_function=shutil.copyfile)
    data = dataclasses.replace(prepared, path=str(there))
    (source,) = map(pathlib.Path, data.files("test"))
    assert source.stat().st_mtime_ns != (here / source.name).stat().st_mtime_ns
    (path,) = run(data, unused(encoders))
    assert pathlib.Path(path).is_relative_to(there)
    # Another task or another size is another source.
    summary = there / "shards" / f"{source.stem}.json"
    text = summary.read_text()
    values = json.loads(text)
    summary.write_text(json.dumps({**values, "task": "another"}))
    with pytest.raises(AttributeError, match="'Unused' object"):
        run(data, unused(encoders))
    summary.write_text(text)
    records.write(source, list(records.read(source))[1:])
    with pytest.raises(AttributeError, match="'Unused' object"):
        run(data, unused(encoders))


def test_features_without_their_stamp_are_not_trusted(copy, encoders):
    """A killed run may have left them so."""
    data, _ = copy
    (path,) = run(data, encoders)
    pathlib.Path(path).with_suffix(".json").unlink()
    with pytest.raises(AttributeError, match="'Unused' object"):
        run(data, unused(encoders))


def test_what_a_killed_run_left_is_removed(copy, encoders):
    data, source = copy
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = source.parent / "features" / f"face_features-{encoders.face.hash}"
    folder.mkdir(parents=True)
    stamp = os.path.basename(extract.stamp_path(source))
    for name in (source.name, stamp):
        (folder / f".{name}.{ended.pid}.tmp").write_text("half of it")
    # A process that lives may be writing.
    alive = f".{source.name}.{os.getppid()}.tmp"
    (folder / alive).touch()
    run(data, encoders)
    assert {p.name for p in folder.iterdir()} == {
        alive,
        source.name,
        stamp,
        "features.json",
    }


def test_records_of_another_config_are_refused(prepared, encoders, tmp_path):
    (source,) = prepared.files("test")
    other = Config().override(["clip.jpeg_quality=50"])
    with pytest.raises(RecordError) as e:
        # Before anything is encoded.
        run(prepared, unused(encoders), config=other, feature_dir=tmp_path)
    assert str(e.value) == (
        f"{source}: its records were made with the config "
        f"'{Config().data_hash()}', not '{other.data_hash()}'; prepare the "
        "videos again with this config"
    )
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_one_record_of_another_config_among_good_ones(copy, encoders):
    data, source = copy
    found = list(records.read(source))[:2]
    value = found[1].features.feature[keys.CONFIG_HASH].bytes_list.value
    value[0] = b"0123456789abcdef"
    records.write(source, found)
    with pytest.raises(RecordError, match="the config '0123456789abcdef', not"):
        run(data, encoders)
    assert not list((source.parent / "features").rglob("*.tfrecord"))


def test_a_shard_that_lost_records_is_refused(copy, encoders):
    """A file that is cut between two records looks whole."""
    data, source = copy
    records.write(source, list(records.read(source))[:2])
    for _ in range(2):  # Also when the features are there already.
        with pytest.raises(RecordError) as e:
            run(data, encoders)
        assert str(e.value) == (
            f"{data.path}: the shards of 'test' hold 2 records, 8 were "
            "written; run `emorec prepare` again with --overwrite"
        )


def cut(source):
    source.write_bytes(source.read_bytes()[:-100])


def no_jpeg(source):
    record = one_record(source)
    record.features.feature[keys.FACE_JPEG].bytes_list.value[1] = b"x"
    records.write(source, [record])


def fewer_times(source):
    record = one_record(source)
    del record.features.feature[keys.FRAME_TIME].float_list.value[0]
    records.write(source, [record])


def fewer_contexts(source):
    record = one_record(source)
    del record.features.feature[keys.CONTEXT_JPEG].bytes_list.value[0]
    records.write(source, [record])


@pytest.mark.parametrize(
    "damage, problem",
    [
        (cut, "not readable as records of frames ("),
        (no_jpeg, "not readable as records of frames ("),
        (fewer_contexts, "a record has 6 times for 5 frames"),
        (fewer_times, "a record has 5 times for 6 frames"),
    ],
)
def test_damaged_records_are_named(copy, encoders, damage, problem):
    data, source = copy
    damage(source)
    with pytest.raises(RecordError) as e:
        run(data, encoders, BOTH[damage is fewer_contexts :])
    message = str(e.value)
    assert message.startswith(f"{source}: {problem}")
    assert "delete it and run `emorec prepare` again" in message
    assert "\n" not in message
    assert not list((source.parent / "features").rglob("*.tfrecord"))


def test_a_clip_without_a_face_has_no_features(copy, encoders):
    data, source = copy
    empty, full = list(records.read(source))[:2]
    for key in (
        keys.FACE_JPEG,
        keys.CONTEXT_JPEG,
        keys.FRAME_TIME,
        keys.FRAME_BOX,
    ):
        empty.features.feature[key].Clear()
    records.write(source, [empty, full])
    target = source.parent / "target.tfrecord"
    assert extract.extract_shard(source, target, encoders, BOTH, Config()) == 2
    first, second = records.read(target)
    assert len(records.many(first, keys.FACE_FEATURES)) == 0
    assert len(records.many(second, keys.FACE_FEATURES)) == 6 * 128


def test_records_are_written_as_soon_as_they_are_encoded(copy, monkeypatch):
    """Memory holds a record and a few batches, not a shard of films."""
    _, source = copy
    found = list(records.read(source))
    empty = found[2]
    for key in (
        keys.FACE_JPEG,
        keys.CONTEXT_JPEG,
        keys.FRAME_TIME,
        keys.FRAME_BOX,
    ):
        empty.features.feature[key].Clear()
    records.write(source, [*found, empty])
    means = Encoders(Means(), Means())
    write, frames = records.write, 0

    def noting(path, examples):
        def noted():
            nonlocal frames
            for example in examples:
                frames += len(records.many(example, keys.FRAME_TIME))
                ahead = sum(means.context.sizes) - frames
                # A batch, and those that are encoded meanwhile.
                assert 0 <= ahead <= 4 * (1 + processes.AT_ONCE)
                yield example

        return write(path, noted())

    monkeypatch.setattr(records, "write", noting)
    target = source.parent / "target.tfrecord"
    config = Config().override(["features.batch_frames=4"])
    assert extract.extract_shard(source, target, means, BOTH, config) == 9
    assert frames == 42
    # Batches run over the records' borders.
    for stream in (means.face, means.context):
        # Two at a time: either may be the first to be noted.
        assert sorted(stream.sizes, reverse=True) == [4] * 10 + [2]
    for made, original in zip(records.read(target), [*found, empty]):
        for key, jpegs in (
            (keys.FACE_FEATURES, keys.FACE_JPEG),
            (keys.CONTEXT_FEATURES, keys.CONTEXT_JPEG),
        ):
            means = [
                records.decode_jpeg(tf.constant(j), 224)
                .numpy()
                .mean((0, 1), dtype=np.float32)
                for j in records.many(original, jpegs)
            ]
            np.testing.assert_allclose(
                np.float32(records.many(made, key)).reshape(-1, 3),
                np.reshape(means, (-1, 3)),
                rtol=1e-6,
            )
