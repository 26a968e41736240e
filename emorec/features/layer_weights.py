"""Weights of layers: by name out of a Keras file, and into one of ours.

Only arrays are read. A file's own description of a model, which could name
code to run, is not.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping

import h5py
import numpy as np

from emorec.data import files
from emorec.errors import WeightsError

# Of a file, and of the arrays in a zip.
MAX_BYTES = 2 << 30
# What h5py and zipfile raise, according to where a file is damaged.
DAMAGE = (
    OSError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
# Starts the name of a folder in which a file is being saved.
SAVING = ".saving-"
_ARCHIVED = "model.weights.h5"
_REMEDY = "give the file that was published or saved"


@dataclasses.dataclass(frozen=True)
class StoredLayer:
    """The arrays of a layer in an open file, not read yet.

    Attributes:
        path: The file, for messages.
        name: The layer's name in it.
        group: Where the arrays lie.
        keys: Their names in `group`, in the layer's order.
    """

    path: str | os.PathLike
    name: str
    group: h5py.Group
    keys: tuple[str, ...]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the arrays, asked for before reading: a bomb stays shut.

        Raises:
            WeightsError: An array lies in another file.
        """
        return [tuple(d.shape) for d in self._datasets()]

    def read(self) -> list[np.ndarray]:
        """Reads the arrays, as f32.

        Raises:
            WeightsError: They lie in another file or are not finite.
        """
        arrays = [np.asarray(d[()], np.float32) for d in self._datasets()]
        if not all(np.isfinite(a).all() for a in arrays):
            raise WeightsError(
                f"{self.path}: the weights of layer {self.name!r} are not "
                f"finite; {_REMEDY}"
            )
        return arrays

    def _datasets(self) -> list[h5py.Dataset]:
        found = []
        for key in self.keys:
            # A link is not followed: it may lead to a pipe, which blocks.
            link = self.group.get(key, getlink=True)
            item = self.group[key] if isinstance(link, h5py.HardLink) else None
            if (
                not isinstance(item, h5py.Dataset)
                or item.file.filename != self.group.file.filename
                or item.external
                or item.is_virtual
            ):
                raise WeightsError(
                    f"{self.path}: the weights of layer {self.name!r} lie in "
                    f"another file; {_REMEDY}"
                )
            found.append(item)
        return found


@contextlib.contextmanager
def opened(
    path: str | os.PathLike,
) -> Iterator[dict[str, StoredLayer]]:
    """Opens a file of weights: HDF5, or the one in a .keras zip.

    Args:
        path: A file of `store`, or of `Model.save_weights` or `Model.save` of
            Keras 1 to 3.

    Yields:
        Layer name -> its arrays, for the layers that have some.

    Raises:
        WeightsError: It is no such file, or its body met with damage in it.
    """
    try:
        with contextlib.ExitStack() as stack:
            f = h5py.File(_hdf5(path, stack), "r")
            yield _stored(stack.enter_context(f), path)
    except DAMAGE as e:
        raise WeightsError(
            f"{path}: cannot be read as an HDF5 file of weights "
            f"({_one_line(e)}); {_REMEDY}"
        ) from e


def assign(
    model,
    path: str | os.PathLike,
    layers: Mapping[str, str],
    change: Callable[[str, list[np.ndarray]], list[np.ndarray]] | None = None,
) -> None:
    """Copies weights from a file into a model's layers, by name.

    Every shape is checked before anything is set.

    Args:
        model: A Keras model.
        path: What `opened` takes.
        layers: Name of the layer in `model` -> its name in the file.
        change: Turns (layer name, arrays of the file) into the arrays to set.

    Raises:
        WeightsError: The file is not HDF5, a layer is missing, or its arrays
            are not of the model's shapes or not finite.
    """
    values = {}
    with opened(path) as stored:
        for name, place in layers.items():
            if place not in stored:
                raise WeightsError(
                    f"{path}: holds no weights of a layer {place!r}; {_REMEDY}"
                )
            shapes = [tuple(w.shape) for w in model.get_layer(name).weights]
            found = stored[place].shapes
            if found != shapes:
                raise WeightsError(
                    f"{path}: the arrays of layer {place!r} must have the "
                    f"shapes {shapes}. Received: {found}"
                )
            values[name] = stored[place].read()
    for name, arrays in values.items():
        model.get_layer(name).set_weights(
            change(name, arrays) if change else arrays
        )


def store(model, path: str | os.PathLike) -> None:
    """Writes the weights of a flat model for `assign`, layer by layer.

    Not Keras' own format: that follows the order of the layers inside the
    model and has changed between Keras versions.
    """
    # In memory first: HDF5 itself was seen to crash (a segmentation fault in
    # its `close`, h5py 3) where the disk is full.
    image = io.BytesIO()
    with h5py.File(image, "w") as f:
        for layer in model.layers:
            if layer.weights:
                group = f.create_group(layer.name)
                names = [variable.name for variable in layer.weights]
                group.attrs["weight_names"] = names
                for name, array in zip(names, layer.get_weights()):
                    group[name] = array
    with open(path, "wb") as out:
        out.write(image.getbuffer())


def save_atomically(
    path: str | os.PathLike, save: Callable[[str], None]
) -> None:
    """Saves by a function that writes HDF5, or the like of Keras.

    Keras insists on the name's ending, so the file is made in a folder of
    its own, `.saving-...`, beside its place.

    Args:
        path: The file to be.
        save: Takes the path to write to.

    Raises:
        EmorecError: It cannot be written.
    """
    path = pathlib.Path(path)
    with (
        files.atomic(path) as temporary,
        tempfile.TemporaryDirectory(prefix=SAVING, dir=path.parent) as inner,
    ):
        made = os.path.join(inner, path.name)
        try:
            save(made)
        # h5py raises either on a full disk, over several lines.
        except (OSError, RuntimeError) as e:
            raise OSError(_one_line(e)) from e
        os.replace(made, temporary)


def _hdf5(path, stack):
    """Returns what h5py can open; `stack` closes it."""
    # A named pipe would hold us.
    if not os.path.isfile(path):
        raise OSError("there is no such file")
    if os.path.getsize(path) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    if not zipfile.is_zipfile(path):
        return path
    archive = stack.enter_context(zipfile.ZipFile(path))
    if archive.getinfo(_ARCHIVED).file_size > MAX_BYTES:
        raise ValueError(f"its {_ARCHIVED} has more than {MAX_BYTES} bytes")
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
    stack.enter_context(copy)
    # zipfile gives no more bytes than the size it was asked about.
    with archive.open(_ARCHIVED) as member:
        shutil.copyfileobj(member, copy)
    return copy


def _stored(root, path) -> dict[str, StoredLayer]:
    """Finds the layers, whichever Keras wrote them.

    Keras 1 and 2 name the group after the layer and list the arrays; Keras 3
    calls it by class, keeps the layer's name as an attribute of its `vars`,
    and numbers them. `visititems` follows no link.
    """
    found = {}

    def visit(place, group):
        if not isinstance(group, h5py.Group):
            return
        name = group.attrs.get("name")
        if "weight_names" in group.attrs:
            name = place.removeprefix("model_weights/")
            keys = tuple(map(_text, group.attrs["weight_names"]))
        elif isinstance(name, str):
            keys = tuple(sorted((n for n in group if n.isdecimal()), key=int))
        else:
            return
        if keys:
            found.setdefault(name, StoredLayer(path, name, group, keys))

    root.visititems(visit)
    return found


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _one_line(error) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
