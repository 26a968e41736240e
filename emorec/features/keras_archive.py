"""Untrusted .keras and HDF5 files: bounds, links and a private copy.

The description of the model in a file goes through `keras_check`.
"""

import hashlib
import json
import os
import pathlib
import shutil
import stat
import zipfile

import h5py

from emorec.errors import ModelError
from emorec.features import keras_check, layer_weights

MAX_BYTES = layer_weights.MAX_BYTES
MAX_CONFIG_BYTES = 16 << 20
_MAX_OBJECTS = 200_000
_CHUNK = 1 << 20
_CONFIG, _ARRAYS = "config.json", "model.weights.h5"
_MEMBERS = (_CONFIG, "metadata.json", _ARRAYS)
_HDF5 = b"\x89HDF\r\n\x1a\n"


def unpack(path: str | os.PathLike, folder: str | os.PathLike):
    """Makes a checked private copy of a Keras file.

    Keras then reads what was checked: the original may change meanwhile.

    Args:
        path: A .keras or HDF5 file, told apart by its first bytes.
        folder: An empty folder for the copy.

    Returns:
        (place for `keras.models.load_model`, SHA-256 of the file).

    Raises:
        ModelError: The file is neither, is too large or damaged, or its
            description names something that is not allowed.
    """
    path, folder = pathlib.Path(path), pathlib.Path(folder)
    copy = folder / "copy.h5"
    digest, magic = _copy(path, copy)
    try:
        if magic.startswith(b"PK\x03\x04"):
            place = folder / "model"
            place.mkdir()
            _unzip(copy, place, path)
        elif magic == _HDF5:
            place = copy
            with h5py.File(copy, "r") as f:
                _check_arrays(f, path)
                keras_check.check(_parse(_description(f, path), path), path)
        else:
            raise ModelError(
                f"{path}: neither a .keras zip nor an HDF5 file; pickles and "
                "other formats are never read, so save the model by Keras' "
                "`model.save`"
            )
    except layer_weights.DAMAGE as e:
        raise ModelError(
            f"{path}: cannot be read as a Keras file "
            f"({' '.join(str(e).split())[:200]}); save the model again"
        ) from e
    return place, digest


def _copy(path, target):
    """Copies a file of bounded size; returns its SHA-256 and first bytes."""
    digest, size, magic = hashlib.sha256(), 0, b""
    try:
        # Non-blocking, so that a named pipe cannot hold us.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(number, "rb") as f, open(target, "wb") as out:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise ModelError(f"{path}: not a file; give a Keras file")
            while chunk := f.read(_CHUNK):
                magic = magic or chunk[:8]
                size += len(chunk)
                if size > MAX_BYTES:
                    raise ModelError(
                        f"{path}: a Keras file may have {MAX_BYTES} bytes at "
                        "most; save it without its optimizer"
                    )
                digest.update(chunk)
                out.write(chunk)
    except OSError as e:
        raise ModelError(
            f"{path}: cannot be read ({e.strerror or e}); give a readable "
            "Keras file"
        ) from e
    return digest.hexdigest(), magic


def _unzip(copy, place, path):
    """Writes the checked description and the arrays of a .keras zip."""
    with zipfile.ZipFile(copy) as archive:
        infos = [i for i in archive.infolist() if not i.is_dir()]
        names = sorted(i.filename for i in infos)
        if not set(names) <= set(_MEMBERS) or len(set(names)) != len(names):
            odd = next(
                (n for n in names if n not in _MEMBERS), "a member twice"
            )
            raise ModelError(
                f"{path}: a .keras file holds {', '.join(_MEMBERS)} and "
                f"nothing else. Received: {odd[:80]!r}; save the model "
                "without layers that keep files"
            )
        if archive.getinfo(_CONFIG).file_size > MAX_CONFIG_BYTES:
            raise ModelError(f"{path}: {_CONFIG} is longer than 16 MiB")
        if archive.getinfo(_ARRAYS).file_size > MAX_BYTES:
            raise ModelError(f"{path}: {_ARRAYS} is longer than 2 GiB")
        # Reading stops at the declared size, whatever is packed behind it.
        config = _parse(archive.read(_CONFIG), path)
        keras_check.without_compile(config)
        keras_check.check(config, path)
        (place / _CONFIG).write_text(json.dumps(config))
        with archive.open(_ARRAYS) as f, open(place / _ARRAYS, "wb") as out:
            if f.peek(8)[:8] != _HDF5:
                raise ModelError(f"{path}: {_ARRAYS} in it is no HDF5 file")
            shutil.copyfileobj(f, out, _CHUNK)
    with h5py.File(place / _ARRAYS, "r") as f:
        _check_arrays(f, path)


def _description(f, path):
    """Returns the description in an HDF5 file, as text."""
    if "model_config" not in f.attrs:
        raise ModelError(
            f"{path}: holds weights alone, without a description of the "
            "model; give a file of Keras' `model.save`"
        )
    size = f.attrs.get_id("model_config").get_storage_size()
    text = f.attrs["model_config"] if size <= MAX_CONFIG_BYTES else ""
    if not isinstance(text, str | bytes) or len(text) > MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: its `model_config` is longer than 16 MiB")
    return text


def _parse(text, path) -> dict:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ModelError(
            f"{path}: its description of the model is no JSON "
            f"({' '.join(str(e).split())[:200]}); save the model again"
        ) from e
    if not isinstance(config, dict):
        raise ModelError(f"{path}: its description is no JSON object")
    return config


def _check_arrays(f, path):
    """Refuses HDF5 that reaches out of the file, or unpacks without bounds."""
    stack, seen, size = [f], set(), 0
    while stack:
        group = stack.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(
                    f"{path}: {name[:80]!r} in it is a link, which could "
                    "lead to another file; save the model again"
                )
            found = group[name]
            number = h5py.h5o.get_info(found.id).addr
            if number in seen:
                continue
            seen.add(number)
            if isinstance(found, h5py.Group):
                stack.append(found)
            elif not isinstance(found, h5py.Dataset) or (
                found.external
                or found.is_virtual
                or found.dtype.kind not in "biuf"
            ):
                raise ModelError(
                    f"{path}: {name[:80]!r} in it is no array of numbers; "
                    "save the model again"
                )
            else:
                size += found.nbytes
            if size > MAX_BYTES or len(seen) > _MAX_OBJECTS:
                raise ModelError(
                    f"{path}: its arrays unpack to more than {MAX_BYTES} "
                    "bytes; save it without its optimizer"
                )
