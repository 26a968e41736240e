"""Initial weights of a face classifier, by name out of a Keras file.

Only arrays are read: what else a file says of a model, which could name code
to run, is not.
"""

import collections
import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator

import h5py
import keras
import numpy as np
from keras import layers

from emorec.errors import WeightsError
from emorec.features.face_networks import FaceNetwork

_MAX_FILE_BYTES = 4 << 30
_ARCHIVED = "model.weights.h5"
# What h5py and zipfile raise, according to where a file is damaged.
_DAMAGE = (
    OSError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def load(network: FaceNetwork, path: str | os.PathLike) -> dict:
    """Sets the weights from a file, by the names of the layers.

    Every layer but the head must be in the file with the same shapes. The
    head is taken where it fits, and stays random where the file has other
    classes or none. Nothing is set unless all fits.

    Args:
        network: What `build` made.
        path: A .keras file, or an .h5, .hdf5 or .weights.h5 of Keras 1 to 3.

    Returns:
        `{"initial": "file", "file", "sha256", "head": "file" or "random"}`.

    Raises:
        WeightsError: It is no such file, or one of another network.
    """
    path = pathlib.Path(path)
    try:
        with _hdf5(path) as f:
            values, head = _fitting(network, _stored(f), path)
        with open(path, "rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
    except _DAMAGE as e:
        raise WeightsError(
            f"{path}: cannot be read as a Keras file of weights "
            f"({' '.join(str(e).split())[:200]}); give a .keras, .h5 or "
            ".weights.h5 file"
        ) from e
    for layer, arrays in values:
        layer.set_weights(arrays)
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # It computes with copies.
    return {
        "initial": "file",
        "file": path.name,
        "sha256": digest,
        "head": head,
    }


@contextlib.contextmanager
def _hdf5(path) -> Iterator[h5py.File]:
    """Opens the HDF5 file that holds the arrays, within a .keras or alone."""
    if os.path.getsize(path) > _MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {_MAX_FILE_BYTES} bytes")
    if not zipfile.is_zipfile(path):
        with h5py.File(path, "r") as f:
            yield f
        return
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryFile() as copy:
        if archive.getinfo(_ARCHIVED).file_size > _MAX_FILE_BYTES:
            raise ValueError(f"its {_ARCHIVED} is larger than the limit")
        # zipfile gives no more bytes than the size it was asked about.
        with archive.open(_ARCHIVED) as member:
            shutil.copyfileobj(member, copy)
        with h5py.File(copy, "r") as f:
            yield f


def _stored(root: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Returns layer name -> its arrays, not read yet.

    Keras 1 and 2 name the group after the layer and list the arrays; Keras 3
    keeps the layer's name as an attribute of its `vars`, numbered. `visititems`
    follows no link to another file.
    """
    found = {}

    def visit(place, item):
        if not isinstance(item, h5py.Group):
            return
        if "weight_names" in item.attrs:
            keys = [
                n.decode() if isinstance(n, bytes) else str(n)
                for n in item.attrs["weight_names"]
            ]
            name = place.removeprefix("model_weights/")
        elif place.endswith("vars") and "name" in item.attrs:
            keys = sorted(item, key=int)
            name = str(item.attrs["name"])
        else:
            return
        if keys and all(_is_plain(item, key) for key in keys):
            found.setdefault(name, [item[key] for key in keys])

    root.visititems(visit)
    return found


def _is_plain(group, key) -> bool:
    """Whether an array lies in this very file."""
    link = group.get(key, getlink=True)
    item = group.get(key) if isinstance(link, h5py.HardLink) else None
    return (
        isinstance(item, h5py.Dataset)
        and item.file.filename == group.file.filename
        and not (item.external or item.is_virtual)
    )


def _fitting(network, stored, path):
    """Reads what fits: `([(layer, arrays)], "file" or "random")`."""
    places = {layer: layer.name for layer in _with_weights(network.model)}
    if any(
        name not in stored and name not in network.head
        for name in places.values()
    ):
        # Keras numbers layers without a name through a whole process, and
        # from 1 in old files: then their order says which is which.
        ranks = _ranks(places.values())
        by_rank = {rank: name for name, rank in _ranks(stored).items()}
        places = {k: by_rank.get(ranks[v], v) for k, v in places.items()}
    values, head = [], "file"
    for layer, place in places.items():
        shapes = [tuple(w.shape) for w in layer.weights]
        arrays = stored.get(place)
        received = arrays and [tuple(a.shape) for a in arrays]
        if received == shapes:
            values.append((layer, _finite(place, arrays, path)))
        elif layer.name in network.head:
            head = "random"
        else:
            raise WeightsError(
                f"{path}: must hold the layer {layer.name!r} of "
                f"{network.architecture} with the shapes {shapes}. "
                f"Received: {received or 'no such layer'}"
            )
    return values, head


def _ranks(names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Returns name -> what it is called less its number, and its place."""
    groups = collections.defaultdict(list)
    for name in names:
        stem, _, number = name.rpartition("_")
        if stem and number.isdecimal():
            groups[stem].append((int(number), name))
        else:
            groups[name].append((-1, name))
    return {
        name: (stem, rank)
        for stem, members in groups.items()
        for rank, (_, name) in enumerate(sorted(members))
    }


def _finite(name, arrays, path) -> list[np.ndarray]:
    read = [np.asarray(a[()], np.float32) for a in arrays]
    if not all(np.isfinite(a).all() for a in read):
        raise WeightsError(
            f"{path}: the weights of the layer {name!r} are not finite; give "
            "the file that was published or saved"
        )
    return read


def _with_weights(model) -> Iterator[keras.layers.Layer]:
    """Yields the layers that own weights, those of nested models too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _with_weights(layer)
        elif layer.weights:
            yield layer
