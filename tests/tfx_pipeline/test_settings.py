"""`pipeline.json`: its defaults, its paths, and what is refused in one line."""

import json

import pytest

from emorec.errors import ConfigError, EmorecError
from tfx_pipeline import settings

MANIFEST = {"input": {"manifest": "labels.csv"}}


def test_paths_are_relative_to_the_file(tmp_path):
    path = tmp_path / "pipeline.json"
    path.write_text(
        json.dumps(
            {
                "pipeline_root": "root",
                "serving_dir": "s3://bucket/serving/emotion",
                "input": {"base": "../clips", "manifest": "labels.csv"},
                "encoders": {"face_weights": "/elsewhere/face.h5"},
                "serving": {"server": "bin/server"},
            }
        )
    )
    found = settings.load(str(path))
    assert found.pipeline_root == str(tmp_path / "root")
    assert found.metadata_path == str(tmp_path / "pipeline/metadata.sqlite")
    assert found.serving_dir == "s3://bucket/serving/emotion"
    assert found.input.base == str(tmp_path.parent / "clips")
    assert found.encoders.face_weights == "/elsewhere/face.h5"
    assert found.encoders.context_weights == ""
    assert found.serving.server == str(tmp_path / "bin/server")


def test_labels_and_encoders_by_path_are_made_absolute(tmp_path):
    (tmp_path / "labels.txt").write_text("joy\ngrief\n")
    (tmp_path / "face.keras").write_text("")
    found = settings.resolve(
        {
            "input": {"manifest": "m.csv", "labels": "labels.txt"},
            "config": {"features": {"face_encoder": "face.keras"}},
        },
        str(tmp_path),
    )
    assert found.input.labels == str(tmp_path / "labels.txt")
    assert found.full_config().features.face_encoder == str(
        tmp_path / "face.keras"
    )


def test_a_changed_learning_rate_leaves_the_records_alone(tmp_path):
    found = settings.resolve(
        {
            **MANIFEST,
            "config": {
                "video": {"fps": 4.0},
                "train": {"learning_rate": 0.5},
                "model": {"rnn_units": 8},
            },
        },
        str(tmp_path),
    )
    data = found.data_config()
    assert data.video.fps == 4.0
    assert data.train.learning_rate != 0.5
    assert found.assignments() == [
        "model.rnn_units=8",
        "train.learning_rate=0.5",
    ]


def test_fields_of_the_command_line_come_last(tmp_path):
    found = settings.resolve(
        {
            **MANIFEST,
            "config": {"train": {"epochs": 3, "batch_size": 4}},
            "beam_pipeline_args": ["--direct_num_workers=1"],
        },
        str(tmp_path),
    ).override(["train.epochs=7", "clip.face_margin=0.2"], ["--a=b"])
    assert found.assignments() == ["train.batch_size=4", "train.epochs=7"]
    assert found.data_config().clip.face_margin == 0.2
    assert found.beam_pipeline_args == ["--direct_num_workers=1", "--a=b"]


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "give one of `input.manifest` and `input.data`. Received: none"),
        (
            {"input": {"manifest": "a", "data": "b"}},
            "Received: manifest and data",
        ),
        ({**MANIFEST, "nonsense": 1}, "config has no field nonsense"),
        (
            {**MANIFEST, "trainer": {"seed": "x"}},
            "`trainer.seed` must be int. Received: 'x'",
        ),
        (
            {**MANIFEST, "pipeline_name": "My Pipeline"},
            "`pipeline_name` must be lower-case letters",
        ),
        (
            {**MANIFEST, "evaluator": {"min_map": 40.0}},
            "`evaluator.min_map` must be 0 to 1. Received: 40.0",
        ),
        (
            {**MANIFEST, "encoders": {"missing_weights": "guess"}},
            "`encoders.missing_weights` must be error or random",
        ),
        (
            {**MANIFEST, "beam_pipeline_args": [1]},
            "`beam_pipeline_args` must be a list of flags. Received: 1",
        ),
        (
            {**MANIFEST, "evaluator": {"split": "tset"}},
            "`evaluator.split` must be train or validation or test. "
            "Received: 'tset'",
        ),
        (
            {**MANIFEST, "inference_split": "unlabeled"},
            "`inference_split` must be train or validation or test or "
            "unlabelled",
        ),
        (
            {"input": {"manifest": "m.csv", "complete_splits": ["tst"]}},
            "`input.complete_splits` must be train",
        ),
        ({**MANIFEST, "serving": 3}, "config `serving` must be an object"),
        (
            {**MANIFEST, "config": {"train": {"epoch": 1}}},
            "config has no field train.epoch",
        ),
        (
            {**MANIFEST, "config": {"model": {"system": "face_rnn"}}},
            "`trainer.system` names it. Received: 'face_rnn'",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, values, message):
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError) as caught:
        settings.load(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_says_what_to_do(tmp_path):
    with pytest.raises(EmorecError, match="no settings of a pipeline"):
        settings.load(str(tmp_path / "pipeline.json"))
