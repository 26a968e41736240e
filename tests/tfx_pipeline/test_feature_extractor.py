"""FeatureExtractor alone: its records, its refusals, its keys."""

import json
import logging
import pathlib
import shutil

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.testing import util
from testing import feature_artifacts
from tfx.components.util import tfxio_utils

from emorec.config import Config
from emorec.data import keys, records
from emorec.errors import (
    ConfigError,
    EmorecError,
    RecordError,
    WeightsError,
)
from emorec.features import encoder, extract, feature_set
from tfx_pipeline import feature_shards

pytest_plugins = ["testing.feature_fixtures"]
BOTH = feature_artifacts.BOTH


def test_features_are_those_of_extract(
    prepared, encoders, features_artifact, tmp_path
):
    made = feature_set.load(features_artifact.uri)
    assert made.encoders.hash == encoders.hash
    for split, (source,) in made.sources(BOTH).items():
        assert source.holds == {n: encoders.shapes[n] for n in BOTH}
        count = sum(len(list(records.read(path))) for path in source.files)
        assert count == prepared.splits[split]["records"] > 0
    # One split is enough: each frame goes the same way.
    separate = extract.extract(
        prepared, "test", encoders, BOTH, Config(), feature_dir=tmp_path
    )
    parts = [_records_of([files]) for files in separate]
    together = _records_of(made.sources(BOTH)["test"])
    for both, *each in zip(together, *parts, strict=True):
        for name, one in zip(BOTH, each, strict=True):
            encoder_key = keys.encoder_key(name.partition("_")[0])
            for key in (keys.CLIP_ID, keys.feature_key(name), encoder_key):
                ours, theirs = both.features.feature, one.features.feature
                assert ours[key] == theirs[key]


def _records_of(sources):
    return [e for s in sources for path in s.files for e in records.read(path)]


def test_records_say_their_coverage(features_artifact):
    made = feature_set.load(features_artifact.uri)
    found = set()
    for split in made.data.splits:
        for path in made.data.files(split):
            for example in records.read(path):
                coverage = records.one(example, keys.FRAMES_COVERAGE)
                assert coverage == keys.coverage(
                    records.one(example, keys.FRAMES_TOTAL),
                    records.one(example, keys.FRAMES_WITH_FACE),
                )
                found.add(coverage)
                assert keys.FACE_JPEG not in example.features.feature
    assert found <= set(keys.COVERAGE) and "all" in found


def test_the_artifact_says_what_it_is(examples_artifact, features_artifact):
    assert features_artifact.split_names == examples_artifact.split_names
    root = pathlib.Path(features_artifact.uri)
    about = feature_artifacts.read(root / "features.json")
    assert about["random_weights"] == ["context"]
    hashes = [about["encoders"][s]["hash"] for s in ("face", "context")]
    property_ = features_artifact.get_string_custom_property
    assert property_("encoder_hash") == "-".join(hashes)
    assert property_("encoder_hash") == about["encoder_hash"]
    assert property_("random_weights") == "context"
    # Readers take all that lies in a split's folder.
    for folder in root.glob("Split-*"):
        assert all(p.name.endswith(".tfrecord.gz") for p in folder.iterdir())
        with open(next(folder.iterdir()), "rb") as f:
            assert f.read(2) == b"\x1f\x8b"


def test_tfx_and_beam_read_the_shards(prepared, features_artifact):
    count = prepared.splits["test"]["records"]
    pattern = f"{features_artifact.uri}/Split-test/*"
    with beam.Pipeline() as root:
        found = root | beam.io.ReadFromTFRecord(pattern)
        ids = found | beam.Map(_clip_id)
        util.assert_that(
            ids | beam.combiners.Count.Globally(), util.equal_to([count])
        )
    tfxio = tfxio_utils.get_split_tfxio([features_artifact], "test", ["test"])
    with beam.Pipeline() as root:
        batches = root | tfxio.BeamSource() | beam.Map(lambda b: b.num_rows)
        util.assert_that(
            batches | beam.CombineGlobally(sum), util.equal_to([count])
        )


def _clip_id(data):
    return records.one(tf.train.Example.FromString(data), keys.CLIP_ID)


