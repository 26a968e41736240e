"""The description of a data set."""

import json

import pytest

from emorec.config import Config
from emorec.data import dataset, files
from emorec.errors import ConfigError, EmorecError, RecordError
from emorec.labels import LabelSet


def test_a_folder_that_is_no_data_set(tmp_path):
    with pytest.raises(EmorecError) as e:
        dataset.load(tmp_path)
    assert str(e.value) == (
        f"{tmp_path}/dataset.json: no description of a data set (there is no "
        "such file); make the data set with `emorec prepare`"
    )
    files.write_json(tmp_path / dataset.FILE, {"labels": {}})
    with pytest.raises(RecordError) as e:
        dataset.load(tmp_path)
    assert str(e.value) == (
        f"{tmp_path}: dataset.json is not one of this version "
        "(KeyError('splits')); make the data set with `emorec prepare`"
    )


@pytest.mark.parametrize(
    "name",
    [
        "../a.tfrecord",
        "/etc/passwd",
        "a/b",
        "",
        "..",
        "Split-test/",
        "Split-test/..",
        "Split-test/../a",
        "Split-test/a/b",
        "s3://bucket/a",
    ],
)
def test_no_shard_lies_outside_of_the_folder(prepared, tmp_path, name):
    with open(f"{prepared.path}/{dataset.FILE}", encoding="utf-8") as f:
        values = json.load(f)
    values["splits"]["test"]["files"] = [name]
    files.write_json(tmp_path / dataset.FILE, values)
    with pytest.raises(RecordError, match=r"is no name of a shard.*prepare"):
        dataset.load(tmp_path)


def test_a_shard_may_lie_in_the_folder_of_its_split(prepared, tmp_path):
    with open(f"{prepared.path}/{dataset.FILE}", encoding="utf-8") as f:
        values = json.load(f)
    values["splits"]["test"]["files"] = ["Split-test/a.tfrecord"]
    files.write_json(tmp_path / dataset.FILE, values)
    data = dataset.load(tmp_path)
    assert data.files("test") == [f"{tmp_path}/Split-test/a.tfrecord"]


def test_the_description_holds_the_config_and_its_hash(prepared):
    assert dataset.load(prepared.path).splits == prepared.splits
    path = f"{prepared.path}/{dataset.FILE}"
    with open(path, encoding="utf-8") as f:
        values = json.load(f)
    assert values["config"] == Config().to_dict()
    assert values["config_hash"] == Config().data_hash()
    # Where it lies is not part of it: a data set may be moved.
    assert str(prepared.path) not in json.dumps(values)


def test_data_that_do_not_fit_a_model(prepared):
    config = Config()
    dataset.check_fits(prepared, config, prepared.labels, "the model m")
    other = config.override(["video.fps=4", "data.train_phases=1"])
    with pytest.raises(ConfigError) as e:
        dataset.check_fits(prepared, other, prepared.labels, "the model m")
    assert str(e.value) == (
        f"{prepared.path}: its records do not fit the model m: video.fps is "
        "8.0, not 4.0; data.train_phases is 2, not 1; prepare the videos "
        "again with the model's config"
    )
    with pytest.raises(ConfigError) as e:
        dataset.check_fits(
            prepared, config, LabelSet("mine", ("a", "b")), "the model m"
        )
    assert str(e.value) == (
        f"{prepared.path}: its labels ({', '.join(prepared.labels.names)}) "
        "are not those of the model m (a, b); prepare the videos again with "
        "the model's labels"
    )
