"""StrictExampleValidator alone: what it writes, and what ends the run."""

import json
import pathlib

import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from testing import clip_runs
from testing.clip_records import SCHEMA, example, stats_of
from tfx import types
from tfx.components import StatisticsGen
from tfx.components.statistics_gen.executor import Executor as CountsExecutor
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from emorec.errors import RecordError
from emorec.labels import MEC2017
from tfx_pipeline import schema, statistics
from tfx_pipeline.components import example_validator
from tfx_pipeline.components.example_validator import StrictExampleValidator


def artifact(kind, folder, splits=()):
    folder.mkdir(parents=True)
    made = kind()
    made.uri = str(folder)
    if splits:
        made.split_names = artifact_utils.encode_split_names(list(splits))
    return made


@pytest.fixture
def schema_artifact(tmp_path):
    made = artifact(standard_artifacts.Schema, tmp_path / "schema")
    schema.write(MEC2017, tmp_path / "schema" / "schema.pbtxt")
    return made


def counted(folder, **splits):
    """Statistics of records, a split each, where StatisticsGen puts them."""
    made = artifact(standard_artifacts.ExampleStatistics, folder, splits)
    for split, found in splits.items():
        path = folder / f"Split-{split}"
        path.mkdir()
        content = stats_of(found).SerializeToString()
        (path / "FeatureStats.pb").write_bytes(content)
    return made


def component(**more):
    channels = {
        "statistics": standard_artifacts.ExampleStatistics,
        "schema": standard_artifacts.Schema,
    }
    return StrictExampleValidator(
        **{k: types.Channel(type=t) for k, t in channels.items()}, **more
    )


def validated(tmp_path, stats, schema_of, previous=None, **more):
    """Runs the executor; returns its artifact."""
    out = artifact(standard_artifacts.ExampleAnomalies, tmp_path / "anomalies")
    inputs = {"statistics": [stats], "schema": [schema_of]}
    if previous is not None:
        inputs["previous_statistics"] = [previous]
    example_validator.StrictExampleValidatorExecutor().Do(
        inputs, {"anomalies": [out]}, dict(component(**more).exec_properties)
    )
    return out


def written(folder, split) -> set:
    """The features of which TFX's file tells an anomaly."""
    path = pathlib.Path(folder) / f"Split-{split}" / "SchemaDiff.pb"
    return set(
        anomalies_pb2.Anomalies.FromString(path.read_bytes()).anomaly_info
    )


def blessed(out) -> dict:
    return out.get_json_value_custom_property("blessed")


def labelled(count=8):
    return [example(i, MEC2017[i % 8]) for i in range(count)]


def unlabelled(count=3):
    return [example(i, "") for i in range(count)]


def test_it_stands_for_tfx_own():
    made = component()
    assert made.id == "ExampleValidator"
    assert set(made.outputs) == {"anomalies"}
    assert set(made.inputs) == {"statistics", "schema"}


def test_after_statistics_gen(prepared, schema_artifact, tmp_path):
    # The real StatisticsGen, on the records and options that we give it.
    data = pathlib.Path(prepared.path)
    examples = clip_runs.run(
        tmp_path / "examples", input_base=str(data.parent), data=data.name
    ).examples
    counts = artifact(
        standard_artifacts.ExampleStatistics, tmp_path / "statistics"
    )
    made = StatisticsGen(
        examples=types.Channel(type=standard_artifacts.Examples),
        stats_options=statistics.options(),
    )
    CountsExecutor(BaseBeamExecutor.Context()).Do(
        {"examples": [examples], "schema": [schema_artifact]},
        {"statistics": [counts]},
        dict(made.exec_properties),
    )
    out = validated(tmp_path, counts, schema_artifact)
    splits = artifact_utils.decode_split_names(examples.split_names)
    assert blessed(out) == dict.fromkeys(splits, 1)
    for split in splits:
        assert not written(out.uri, split)
    # JPEGs are counted, and not looked for as words.
    path = pathlib.Path(counts.uri) / "Split-train" / "FeatureStats.pb"
    (data,) = tfdv.load_stats_binary(str(path)).datasets
    kinds = {f.path.step[0]: f.WhichOneof("stats") for f in data.features}
    assert kinds["face/jpeg"] == "bytes_stats"
    assert kinds["clip/label"] == "string_stats"


def test_serving_splits_need_no_label(schema_artifact, tmp_path):
    stats = counted(
        tmp_path / "statistics", train=labelled(), unlabelled=unlabelled()
    )
    out = validated(tmp_path, stats, schema_artifact)
    assert blessed(out) == {"train": 1, "unlabelled": 1}


def test_anomalies_end_the_run_in_words(schema_artifact, tmp_path):
    bad = [example(8, "joy"), example(9, config_hash="def")]
    stats = counted(
        tmp_path / "statistics", train=[*labelled(), *bad], test=unlabelled()
    )
    with pytest.raises(RecordError) as caught:
        validated(tmp_path, stats, schema_artifact)
    first, *lines = str(caught.value).splitlines()
    assert "do not fit the schema, 5 anomalies" in first
    assert [line.split(": ")[:2] for line in lines] == [
        ["split train", "clip/label"],
        ["split train", "clip/label_id"],
        ["split train", "config/hash"],
        ["split test", "clip/label"],
        ["split test", "clip/label_id"],
    ]
    assert "joy" in lines[0] and lines[0].endswith("(of 10 records)")
    # They are written, as TFX writes them, before the end.
    assert written(tmp_path / "anomalies", "train") == {
        "clip/label",
        "clip/label_id",
        "config/hash",
    }


def test_drift_against_earlier_data(schema_artifact, tmp_path):
    before = counted(tmp_path / "before", train=labelled(120))
    same = counted(tmp_path / "same", train=labelled(160), test=labelled())
    validated(tmp_path / "a", same, schema_artifact, previous=before)
    other = counted(tmp_path / "other", train=[example(i) for i in range(120)])
    with pytest.raises(RecordError, match="1 anomaly") as caught:
        validated(tmp_path / "b", other, schema_artifact, previous=before)
    assert "split train: clip/label: " in str(caught.value)
    # Not where there is nothing to compare with, or too little.
    validated(tmp_path / "c", other, schema_artifact)
    few = counted(tmp_path / "few", train=labelled(99))
    validated(tmp_path / "d", other, schema_artifact, previous=few)
    (tmp_path / "before/Split-train/FeatureStats.pb").unlink()
    validated(tmp_path / "e", other, schema_artifact, previous=before)


def test_skew_of_validation_and_serving(schema_artifact, tmp_path):
    seen = [example(i, MEC2017[i % 8], frames=4 * (i % 7)) for i in range(120)]
    lost = [example(i, "", frames=i % 7) for i in range(120)]
    stats = counted(
        tmp_path / "statistics", train=seen, validation=seen, unlabelled=lost
    )
    with pytest.raises(RecordError, match="1 anomaly") as caught:
        validated(tmp_path / "a", stats, schema_artifact)
    # Training records are sampled otherwise, and not compared.
    assert "split validation: frames/with_face: " in str(caught.value)
    validated(tmp_path / "b", stats, schema_artifact, min_compared=121)
    validated(tmp_path / "c", stats, schema_artifact, skew_split="test")


def test_what_decides_the_answer_is_a_parameter():
    properties = component(serving_splits=["a"], min_compared=5).exec_properties
    assert json.loads(properties["serving_splits"]) == ["a"]
    assert properties["min_compared"] == 5
    assert len(properties["code"]) == 16
    assert SCHEMA.default_environment == ["TRAINING", "SERVING"]
