"""Keras files as face encoders: labels, folders, hash, saved copies."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from testing import keras_files

from emorec.errors import ConfigError, EmorecError, ModelError
from emorec.features import encoder, keras_file

SIDE = keras_files.SIDE


@pytest.fixture(scope="module")
def crops():
    """uint8 [5, 8, 8, 3]."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


def _saved(model, path):
    model.save(path)
    return path


def _create(path, **kwargs):
    return encoder.create(path, crop_size=SIDE, **kwargs)


def test_labels_beside_the_file(tmp_path):
    path = _saved(keras_files.model(), tmp_path / "m.keras")
    assert _create(path).labels == ()
    names = tmp_path / "labels.txt"
    for text in ("a\nb\n", "a\na\nb\n", "\xff"):
        names.write_text(text, encoding="latin-1")
        assert _create(path).labels == ()
    names.write_text("happy\nsad\nneutral\n")
    made = _create(path)
    assert made.labels == ("happy", "sad", "neutral")
    made.save(tmp_path / "e")
    assert encoder.load(tmp_path / "e").labels == made.labels
    values = json.loads((tmp_path / "e" / "encoder.json").read_text())
    for wrong in (["a"], ["a", "b", 3], ["a", "a", "b"]):
        (tmp_path / "e" / "encoder.json").write_text(
            json.dumps({**values, "labels": wrong})
        )
        with pytest.raises(ModelError, match="`labels` must name the classes"):
            encoder.load(tmp_path / "e")


def test_folder_of_train_face(crops, tmp_path):
    with pytest.raises(ModelError, match=r"holds no face_classifier\.keras"):
        _create(tmp_path)
    model = keras_files.model()
    _saved(model, tmp_path / "face_classifier.keras")
    with pytest.raises(ModelError, match=r"labels\.txt: does not fit"):
        _create(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    # Its preprocessing is inside, whatever the files of others want.
    made = _create(str(tmp_path), file_pixels="signed")
    assert made.labels == ("a", "b", "c")
    np.testing.assert_allclose(
        made.encode(crops, "probabilities"),
        model.predict_on_batch(crops),
        atol=1e-6,
    )


def test_neither_preset_nor_path(tmp_path):
    with pytest.raises(ConfigError) as e:
        encoder.create(str(tmp_path / "absent.keras"))
    assert "one of squeezenet, mini_xception, resnet50, or the path of" in str(
        e.value
    )
    path = _saved(keras_files.model(), tmp_path / "m.keras")
    with pytest.raises(ConfigError, match="weights by path belong to a preset"):
        encoder.create(path, "weights.h5")


def test_hash_tells_weights_and_architectures_apart(tmp_path):
    model = keras_files.model()
    hashes = [_create(_saved(model, tmp_path / "a.keras")).hash]
    model.set_weights([w + 1e-3 for w in model.get_weights()])
    hashes.append(_create(_saved(model, tmp_path / "b.keras")).hash)
    config = keras_files.config_of(tmp_path / "b.keras")
    first = next(keras_files.named(config, "first"))
    first["config"]["activation"] = "relu"
    keras_files.put_config(tmp_path / "b.keras", config)
    hashes.append(_create(tmp_path / "b.keras").hash)
    assert len(set(hashes)) == 3


def test_hash_is_the_same_in_another_process(tmp_path):
    path = _saved(keras_files.model(), tmp_path / "m.keras")
    made = _create(path)
    made.save(tmp_path / "e")
    code = (
        "import sys\n"
        "from emorec.features import encoder\n"
        "print(encoder.create(sys.argv[1], crop_size=20).hash)\n"
        "print(encoder.load(sys.argv[2]).hash)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "e"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    # The size of the crops is no part of it.
    assert done.stdout.split() == [made.hash, made.hash]


def test_load_refuses_what_was_changed(tmp_path):
    model = keras_files.model()
    made = _create(_saved(model, tmp_path / "m.keras"))
    made.save(tmp_path / "e")
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == [
        "encoder.json",
        "encoder.keras",
    ]
    model.set_weights([w + 1 for w in model.get_weights()])
    model.save(tmp_path / "e" / "encoder.keras")
    with pytest.raises(ModelError, match=f"hash must be {made.hash}. Received"):
        encoder.load(tmp_path / "e")
    (tmp_path / "e" / "encoder.keras").unlink()
    with pytest.raises(ModelError, match=r"encoder\.keras: cannot be read"):
        encoder.load(tmp_path / "e")
    values = json.loads((tmp_path / "e" / "encoder.json").read_text())
    for pixels in (None, "odd", ["raw"]):
        (tmp_path / "e" / "encoder.json").write_text(
            json.dumps({**values, "pixels": pixels})
        )
        with pytest.raises(ModelError, match="unknown `pixels`"):
            encoder.load(tmp_path / "e")


def test_a_saved_folder_replaces_what_was_there(tmp_path):
    preset = encoder.create("mini_xception", allow_random=True, seed=3)
    preset.save(tmp_path / "e")
    made = _create(_saved(keras_files.model(), tmp_path / "m.keras"))
    made.save(tmp_path / "e")
    assert not (tmp_path / "e" / "encoder.weights.h5").exists()
    assert encoder.load(tmp_path / "e").hash == made.hash


def test_a_full_disk_while_saving(tmp_path, full_disk):
    """No file under its own name, no other left, and one line of error."""
    made = _create(_saved(keras_files.model(), tmp_path / "m.keras"))
    made.save(tmp_path / "e")
    whole = (tmp_path / "e" / "encoder.keras").stat().st_size
    for size in (0, whole // 2, whole - 100):
        with full_disk(size), pytest.raises(EmorecError) as e:
            made.save(tmp_path / "e")
        assert str(e.value).startswith(
            f"{tmp_path / 'e' / 'encoder.keras'}: cannot be written ("
        )
        assert "\n" not in str(e.value)
        assert not list((tmp_path / "e").iterdir())


def test_every_pixel_mode_is_known():
    assert keras_file.PIXELS == ("raw", "unit", "signed", "caffe")


@pytest.mark.real
@pytest.mark.long
def test_published_mini_xception_by_path(test_data, tmp_path):
    """A file of Keras 2.0.5, cut by rule, is the preset that we wrote."""
    folder = test_data / "weights"
    preset = encoder.create("mini_xception", folder, download=False)
    path = folder / "fer2013_mini_xception.hdf5"
    made = encoder.create(path, file_pixels="signed")
    assert made.outputs == preset.outputs
    assert made.weights["sha256"] == preset.weights["sha256"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 224, 224, 3), np.uint8)
    for kind in preset.outputs:
        np.testing.assert_allclose(
            made.encode(images, kind), preset.encode(images, kind), atol=1e-5
        )
    made.save(tmp_path)
    assert encoder.load(tmp_path).hash == made.hash