def test_random_weights_are_said_and_can_be_refused(
    examples_artifact, tmp_path, caplog
):
    with feature_artifacts.no_published_weights(tmp_path / "cache"):
        with pytest.raises(WeightsError, match="SqueezeNet") as e:
            feature_artifacts.extract(
                examples_artifact, tmp_path / "1", missing_weights="error"
            )
        assert "\n" not in str(e.value)
        with caplog.at_level(logging.WARNING, "absl"):
            feature_artifacts.extract(
                _only(examples_artifact, tmp_path / "one", "test"),
                tmp_path / "2",
            )
    assert "context encoder has RANDOM" in caplog.text


def _only(artifact, folder, *splits):
    """A copy of an examples artifact with some of its splits."""
    folder = pathlib.Path(shutil.copytree(artifact.uri, folder))
    path = folder / "dataset.json"
    values = feature_artifacts.read(path)
    values["splits"] = {s: values["splits"][s] for s in splits}
    path.write_text(json.dumps(values))
    made = type(artifact)()
    made.uri = str(folder)
    made.split_names = json.dumps(list(splits))
    return made


def test_a_corrupt_shard_is_one_line(examples_artifact, tmp_path):
    copy = _only(examples_artifact, tmp_path / "examples", "test")
    (path,) = pathlib.Path(copy.uri).glob("Split-test/*")
    path.write_bytes(path.read_bytes()[:-1000])
    with (
        feature_artifacts.no_published_weights(tmp_path / "cache"),
        pytest.raises(RecordError, match="not readable") as e,
    ):
        feature_artifacts.extract(
            copy, tmp_path / "1", inputs=["face_features"]
        )
    assert str(path) in str(e.value) and "\n" not in str(e.value)
    assert not (tmp_path / "1" / "features.json").exists()


def test_a_fault_that_cannot_be_noted_is_one_line(examples_artifact, tmp_path):
    copy = _only(examples_artifact, tmp_path / "examples", "test")
    (path,) = pathlib.Path(copy.uri).glob("Split-test/*")
    path.write_bytes(path.read_bytes()[:-1000])
    note = tmp_path / "1" / "extracted" / f"{path.stem}.json"
    (note / "in the way").mkdir(parents=True)
    with (
        feature_artifacts.no_published_weights(tmp_path / "cache"),
        pytest.raises(EmorecError) as e,
    ):
        feature_artifacts.extract(
            copy, tmp_path / "1", inputs=["face_features"]
        )
    assert str(e.value) == (
        f"{note}: cannot be written (Is a directory); free some space or "
        "choose another place"
    )


def test_a_worker_without_encoders_notes_it(examples_artifact, tmp_path):
    (path,) = pathlib.Path(examples_artifact.uri).glob("Split-test/*")
    task = feature_set.ShardTask(
        source=str(path),
        target=f"{tmp_path}/Split-test/a.tfrecord.gz",
        summary=f"{tmp_path}/extracted/a.json",
        inputs=("face_features",),
        encoders="0123",
        config=Config().to_dict(),
    )
    worker = feature_shards.ExtractShard(str(tmp_path), {"face": "0123"})
    assert list(worker.process(task)) == []
    noted = feature_artifacts.read(tmp_path / "extracted" / "a.json")
    assert noted["class"] == "ModelError"
    assert f"{tmp_path}/encoders/face" in noted["error"]


def test_other_records_are_refused(examples_artifact, tmp_path):
    config = Config().override(["clip.face_margin=0.3"])
    with pytest.raises(ConfigError, match=r"clip\.face_margin is 0\.0, not"):
        feature_artifacts.extract(
            examples_artifact, tmp_path / "1", config=config
        )


def test_given_features_are_refused(examples_artifact, tmp_path):
    copy = _only(examples_artifact, tmp_path / "examples", "test")
    folder = tmp_path / "examples/features/face_features-given"
    folder.mkdir(parents=True)
    about = {"id": "precomputed", "name": "a study", "hash": _given_hash()}
    (folder / "features.json").write_text(
        json.dumps({"shape": [4], "encoder": about})
    )
    with pytest.raises(ConfigError, match="came with it.*emorec train"):
        feature_artifacts.extract(copy, tmp_path / "1")


def _given_hash():
    from emorec.features import precomputed

    return precomputed.Precomputed("a study", 4).hash


