"""Feature sets: written, read again, refused when they do not fit."""

import dataclasses
import json
import pathlib
import shutil

import pytest

from emorec.config import Config
from emorec.data import dataset, keys, records
from emorec.errors import (
    ConfigError,
    EmorecError,
    ModelError,
    RecordError,
)
from emorec.features import feature_set

FACE = "face_features"


@pytest.fixture(scope="module")
def data(prepared) -> dataset.Dataset:
    """The data set with the split `test` alone."""
    splits = {"test": prepared.splits["test"]}
    return dataclasses.replace(prepared, splits=splits)


@pytest.fixture(scope="module")
def face(encoders):
    return encoders.only([FACE])


@pytest.fixture(scope="module")
def made(data, face, tmp_path_factory) -> feature_set.FeatureSet:
    """A feature set of one shard, in which a worker died; read-only."""
    folder = str(tmp_path_factory.mktemp("set"))
    feature_set.save_encoders(folder, face)
    tasks = feature_set.plan(data, folder, face, [FACE], Config())
    assert [feature_set.write_shard(t, face) for t in tasks] == [8]
    left = pathlib.Path(folder) / "Split-test" / ".left.tfrecord.gz.1.tmp"
    left.write_bytes(b"half")
    return feature_set.finish(data, folder, face, Config(), tasks)


@pytest.fixture
def copy(made, tmp_path) -> pathlib.Path:
    """A copy of it, to be damaged."""
    return pathlib.Path(shutil.copytree(made.path, tmp_path / "copy"))


def edit(path: pathlib.Path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


def test_it_is_read_as_it_was_written(made, face):
    found = feature_set.load(made.path)
    assert found.data == made.data
    assert found.holds == made.holds == {FACE: face.shapes[FACE]}
    assert found.encoders.hash == face.hash
    (source,) = found.sources([FACE])["test"]
    assert source.holds == found.holds
    assert [len(list(records.read(p))) for p in source.files] == [8]
    (labels,) = found.sources([])["test"]
    assert labels.holds == {} and labels.files == source.files


def test_only_shards_lie_where_readers_look(made):
    """TFX reads all that a split's folder holds."""
    (file,) = (pathlib.Path(made.path) / "Split-test").iterdir()
    assert file.name == "test-00000-of-00001.tfrecord.gz"


def test_an_input_that_is_not_there(made):
    with pytest.raises(ConfigError, match="do not hold 'face_maps'.*face_feat"):
        made.sources(["face_maps"])


def test_what_a_worker_could_not_do_is_told_by_its_own_error(
    data, face, tmp_path
):
    """As data, for a runner would wrap an exception."""
    config = Config().override(["clip.face_margin=0.3"])
    tasks = feature_set.plan(data, str(tmp_path), face, [FACE], config)
    assert [feature_set.write_shard(t, face) for t in tasks] == [None]
    with pytest.raises(RecordError, match="were made with the config") as e:
        feature_set.finish(data, str(tmp_path), face, config, tasks)
    assert "\n" not in str(e.value)
    assert not (tmp_path / feature_set.FILE).exists()
    assert not (tmp_path / dataset.FILE).exists()


def test_lost_records_are_refused(data, face, tmp_path):
    more = {**data.splits["test"], "records": 9}
    data = dataclasses.replace(data, splits={"test": more})
    tasks = feature_set.plan(data, str(tmp_path), face, [FACE], Config())
    feature_set.write_shard(tasks[0], face)
    with pytest.raises(RecordError, match="'test' hold 8 records, 9 were"):
        feature_set.finish(data, str(tmp_path), face, Config(), tasks)


@pytest.mark.parametrize("damage", ["", "{}", '{"holds": {}, "encoders": {}}'])
def test_a_damaged_description(copy, damage):
    (copy / feature_set.FILE).write_text(damage)
    with pytest.raises(EmorecError, match="run the FeatureExtractor ag") as e:
        feature_set.load(copy)
    assert str(copy) in str(e.value) and "\n" not in str(e.value)


def test_an_incomplete_one(copy):
    (copy / feature_set.FILE).unlink()
    with pytest.raises(EmorecError, match="no description of a feature set"):
        feature_set.load(copy)


def test_another_shape_than_its_encoders_give(copy):
    edit(copy / feature_set.FILE, holds={FACE: [3]})
    with pytest.raises(RecordError, match=r"of the shape \(3,\)"):
        feature_set.load(copy)


def test_another_encoder_than_made_it(copy):
    path = copy / feature_set.FILE
    about = json.loads(path.read_text())["encoders"]
    about["face"]["hash"] = "0123456789abcdef"
    edit(path, encoders=about)
    with pytest.raises(ModelError, match="must be 0123456789abcdef. Received"):
        feature_set.load(copy)


@pytest.mark.parametrize(
    "total, with_face, expected",
    [
        (0, 0, "none"),
        (5, 0, "none"),
        (5, 2, "under half"),
        (4, 2, "half or more"),
        (5, 4, "half or more"),
        (5, 5, "all"),
    ],
)
def test_coverage(total, with_face, expected):
    assert keys.coverage(total, with_face) == expected
    assert expected in keys.COVERAGE
