"""The config tree: overriding, bounds, hashes and differences."""

import dataclasses
import json

import pytest

from emorec.config import Config, data_differences, short_hash
from emorec.errors import ConfigError

# What decides a record's content, and so its hash; nothing else may.
IN_HASH = {
    "video.fps": 4.0,
    "detector.input_width": 0,
    "detector.min_face_size": 20,
    "detector.scale_factor": 0.5,
    "detector.thresholds": (0.5, 0.7, 0.8),
    "detector.max_faces": 3,
    "detector.detect_every": 2,
    "detector.follow_score": 0.9,
    "detector.scene_cut": 30.0,
    "tracks.min_iou": 0.5,
    "tracks.max_gap_s": 2.0,
    "tracks.min_frames": 1,
    "tracks.min_score": 0.5,
    "clip.clip_frames": 16,
    "clip.face_margin": 0.5,
    "clip.crop_size": 64,
    "clip.jpeg_quality": 50,
    "data.train_phases": 1,
    "data.train_frames": 64,
}
NOT_IN_HASH = {
    "video.max_pixels": 100,
    "video.frame_timeout_s": 5.0,
    "video.max_file_bytes": 100,
    "video.buffer_frames": 2,
    "detector.batch_frames": 2,
    "data.shard_rows": 2,
    "features.face_encoder": "other",
    "features.context_encoder": "other",
    "features.file_pixels": "signed",
    "features.batch_frames": 2,
    "features.bfloat16": "all",
    "model.system": "other",
    "model.encoder_units": 2,
    "model.rnn_units": 2,
    "model.dropout": 0.0,
    "model.attention": False,
    "model.seeding": False,
    "model.conv_filters": 2,
    "model.time_bins": 2,
    "train.learning_rate": 0.5,
    "train.batch_size": 2,
    "train.epochs": 2,
    "train.patience": 2,
    "train.class_weights": False,
    "train.clip_norm": 1.0,
    "train.source_weights": "a=2",
    "face_train.image_size": 32,
    "face_train.learning_rate": 0.5,
    "face_train.batch_size": 2,
    "face_train.epochs": 2,
    "face_train.patience": 2,
    "face_train.validation_share": 0.5,
    "face_train.class_weights": False,
    "face_train.flip": False,
    "face_train.rotation": 0.0,
    "face_train.zoom": 0.0,
    "face_train.shift": 0.0,
    "face_train.brightness": 0.0,
}


def changed(path, value) -> Config:
    return Config().override([f"{path}={json.dumps(value)}"])


def value_of(config, path):
    section, field = path.split(".")
    return getattr(getattr(config, section), field)


def test_every_field_is_listed_here():
    fields = {
        f"{section.name}.{field.name}"
        for section in dataclasses.fields(Config)
        for field in dataclasses.fields(getattr(Config(), section.name))
    }
    assert fields == {*IN_HASH, *NOT_IN_HASH}


@pytest.mark.parametrize("path", IN_HASH)
def test_what_decides_a_record_is_in_the_hash(path):
    config = changed(path, IN_HASH[path])
    assert value_of(config, path) == IN_HASH[path]
    assert config.data_hash() != Config().data_hash()
    assert data_differences(Config(), config) == [
        f"{path} is {IN_HASH[path]}, not {value_of(Config(), path)}"
    ]


@pytest.mark.parametrize("path", NOT_IN_HASH)
def test_nothing_else_is(path):
    config = changed(path, NOT_IN_HASH[path])
    assert value_of(config, path) == NOT_IN_HASH[path]
    assert config != Config()
    assert config.data_hash() == Config().data_hash()
    assert data_differences(Config(), config) == []


def test_data_differences_names_every_field():
    theirs = Config().override(
        ["video.fps=4", "clip.face_margin=0.3", "train.epochs=3"]
    )
    assert data_differences(Config(), theirs) == [
        "video.fps is 4.0, not 8.0",
        "clip.face_margin is 0.3, not 0.0",
    ]


def test_the_hash_is_the_same_in_every_process():
    # A literal: were it to change, every data set would be refused.
    assert short_hash({"b": [1, 2.5], "a": None}) == "e57f5d37865437a8"
    found = Config().data_hash()
    assert len(found) == 16 and int(found, 16) >= 0


def test_round_trip_through_json():
    config = Config().override(
        ["detector.thresholds=[0.1, 0.2, 0.3]", "train.class_weights=false"]
    )
    values = json.loads(json.dumps(config.to_dict()))
    assert Config.from_dict(values) == config
    assert config.detector.thresholds == (0.1, 0.2, 0.3)
    # Fields that an older version did not write keep their defaults.
    assert Config.from_dict({"video": {"fps": 4}}) == changed("video.fps", 4)
    assert Config.from_dict({}) == Config()


def test_override_changes_a_copy():
    config = Config()
    other = config.override([" video.fps = 25 ", "model.system=caca_rnn_b"])
    assert (other.video.fps, other.model.system) == (25.0, "caca_rnn_b")
    assert type(other.video.fps) is float
    assert config == Config() and config.override([]) == config
    # The last one counts.
    assert config.override(["video.fps=1", "video.fps=2"]).video.fps == 2


