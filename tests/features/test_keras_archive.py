"""Damaged and hostile .keras and HDF5 files, apart from what they describe."""

import io
import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from testing import keras_files
from testing.keras_files import refused

from emorec.errors import ModelError
from emorec.features import encoder, keras_archive


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a harmless classifier, as .keras and as HDF5."""
    folder = tmp_path_factory.mktemp("good")
    for name in ("m.keras", "m.h5"):
        keras_files.model().save(folder / name)
    return {p.suffix[1:]: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def marker(tmp_path):
    """A file that hostile code would write."""
    return tmp_path / "pwned"


class _Pickled:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def test_pickles_are_refused(marker, tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(_Pickled(marker)))
    refused(path, "neither a .keras zip nor an HDF5 file; pickles and other")
    np.save(tmp_path / "m.npy", np.array([_Pickled(marker)], object))
    refused(tmp_path / "m.npy", "neither a .keras zip")
    # Not by the name of the file, nor in a zip.
    (tmp_path / "m.h5").write_bytes(path.read_bytes())
    refused(tmp_path / "m.h5", "neither a .keras zip")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as z:
        z.writestr("config.json", "{}")
        z.writestr("model.weights.npz", path.read_bytes())
    refused(tmp_path / "m.zip", "Received: 'model.weights.npz'")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("keep", [0, 3, 8, 100, 0.3, 0.7, 0.99])
def test_cut_files(kind, keep, good, tmp_path):
    content = good[kind]
    size = int(keep * len(content)) if isinstance(keep, float) else keep
    path = tmp_path / f"m.{kind}"
    path.write_bytes(content[:size])
    refused(path, "cannot be read as a Keras file|neither a .keras zip")


def test_flipped_bytes_never_escape(good, tmp_path):
    rng = np.random.default_rng(0)
    for kind, content in good.items():
        for _ in range(12):
            changed = bytearray(content)
            for at in rng.integers(0, len(changed), 4):
                changed[at] ^= int(rng.integers(1, 256))
            path = tmp_path / f"m.{kind}"
            path.write_bytes(changed)
            try:
                made = encoder.create(path, crop_size=keras_files.SIDE)
            except ModelError as e:
                assert "\n" not in str(e)
            else:
                assert made.outputs["features"] == (4,)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    refused(tmp_path / "pipe.keras", "not a file; give a Keras file")
    with h5py.File(tmp_path / "w.h5", "w") as f:
        f["kernel"] = np.zeros(3)
    refused(tmp_path / "w.h5", "weights alone, without a description")


def _zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as z:
        for name, content in members:
            z.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_zips(good, tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(io.BytesIO(good["keras"])) as z:
        config, arrays = z.read("config.json"), z.read("model.weights.h5")
    fine = [("config.json", config), ("model.weights.h5", arrays)]
    encoder.create(_zip(path, fine), crop_size=keras_files.SIDE)
    for members, message in (
        ([*fine, ("../evil.py", b"")], r"Received: '\.\./evil\.py'"),
        ([*fine, ("assets/vocabulary.txt", b"")], "'assets/vocabulary.txt'"),
        ([*fine, fine[0]], "a member twice"),
        (fine[:1], "no item named 'model.weights.h5'"),
        (fine[1:], "no item named 'config.json'"),
        ([fine[0], ("model.weights.h5", b"PK")], "in it is no HDF5 file"),
        ([("config.json", b" " * (17 << 20)), fine[1]], "longer than 16 MiB"),
        ([("config.json", b"[" * 100_000), fine[1]], "is no JSON"),
        ([("config.json", b"[1]"), fine[1]], "no JSON object"),
        ([("config.json", b"{}"), fine[1]], "Keras .* cannot load it"),
    ):
        refused(_zip(path, members), message)
    assert not (tmp_path / "evil.py").exists()


def test_a_zip_that_lies_about_its_sizes(good, tmp_path):
    """2 MB declared as 2 bytes, and 3 GiB declared of 2 MB."""
    path = tmp_path / "m.keras"
    size = 2_000_003
    _zip(
        path,
        [("config.json", b" " * size), ("model.weights.h5", b"")],
        zipfile.ZIP_STORED,
    )
    content = path.read_bytes()
    for lie in (2, 3 << 30):
        path.write_bytes(
            content.replace(
                size.to_bytes(4, "little"), lie.to_bytes(4, "little")
            )
        )
        refused(path, "cannot be read as a Keras|longer than 16 MiB")


@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "stored", "s"])
def test_arrays_lie_in_the_file(kind, good, tmp_path):
    """HDF5 can point at any other file, whose content would be weights."""
    path = tmp_path / "m.h5"
    path.write_bytes(good["h5"])
    with h5py.File(tmp_path / "secret.h5", "w") as f:
        f["x"] = np.zeros((3, 3, 3, 4), np.float32)
    with h5py.File(path, "a") as f:
        found = []
        f.visititems(
            lambda n, o: (
                found.append((n, o.shape)) if hasattr(o, "shape") else None
            )
        )
        name, shape = next(p for p in found if len(p[1]) == 4)
        del f[name]
        if kind == "external":
            f[name] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
        elif kind == "soft":
            f[name] = h5py.SoftLink("/")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[...] = h5py.VirtualSource(tmp_path / "secret.h5", "x", shape)
            f.create_virtual_dataset(name, layout)
        elif kind == "stored":
            f.create_dataset(
                name, shape, "f4", external=[("/etc/passwd", 0, 432)]
            )
        else:
            f[name] = ["text"]
    refused(path, "is a link, which could lead|is no array of numbers")


def test_an_array_that_unpacks_without_end(good, tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes(good["h5"])
    with h5py.File(path, "a") as f:
        f.create_dataset("bomb", (1 << 20, 1 << 10), "f4", compression="gzip")
    assert path.stat().st_size < 1 << 20
    refused(path, "unpack to more than 2147483648 bytes")


def test_a_file_beyond_the_limit(good, tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    path.write_bytes(good["keras"])
    monkeypatch.setattr(keras_archive, "MAX_BYTES", len(good["keras"]) - 1)
    refused(path, "a Keras file may have .* bytes at most")


def test_nothing_is_left_behind(good, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    for content in (good["keras"], good["h5"], good["keras"][:999]):
        path = tmp_path / "m.file"
        path.write_bytes(content)
        if content in good.values():
            encoder.create(path, crop_size=keras_files.SIDE)
        else:
            refused(path, "cannot be read")
        assert list((tmp_path / "t").iterdir()) == []
