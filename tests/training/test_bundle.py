"""The model folder: saved, loaded, damaged."""

import json
import shutil

import numpy as np
import pytest

from emorec.errors import ModelError
from emorec.features import encoder, precomputed
from emorec.training import bundle


@pytest.fixture(scope="module")
def loaded(model_dir) -> bundle.Bundle:
    return bundle.load(model_dir)


@pytest.fixture
def copy(model_dir, tmp_path):
    """A model folder that a test may damage."""
    for name in (bundle.FILE, bundle.WEIGHTS):
        shutil.copy(model_dir / name, tmp_path / name)
    (tmp_path / "encoders").symlink_to(model_dir / "encoders")
    return tmp_path


def logits_of(made: bundle.Bundle):
    rng = np.random.default_rng(0)
    inputs = {"mask": np.arange(5)[None] < np.array([[5], [2]])}
    for name in made.inputs:
        x = rng.normal(0, 1, (2, 5, *made.encoders.shapes[name]))
        inputs[name] = x.astype(np.float32)
    return np.array(made.model(inputs)["logits"])


def edit(folder, **changes):
    path = folder / bundle.FILE
    values = json.loads(path.read_text())
    for name, value in changes.items():
        if value is None:
            del values[name]
        else:
            values[name] = value
    path.write_text(json.dumps(values))


def test_what_was_saved_is_loaded(loaded, model_dir, tmp_path):
    loaded.save(tmp_path / "again")
    again = bundle.load(tmp_path / "again", use_cudnn=False)
    np.testing.assert_array_equal(logits_of(again), logits_of(loaded))
    assert again.describe() == loaded.describe()
    for a, b in zip(again.model.weights, loaded.model.weights):
        np.testing.assert_array_equal(a, b)
    images = np.random.default_rng(0).integers(
        0, 256, (1, 224, 224, 3), np.uint8
    )
    for stream in ("face", "context"):
        np.testing.assert_array_equal(
            getattr(again.encoders, stream).encode(images),
            getattr(loaded.encoders, stream).encode(images),
        )
    names = sorted(p.name for p in (tmp_path / "again").iterdir())
    assert names == ["encoders", "model.json", "model.weights.h5"]


def test_description(loaded, prepared):
    values = json.loads(json.dumps(loaded.describe()))
    assert values["system"] == loaded.system == "caca_rnn_a"
    assert values["format"] == 2
    assert values["config_hash"] == prepared.config.data_hash()
    assert values["labels"] == prepared.labels.to_dict()
    assert values["random_weights"] == ["context"]
    assert values["encoders"]["face"]["id"] == "mini_xception"
    assert values["encoders"]["face"]["random"] is False
    assert len(values["encoders"]["face"]["sha256"]) == 64
    assert values["encoders"]["context"]["random"] is True
    info = values["info"]
    assert info["data"]["fingerprint"] == prepared.fingerprint
    assert info["data"]["rows"] == {"train": 16, "validation": 8, "test": 8}
    assert info["epochs"] == 3 and 0 <= info["best_epoch"] < 3
    assert set(info["versions"]) == {"tensorflow", "keras"}


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError) as e:
        bundle.load(tmp_path)
    assert str(e.value) == (
        f"{tmp_path}/model.json: no trained model (there is no such file); "
        "make one with `emorec train`"
    )


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ('{"format": 2', "Expecting ',' delimiter: line 1 column 13"),
        ("[1]", "it holds no JSON object"),
    ],
)
def test_a_model_json_that_is_no_json(copy, text, problem):
    (copy / bundle.FILE).write_text(text)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    assert str(e.value).startswith(
        f"{copy}/model.json: no trained model ({problem}"
    )
    assert str(e.value).endswith("; make one with `emorec train`")


def test_a_format_of_another_version(copy):
    edit(copy, format=1)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    assert str(e.value) == (
        f"{copy}: a model of format 1; this emorec reads format 2"
    )


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"labels": None}, "KeyError('labels')"),
        ({"labels": {"name": "x", "names": []}}, "`labels` must hold 1 to"),
        ({"config": {"video": {"rate": 1}}}, "config has no field video.rate"),
        ({"config": {"model": {"system": "x"}}}, "`system` must be one of"),
        ({"config": 3}, "config `config` must be an object. Received: 3"),
        ({"info": 3}, "TypeError("),
        ({"weights_sha256": None}, "KeyError('weights_sha256')"),
    ],
)
def test_a_model_json_with_wrong_fields(copy, changes, problem):
    edit(copy, **changes)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    message = str(e.value)
    assert message.startswith(f"{copy}: model.json is damaged (")
    assert problem in message
    assert message.endswith("); train the model again")
    assert "\n" not in message