@pytest.mark.parametrize(
    "assignment, hint",
    [
        ("video.rate=3", "fields of video: fps, max_pixels, "),
        ("film.fps=3", "sections: video, detector, tracks, clip, data, "),
        ("video.fps", "fields of video: fps, "),
        ("video", "fields of video: fps, "),
        ("=3", "sections: video, "),
        ("", "sections: video, "),
    ],
)
def test_an_assignment_to_no_field(assignment, hint):
    with pytest.raises(ConfigError) as e:
        Config().override([assignment])
    assert str(e.value).startswith(
        "`--set` must be section.field=value with a field of "
        f"`emorec.config`. Received: {assignment!r}; {hint}"
    )


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("video.fps=fast", "`video.fps` must be float. Received: 'fast'"),
        ("video.fps=true", "`video.fps` must be float. Received: True"),
        ("video.fps=[8]", "`video.fps` must be float. Received: [8]"),
        ("video.fps=null", "`video.fps` must be float. Received: None"),
        (
            "train.epochs=2.5",
            "`train.epochs` must be int. Received: 2.5",
        ),
        ("train.epochs=true", "`train.epochs` must be int. Received: True"),
        (
            "train.class_weights=1",
            "`train.class_weights` must be bool. Received: 1",
        ),
        ("model.system=3", "`model.system` must be str. Received: 3"),
        (
            "detector.thresholds=[0.5, 0.5]",
            "`detector.thresholds` must be tuple. Received: [0.5, 0.5]",
        ),
        (
            "detector.thresholds=[0.5, 0.5, 1]",
            "`detector.thresholds` must lie between 0 and 1. "
            "Received: (0.5, 0.5, 1.0)",
        ),
    ],
)
def test_a_value_of_a_bad_type(assignment, message):
    with pytest.raises(ConfigError) as e:
        Config().override([assignment])
    assert str(e.value) == f"config {message}"


@pytest.mark.parametrize(
    "path, low, high, below, above",
    [
        ("video.fps", 0.01, 240, 0.009, 240.1),
        ("detector.input_width", 0, 8192, -1, 8193),
        ("detector.min_face_size", 12, 4096, 11, 4097),
        ("tracks.min_iou", 0.01, 1, 0.0, 1.01),
        ("tracks.max_gap_s", 0, 3600, -0.1, 3601.0),
        ("tracks.min_score", 0, 1, -0.1, 1.5),
        ("clip.clip_frames", 1, 4096, 0, 4097),
        ("clip.face_margin", 0, 2, -0.1, 2.1),
        ("clip.crop_size", 32, 1024, 31, 1025),
        ("clip.jpeg_quality", 1, 100, 0, 101),
        ("data.train_phases", 1, 16, 0, 17),
        ("model.dropout", 0, 0.95, -0.1, 0.96),
        ("train.patience", 0, 1_000_000, -1, 1_000_001),
    ],
)
def test_bounds(path, low, high, below, above):
    for value in (low, high):
        assert value_of(changed(path, value), path) == value
    for value in (below, above):
        with pytest.raises(ConfigError) as e:
            changed(path, value)
        assert str(e.value) == (
            f"config `{path}` must be {low} to {high}. Received: {value!r}"
        )


@pytest.mark.parametrize(
    "path", ["train.batch_size", "train.learning_rate", "model.conv_filters"]
)
def test_other_numbers_are_positive(path):
    for value in (0, -1):
        with pytest.raises(ConfigError) as e:
            changed(path, value)
        assert str(e.value).startswith(
            f"config `{path}` must be finite and greater than 0. Received: "
        )


def test_nan_and_infinity_are_no_numbers():
    with pytest.raises(ConfigError, match="Received: nan"):
        Config().override(["video.fps=NaN"])
    with pytest.raises(ConfigError, match="Received: inf"):
        Config().override(["train.learning_rate=Infinity"])


def test_from_dict_names_what_it_does_not_know():
    with pytest.raises(ConfigError) as e:
        Config.from_dict({"clip": {"frames": 3}})
    assert str(e.value) == (
        "config has no field clip.frames; there is clip_frames, "
        "face_margin, crop_size, jpeg_quality"
    )
    with pytest.raises(ConfigError, match="^config has no field film; there"):
        Config.from_dict({"film": {}})
    with pytest.raises(ConfigError, match="must be an object. Received: 3"):
        Config.from_dict({"clip": 3})


def test_a_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().video.fps = 3


@pytest.mark.parametrize("old, now", [(False, "none"), (True, "all")])
def test_a_config_of_an_earlier_version(old, now):
    # bfloat16 was all encoders' or nobody's, and off by default.
    values = {"features": {"bfloat16": old, "batch_frames": 4}}
    made = Config.from_dict(values)
    assert made.features.bfloat16 == now
    assert made.features.batch_frames == 4
    assert values["features"]["bfloat16"] is old


def test_a_choice_that_there_is_not():
    with pytest.raises(
        ConfigError,
        match="config `features.bfloat16` must be one of none, context, all. "
        "Received: 'some'",
    ):
        changed("features.bfloat16", "some")