def test_finished_shards_of_a_killed_execution_are_taken_over(
    examples_artifact, features_artifact, tmp_path
):
    """A marked one comes back; one of other code is made again."""
    shutil.copytree(features_artifact.uri, tmp_path / "7")
    (tmp_path / "7" / "features.json").unlink()
    for split in ("test", "validation"):
        (path,) = (tmp_path / "7" / f"Split-{split}").iterdir()
        marked = list(records.read(path))
        for example in marked:
            example.features.feature["mark"].int64_list.value.append(1)
        records.write(path, marked)
    (stale,) = (tmp_path / "7" / "extracted").glob("validation-*.json")
    stale.write_text(json.dumps({**feature_artifacts.read(stale), "code": ""}))
    examples = _only(
        examples_artifact, tmp_path / "examples", "test", "validation"
    )
    with feature_artifacts.no_published_weights(tmp_path / "cache"):
        made = feature_artifacts.extract(examples, tmp_path / "8")
    data = feature_set.load(made.uri).data
    marks = {
        split: "mark" in next(iter(records.read(file))).features.feature
        for split in data.splits
        for file in data.files(split)
    }
    assert marks == {"test": True, "validation": False}


@pytest.mark.long
def test_two_processes_make_the_same_features(
    examples_artifact, features_artifact, tmp_path
):
    with feature_artifacts.no_published_weights(tmp_path / "cache"):
        made = feature_artifacts.extract(
            examples_artifact,
            tmp_path / "1",
            beam=[
                "--direct_running_mode=multi_processing",
                "--direct_num_workers=2",
            ],
        )
    for path in pathlib.Path(features_artifact.uri).glob("Split-*/*"):
        ours = pathlib.Path(made.uri) / path.parent.name / path.name
        assert list(records.read(ours)) == list(records.read(path))


def parameters(examples_artifact, **arguments):
    return feature_artifacts.parameters(
        feature_artifacts.component(examples_artifact, **arguments)
    )


def test_what_decides_a_feature_is_a_parameter(examples_artifact, tmp_path):
    first = parameters(examples_artifact)
    rate = Config().override(["train.learning_rate=0.5", "model.rnn_units=8"])
    assert parameters(examples_artifact, config=rate) == first
    for arguments in (
        {"inputs": ["face_features"]},
        {"config": Config().override(["features.batch_frames=8"])},
        {"missing_weights": "error"},
    ):
        assert parameters(examples_artifact, **arguments) != first
    file = tmp_path / "weights.h5"
    found = []
    for content in ("one", "two", None):
        file.write_text(content) if content else file.unlink()
        arguments = {"face_weights": str(file)}
        found.append(parameters(examples_artifact, **arguments)["weights"])
    assert len(set(found)) == 3
    assert json.loads(found[2])["face"] == "absent"


def test_published_weights_that_appear_are_another_result(
    examples_artifact, tmp_path
):
    """With `random`; with `error` nothing but the published can be read."""
    with feature_artifacts.no_published_weights(tmp_path / "cache"):
        found = json.loads(parameters(examples_artifact)["weights"])
        strict = parameters(examples_artifact, missing_weights="error")
    published = encoder.PRESETS["squeezenet"].source.sha256
    assert found["context"] == "absent"
    assert json.loads(strict["weights"])["context"] == published


def test_an_encoder_of_ones_own_is_named_by_its_content(
    examples_artifact, tmp_path
):
    folder = tmp_path / "classifier"
    folder.mkdir()
    config = Config().override([f"features.face_encoder={folder}"])
    found = []
    for content in ("one", "two"):
        (folder / "face_classifier.keras").write_text(content)
        found.append(parameters(examples_artifact, config=config)["weights"])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"inputs": []}, "`inputs` must be a list of one or more"),
        ({"inputs": "face_features"}, "`inputs` must be a list of one or"),
        ({"inputs": ["sound_features"]}, "Received: 'sound_features'"),
        ({"missing_weights": "guess"}, "`missing_weights` must be error or"),
    ],
)
def test_wrong_arguments(examples_artifact, arguments, message):
    with pytest.raises(ConfigError, match=message):
        parameters(examples_artifact, **arguments)
