"""ServableValidator: what it blesses, what it refuses, and why."""

import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from testing import tfx_artifacts, toy_model
from testing.servable_trials import NAMES, script, toy_examples, validate
from tfx.types import channel_utils, standard_artifacts

from emorec.data import records
from emorec.errors import (
    ConfigError,
    EmorecError,
    RecordError,
    UsageError,
)
from emorec.training import bundle as bundles
from tfx_pipeline.components import servable_validator


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """No temporary folder outlives a trial."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield
    assert not list(place.iterdir())


# An exported model.


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture(scope="module")
def trained(prepared, bundle, base_path, tmp_path_factory):
    """Artifacts: model, examples, features, model_run."""
    folder = tmp_path_factory.mktemp("trained")
    (file,) = prepared.files("test")
    frames = [e.SerializeToString() for e in records.read(file)]
    described = tfx_artifacts.feature_records(file, bundle)
    # A clip without a face, first in its file.
    frames.insert(0, without_face(frames[0]))
    described.insert(0, without_face(described[0]))
    answers = (
        tf.saved_model.load(str(base_path / "1"))
        .signatures["feature_examples"](tf.constant(described))["probabilities"]
        .numpy()
    )
    # A network answers something for a clip without frames, too.
    answers[0] = 1 / len(answers[0])
    run = tfx_artifacts.made(standard_artifacts.ModelRun, folder / "run")
    write_predictions(folder / "run", described, answers)
    return (
        tfx_artifacts.model(folder / "model", base_path / "1"),
        tfx_artifacts.examples(
            folder / "examples",
            {"train": [], "test": [frames[:5], frames[5:]]},
            ".tfrecord",
        ),
        tfx_artifacts.examples(
            folder / "features", {"test": [described[5:], described[:5]]}
        ),
        run,
    )


def without_face(record):
    return tfx_artifacts.edited(
        record,
        clip__id="nobody",
        frames__with_face=0,
        frame__time=[],
        frame__box=[],
        face__jpeg=[],
        context__jpeg=[],
        face__features=[],
        context__features=[],
    )


def write_predictions(folder, data, answers):
    folder.mkdir(exist_ok=True)
    ids = [
        tf.train.Example.FromString(d)
        .features.feature["clip/id"]
        .bytes_list.value[0]
        .decode()
        for d in data
    ]
    clips = dict(zip(ids, answers.tolist(), strict=True))
    (folder / "predictions.json").write_text(
        json.dumps({"split": "test", "clips": clips})
    )


VIDEO = {"video": "records hold crops, not whole frames"}


def test_a_good_model_is_blessed(trained, tmp_path):
    _, report = validate(tmp_path, *trained)
    assert report["blessed"]
    assert set(report["signatures"]) == {
        "serving_default",
        "feature_examples",
        "features",
        "frames",
        "jpegs",
        "classify",
        "describe",
    }
    assert report["not_tried"] == VIDEO
    assert report["compared_with"] == "the trainer's predictions"
    assert report["server"] == {
        "kind": "embedded",
        "version": f"TensorFlow {tf.__version__}",
    }
    for name, tried in report["signatures"].items():
        # One clip, then three.
        assert (tried["requests"], tried["clips"]) == (2, 4)
        assert tried["error"] is None
        assert tried["seconds"] > 0
        if name == "describe":
            assert tried["largest_difference"] is None
        else:
            assert tried["largest_difference"] < 1e-4


def test_other_predictions_are_refused(trained, tmp_path):
    model, examples, features, run = trained
    path = pathlib.Path(run.uri) / "predictions.json"
    values = json.loads(path.read_text())
    # Of another model: the classes turned by one.
    values["clips"] = {k: [*v[1:], v[0]] for k, v in values["clips"].items()}
    other = tfx_artifacts.made(standard_artifacts.ModelRun, tmp_path / "run")
    (tmp_path / "run" / "predictions.json").write_text(json.dumps(values))
    _, report = validate(
        tmp_path, model, examples, features, other, max_clips=1
    )
    assert not report["blessed"]
    errors = {n: t["error"] for n, t in report["signatures"].items()}
    assert errors.pop("describe") is None
    assert len(errors) == 6
    for name, error in errors.items():
        output = "scores" if name == "classify" else "probabilities"
        assert error.startswith(f"`{output}` differs by 0."), name
        assert error.endswith(", 0.001 is allowed")
        assert f"{name}: {error}" in report["reason"]


@pytest.mark.long
def test_without_the_trainer_and_features(trained, tmp_path, monkeypatch):
    model, examples, *_ = trained
    # A clip of 6 frames has 1.8 MB of pixels.
    monkeypatch.setattr("tfx_pipeline.servable_requests.MAX_PIXELS", 1 << 20)
    _, report = validate(tmp_path, model, examples, max_clips=1)
    assert report["blessed"]
    assert report["compared_with"] == "the SavedModel in this process"
    assert set(report["signatures"]) == {
        "serving_default",
        "jpegs",
        "classify",
        "describe",
    }
    assert report["not_tried"] == {
        **VIDEO,
        "frames": "the pixels of one clip would be too large a request",
        "feature_examples": "there are no records of features",
        "features": "there are no records of features",
    }
    assert report["reason"].startswith(
        "serving_default, jpegs, classify, describe answered as the "
        "SavedModel in this process, largest difference "
    )


@pytest.mark.parametrize("file", ["saved_model.pb", "assets/emorec.json"])
def test_a_damaged_model_is_refused(trained, tmp_path, file):
    model, examples, features, run = trained
    shutil.copytree(f"{model.uri}/Format-Serving", tmp_path / "saved")
    path = tmp_path / "saved" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    damaged = tfx_artifacts.model(tmp_path / "model", tmp_path / "saved")
    _, report = validate(tmp_path, damaged, examples, features, run)
    assert not report["blessed"]
    assert report["signatures"] == {}
    expected = {
        "saved_model.pb": "version 1 of model 'candidate' in ",
        "assets/emorec.json": f"{damaged.uri}/Format-Serving/assets/emorec",
    }
    assert report["reason"].startswith(expected[file])


@pytest.mark.long
def test_features_of_another_encoder_are_refused(trained, tmp_path):
    model, examples, features, run = trained
    others = [
        tfx_artifacts.edited(data, face__encoder="0123456789abcdef")
        for path in sorted(pathlib.Path(features.uri).glob("*/*.gz"))
        for data in tf.data.TFRecordDataset(
            str(path), "GZIP"
        ).as_numpy_iterator()
    ]
    other = tfx_artifacts.examples(tmp_path / "others", {"test": [others]})
    _, report = validate(tmp_path, model, examples, other, run, max_clips=1)
    assert not report["blessed"]
    assert "these features are of another encoder" in report["reason"]
    assert report["signatures"]["serving_default"]["error"] is None


# Any other SavedModel.


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return tfx_artifacts.model(
        folder / "model", toy_model.save(folder / "saved", NAMES, add=True)
    )


@pytest.mark.parametrize("suffix", [".gz", "-00000-of-00001"])
def test_a_model_that_is_not_ours(toy, tmp_path, suffix):
    examples = toy_examples(tmp_path / "examples", suffix=suffix)
    _, report = validate(tmp_path, toy, examples)
    assert report["blessed"]
    assert report["compared_with"] == "the SavedModel in this process"
    assert set(report["signatures"]) == {"feature_examples", "serving_default"}
    for tried in report["signatures"].values():
        assert (tried["requests"], tried["clips"]) == (2, 3)
        assert tried["largest_difference"] == 0
    assert report["not_tried"] == {"add": "its input is not one string [B]"}


def test_an_answer_that_is_no_number(toy, tmp_path):
    examples = toy_examples(
        tmp_path / "examples", [(0.5, 0.3, 0.2), (np.nan, 0, 1)]
    )
    _, report = validate(tmp_path, toy, examples)
    assert not report["blessed"]
    assert "serving_default: `probabilities` is not finite" in report["reason"]


def test_records_that_no_signature_takes(toy, tmp_path):
    examples = tfx_artifacts.examples(
        tmp_path / "examples", {"eval": [[b"no example"]]}
    )
    _, report = validate(tmp_path, toy, examples)
    assert not report["blessed"]
    assert report["reason"].startswith(
        "no signature could be tried (add: its input is not one string [B]; "
        "feature_examples: takes no such records: "
    )
    assert report["signatures"] == {}


# What is no fault of the model.


def test_no_record_to_send(toy, tmp_path):
    examples = toy_examples(tmp_path / "examples", rows=())
    with pytest.raises(RecordError) as caught:
        validate(tmp_path, toy, examples)
    assert str(caught.value) == (
        f"{examples.uri}: no record to send to the server; give examples "
        "that hold one, or name another split"
    )
    with pytest.raises(RecordError, match="no record in its split 'x' to send"):
        validate(tmp_path, toy, examples, split="x")


def test_a_damaged_file_of_examples(toy, tmp_path):
    examples = toy_examples(tmp_path / "examples")
    (file,) = (tmp_path / "examples" / "Split-eval").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RecordError, match="not a readable TFRecord file"):
        validate(tmp_path, toy, examples)


def test_examples_of_other_clips(trained, tmp_path):
    model, examples, features, _ = trained
    run = tfx_artifacts.made(standard_artifacts.ModelRun, tmp_path / "run")
    values = {"split": "test", "clips": {"other": [1.0]}}
    path = tmp_path / "run" / "predictions.json"
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match="holds none of the 1 clips.*'other'"):
        validate(tmp_path, model, examples, features, run)
    path.write_text(json.dumps({"split": "test", "clips": [1]}))
    with pytest.raises(RecordError, match="not the predictions of a trainer"):
        validate(tmp_path, model, examples, features, run)
    path.unlink()
    with pytest.raises(EmorecError, match="no predictions of the trainer"):
        validate(tmp_path, model, examples, features, run)


def test_a_server_that_is_not_there(toy, tmp_path):
    examples = toy_examples(tmp_path / "examples")
    with pytest.raises(UsageError) as caught:
        validate(tmp_path, toy, examples, server="no/such/server")
    assert str(caught.value) == (
        "`server` must be auto, embedded or the path of a "
        "tensorflow_model_server. Received: 'no/such/server', which is no "
        "file that can be run"
    )


# A server in a process of its own.


@pytest.mark.long
def test_a_server_of_its_own_process(trained, tmp_path):
    """The embedded server behind the real one's flags, as a binary."""
    binary = script(
        tmp_path / "server",
        f'#!/bin/sh\n[ "$1" = --version ] && echo "TensorFlow ModelServer: 1" '
        f'&& exit\nexec {sys.executable} -m emorec serve --embedded "$@"\n',
    )
    _, report = validate(tmp_path, *trained, server=binary)
    assert report["blessed"], report["reason"]
    assert report["server"] == {
        "kind": "tensorflow_model_server",
        "version": "TensorFlow ModelServer: 1",
    }


# The component.


def test_only_two_inputs_are_needed():
    component = servable_validator.ServableValidator(
        model=channel_utils.as_channel([standard_artifacts.Model()]),
        examples=channel_utils.as_channel([standard_artifacts.Examples()]),
    )
    assert set(component.inputs) == {"model", "examples"}
    blessing = component.outputs["blessing"]
    assert blessing.type is standard_artifacts.InfraBlessing
    assert component.exec_properties == {
        "max_clips": 8,
        "tolerance": 1e-3,
        "server": "auto",
        "split": "",
        "deadline_s": 300.0,
        "code": component.exec_properties["code"],
    }


def test_a_number_out_of_range():
    with pytest.raises(ConfigError) as caught:
        servable_validator.ServableValidator(
            model=channel_utils.as_channel([standard_artifacts.Model()]),
            examples=channel_utils.as_channel([standard_artifacts.Examples()]),
            max_clips=0,
        )
    assert str(caught.value) == (
        "ServableValidator: `max_clips` must be 1 to 1024. Received: 0"
    )