def flip(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda data: data[:-1000], "its SHA-256 is another"),
        (flip, "its SHA-256 is another"),
        (None, "No such file or directory"),
    ],
    ids=["truncated", "flipped", "absent"],
)
def test_damaged_weights(copy, damage, problem):
    path = copy / bundle.WEIGHTS
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    message = str(e.value)
    assert message.startswith(f"{copy}: model.weights.h5 does not fit (")
    assert problem in message
    assert message.endswith("); train the model again")


def test_weights_of_another_size(copy):
    config = json.loads((copy / bundle.FILE).read_text())["config"]
    config["model"]["rnn_units"] = 64
    edit(copy, config=config)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    assert "model.weights.h5 does not fit (" in str(e.value)
    assert "\n" not in str(e.value)


def test_an_encoder_that_is_not_there(copy):
    (copy / "encoders").unlink()
    with pytest.raises(ModelError, match="cannot be read as an encoder's JSON"):
        bundle.load(copy)


@pytest.mark.parametrize(
    "damage",
    [
        lambda encoders: encoders.clear(),
        lambda encoders: encoders.update(face=None),
        lambda encoders: encoders["face"].pop("hash"),
        lambda encoders: encoders["face"].update(hash=7),
    ],
    ids=["empty", "null", "no hash", "a number"],
)
def test_a_description_of_the_encoders_that_is_damaged(copy, damage):
    values = json.loads((copy / bundle.FILE).read_text())["encoders"]
    damage(values)
    edit(copy, encoders=values)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    assert str(e.value).startswith(f"{copy}: model.json is damaged (")
    assert str(e.value).endswith("); train the model again")


@pytest.mark.parametrize("value", [None, 3, []])
def test_without_a_description_of_the_encoders(copy, value):
    edit(copy, encoders=value)
    with pytest.raises(ModelError, match="model.json is damaged"):
        bundle.load(copy)


def swap_face(copy, model_dir, other):
    """Puts another encoder into the place of the face's."""
    (copy / "encoders").unlink()
    shutil.copytree(model_dir / "encoders", copy / "encoders")
    shutil.rmtree(copy / "encoders" / "face")
    other.save(copy / "encoders" / "face")


def test_an_encoder_of_another_model(copy, model_dir, encoders):
    swap_face(copy, model_dir, encoders.context)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    assert str(e.value) == (
        f"{copy}/encoders/face: the model was trained with another encoder: "
        f"its hash must be {encoders.face.hash}. Received: "
        f"{encoders.context.hash}; put the right one back or train the model "
        "again"
    )


def test_given_features_in_the_place_of_an_encoder(copy, model_dir):
    swap_face(copy, model_dir, precomputed.Precomputed("others", 128))
    with pytest.raises(ModelError, match="face: the model was trained with an"):
        bundle.load(copy)


def test_an_encoder_of_another_crop_size(copy, model_dir, encoders):
    small = encoder.create("mini_xception", crop_size=96)
    assert small.hash == encoders.face.hash
    swap_face(copy, model_dir, small)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    assert str(e.value) == (
        f"{copy}/encoders/face: the model was trained with another encoder: "
        "its crop_size must be 224. Received: 96; put the right one back or "
        "train the model again"
    )


def test_an_encoder_that_lacks_what_the_system_reads(copy, model_dir, encoders):
    swap_face(copy, model_dir, encoders.context)
    values = json.loads((copy / bundle.FILE).read_text())
    values["config"]["model"]["system"] = "face_average"
    values["encoders"]["face"]["hash"] = encoders.context.hash
    edit(copy, **values)
    with pytest.raises(ModelError) as e:
        bundle.load(copy)
    message = str(e.value)
    assert message.startswith(f"{copy}: its network cannot be built (the face ")
    assert "gives no probabilities, which the system reads; it" in message
    assert message.endswith("); train the model again")
    assert "\n" not in message


def test_a_model_that_cannot_be_written(loaded, tmp_path):
    (tmp_path / "encoders").write_text("in the way")
    with pytest.raises(ModelError) as e:
        loaded.save(tmp_path)
    assert str(e.value).startswith(f"{tmp_path}: cannot be written (")
    assert str(e.value).endswith("); free some space or choose another place")
    assert not (tmp_path / bundle.FILE).exists()
