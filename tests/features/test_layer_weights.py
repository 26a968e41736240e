"""`emorec.features.layer_weights`: arrays out of files, by layer name."""

import os
import zipfile

import h5py
import keras
import numpy as np
import pytest

from emorec.errors import WeightsError
from emorec.features import layer_weights


def _dense_file(path, kernel, bias=(0.0, 0.0)):
    with h5py.File(path, "w") as f:
        group = f.create_group("model_weights/old")
        group.attrs["weight_names"] = [b"old/kernel:0", b"old/bias:0"]
        group["old/kernel:0"] = np.asarray(kernel, np.float32)
        group["old/bias:0"] = np.asarray(bias, np.float32)
    return path


def _dense_model():
    image = keras.Input((3,))
    return keras.Model(image, keras.layers.Dense(2, name="new")(image))


def test_assign_copies_by_name(tmp_path):
    model = _dense_model()
    kernel = np.arange(6.0).reshape(3, 2)
    path = _dense_file(tmp_path / "a.h5", kernel, (7.0, 8.0))
    layer_weights.assign(model, path, {"new": "old"})
    np.testing.assert_array_equal(model.get_layer("new").kernel, kernel)
    np.testing.assert_array_equal(model.get_layer("new").bias, [7, 8])


def test_assign_reads_what_store_wrote(tmp_path):
    one, other = _dense_model(), _dense_model()
    layer_weights.store(one, tmp_path / "a.h5")
    layer_weights.assign(other, tmp_path / "a.h5", {"new": "new"})
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_assign_refuses_other_files(tmp_path):
    model = _dense_model()
    before = model.get_layer("new").kernel.numpy()
    path = _dense_file(tmp_path / "a.h5", np.zeros((2, 3)))
    with pytest.raises(WeightsError, match=r"must have the shapes .*\(3, 2\)"):
        layer_weights.assign(model, path, {"new": "old"})
    with pytest.raises(WeightsError, match="no weights of a layer 'absent'"):
        layer_weights.assign(model, path, {"new": "absent"})
    path = _dense_file(tmp_path / "b.h5", np.full((3, 2), np.nan))
    with pytest.raises(WeightsError, match="'old' are not finite"):
        layer_weights.assign(model, path, {"new": "old"})
    (tmp_path / "c.h5").write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"c\.h5: cannot be read as an"):
        layer_weights.assign(model, tmp_path / "c.h5", {"new": "old"})
    with pytest.raises(WeightsError, match=r"d\.h5: cannot be read as an"):
        layer_weights.assign(model, tmp_path / "d.h5", {"new": "old"})
    np.testing.assert_array_equal(model.get_layer("new").kernel, before)


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5", "a.h5"])
def test_assign_reads_what_keras_saves(name, tmp_path):
    """Keras 3 calls the groups by class: the layer's name is an attribute."""
    image = keras.Input((3,))
    x = keras.layers.Dense(2, name="other")(image)
    theirs = keras.Model(image, [keras.layers.Dense(2, name="old")(image), x])
    save = theirs.save_weights if ".weights" in name else theirs.save
    save(tmp_path / name)
    model = _dense_model()
    layer_weights.assign(model, tmp_path / name, {"new": "old"})
    for a, b in zip(
        model.get_layer("new").get_weights(),
        theirs.get_layer("old").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(WeightsError, match="no weights of a layer 'absent'"):
        layer_weights.assign(model, tmp_path / name, {"new": "absent"})


def test_assign_keeps_to_the_file(tmp_path):
    kernel = np.ones((3, 2), np.float32)
    path = _dense_file(tmp_path / "a.h5", kernel)
    with h5py.File(tmp_path / "secret.h5", "w") as f:
        f["kernel"] = kernel
    for change in (
        lambda group: group.__setitem__(
            "kernel:0", h5py.ExternalLink("secret.h5", "/kernel")
        ),
        lambda group: group.create_dataset(
            "kernel:0", (3, 2), "f4", external=[("secret.h5", 0, 24)]
        ),
    ):
        with h5py.File(path, "a") as f:
            group = f["model_weights/old/old"]
            del group["kernel:0"]
            change(group)
        with pytest.raises(WeightsError, match="'old' lie in another file"):
            layer_weights.assign(_dense_model(), path, {"new": "old"})


def test_assign_refuses_a_zip_of_something_else(tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("model.weights.h5", b"no HDF5")
    with pytest.raises(WeightsError, match=r"a\.keras: cannot be read as an"):
        layer_weights.assign(_dense_model(), path, {"new": "old"})
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("config.json", b"{}")
    with pytest.raises(WeightsError, match="no item named 'model.weights.h5'"):
        layer_weights.assign(_dense_model(), path, {"new": "old"})


def test_assign_refuses_what_is_no_file_or_too_large(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.h5")
    for name in ("pipe.h5", "."):
        with pytest.raises(WeightsError, match="there is no such file"):
            layer_weights.assign(
                _dense_model(), tmp_path / name, {"new": "old"}
            )
    path = _dense_file(tmp_path / "a.h5", np.zeros((3, 2)))
    size = path.stat().st_size
    monkeypatch.setattr(layer_weights, "MAX_BYTES", size - 1)
    with pytest.raises(WeightsError, match=f"has more than {size - 1} bytes"):
        layer_weights.assign(_dense_model(), path, {"new": "old"})
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as z:
        z.write(path, "model.weights.h5")
    with pytest.raises(WeightsError, match=r"model\.weights\.h5 has more than"):
        layer_weights.assign(
            _dense_model(), tmp_path / "a.keras", {"new": "old"}
        )
