"""Weights of layers: by name out of a Keras file, and into one of ours.

Only arrays are read. A file's own description of a model, which could name
code to run, is not.
"""

import contextlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping

import h5py
import numpy as np

from emorec.errors import WeightsError

_MAX_ZIPPED = 2 << 30


def assign(
    model,
    path: str | os.PathLike,
    layers: Mapping[str, str],
    change: Callable[[str, list[np.ndarray]], list[np.ndarray]] | None = None,
) -> None:
    """Copies weights from a HDF5 file into a model's layers, by name.

    Every shape is checked before anything is set.

    Args:
        model: A Keras model.
        path: A file of `store`, or of `Model.save_weights` or `Model.save` of
            any Keras: HDF5, or a .keras zip.
        layers: Name of the layer in `model` -> its name in the file.
        change: Turns (layer name, arrays of the file) into the arrays to set.

    Raises:
        WeightsError: The file is not HDF5, a layer is missing, or its arrays
            are not of the model's shapes or not finite.
    """
    values = {}
    try:
        with _open(path) as f:
            groups = _groups(f)
            for name, stored in layers.items():
                shapes = [tuple(w.shape) for w in model.get_layer(name).weights]
                values[name] = _arrays(f, groups(stored), stored, shapes, path)
    # h5py and zipfile raise these, according to where a file is damaged.
    except (
        OSError,
        KeyError,
        RuntimeError,
        TypeError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as e:
        raise WeightsError(
            f"{path}: cannot be read as an HDF5 file of weights "
            f"({_one_line(e)}); give the file that was published or saved"
        ) from e
    for name, arrays in values.items():
        model.get_layer(name).set_weights(
            change(name, arrays) if change else arrays
        )


def store(model, path: str | os.PathLike) -> None:
    """Writes the weights of a flat model for `assign`, layer by layer.

    Not Keras' own format: that follows the order of the layers inside the
    model and has changed between Keras versions.
    """
    with h5py.File(path, "w") as f:
        for layer in model.layers:
            if layer.weights:
                group = f.create_group(layer.name)
                names = [variable.name for variable in layer.weights]
                group.attrs["weight_names"] = names
                for name, array in zip(names, layer.get_weights()):
                    group[name] = array


@contextlib.contextmanager
def _open(path):
    """Opens an HDF5 file, or the one in a .keras zip."""
    with contextlib.ExitStack() as stack:
        source = path
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            info = archive.getinfo("model.weights.h5")
            if info.file_size > _MAX_ZIPPED:
                raise ValueError("its arrays have more than 2 GiB")
            source = io.BytesIO(archive.read(info))
        yield stack.enter_context(h5py.File(source, "r"))


def _groups(f):
    """Returns name of a layer -> (group, names of its arrays), or None."""
    root = f.get("model_weights", f)
    found = {}

    def visit(path, item):
        # Keras 3 calls the groups by class and keeps the layer's name apart.
        name = item.attrs.get("name")
        if isinstance(item, h5py.Group) and isinstance(name, str):
            arrays = sorted((n for n in item if n.isdigit()), key=int)
            if arrays:
                found.setdefault(name, (item, arrays))

    if "layers" in f:
        f.visititems(visit)

    def group_of(stored):
        group = root.get(stored)
        if stored in found or group is None:
            return found.get(stored)
        names = group.attrs.get("weight_names")
        return None if names is None else (group, [_text(n) for n in names])

    return group_of


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _arrays(f, place, stored, shapes, path) -> list[np.ndarray]:
    """Reads one layer's arrays, shapes first, so that a bomb stays shut."""
    if place is None:
        raise WeightsError(
            f"{path}: holds no weights of a layer {stored!r}; give the "
            "file that was published or saved"
        )
    datasets = [place[0][name] for name in place[1]]
    found = [tuple(d.shape) for d in datasets]
    if found != shapes:
        raise WeightsError(
            f"{path}: the arrays of layer {stored!r} must have the shapes "
            f"{shapes}. Received: {found}"
        )
    if any(
        d.external or d.is_virtual or d.file.filename != f.filename
        for d in datasets
    ):
        raise WeightsError(
            f"{path}: the weights of layer {stored!r} lie in another file; "
            "give the file that was published or saved"
        )
    arrays = [np.asarray(d[()], np.float32) for d in datasets]
    if not all(np.isfinite(a).all() for a in arrays):
        raise WeightsError(
            f"{path}: the weights of layer {stored!r} are not finite; give "
            "the file that was published or saved"
        )
    return arrays


def _one_line(error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
