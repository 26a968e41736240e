"""Files of other file systems, by TensorFlow's gfile: s3://, gs://, hdfs://.

`emorec.data.files` is what the rest of the code calls; it comes here for a
path with a scheme. Each function opens the path's file system first, for it
may run in a worker process that has opened none. No such path is ever given
to pathlib, which makes one slash of two.
"""

import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator

from emorec.data.paths import join, name, parent, scheme_of
from emorec.errors import EmorecError

# File systems whose plug-ins tensorflow-io carries; gs:// is TensorFlow's.
_PLUGIN_SCHEMES = ("s3", "http", "https", "az", "hdfs", "viewfs", "har")
# A file appears there when it is closed, whole; renaming would copy it.
_OBJECT_STORES = ("s3", "gs", "az")
_CHUNK_BYTES = 8 << 20
# A store that refuses a request or cannot be reached looks to gfile like one
# that lacks the file.
ABSENT = "there is no such file, or its storage cannot be reached"
_CHECK = "check the address, the bucket, its credentials and the network"


def open_file_system(path: str | os.PathLike) -> str:
    """Makes TensorFlow able to open `path`, and returns it.

    The one place that loads tensorflow-io, for the schemes that need it.

    Raises:
        EmorecError: The scheme needs tensorflow-io and it is not installed.
    """
    scheme = scheme_of(path)
    if scheme in _PLUGIN_SCHEMES:
        try:
            import tensorflow_io as tfio
        except ImportError as e:
            raise EmorecError(
                f"{path}: {scheme}:// paths need tensorflow-io; install "
                "emorec[tf]"
            ) from e
        # Plug-ins register when the library loads, which is lazy until an
        # attribute is touched.
        _ = tfio.experimental
        _end_well()
    return str(path)


@functools.cache
def _end_well():
    """Lets this process end with its own exit code.

    After a use of s3:// tensorflow-io 0.37.1 aborts it at its very end ("pure
    virtual method called", code 134), in a destructor of the library. So the
    destructors of libraries are left out, once Python has ended.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit") and hasattr(libc, "_exit"):
        # The C library calls what was registered last first, with the code.
        atexit.register(libc.on_exit, libc._exit, None)


def brief(error: Exception) -> str:
    """Returns an error of TensorFlow as one short line."""
    text = str(getattr(error, "message", None) or error)
    return " ".join(text.split()).lstrip(": ")[:200]


@contextlib.contextmanager
def _told(path, doing) -> Iterator:
    """Gives gfile, and turns its errors into one line."""
    open_file_system(path)
    import tensorflow as tf

    try:
        yield tf.io.gfile
    except tf.errors.OpError as e:
        raise EmorecError(
            f"{path}: cannot be {doing} ({brief(e)}); {_CHECK}"
        ) from e


def exists(path: str) -> bool:
    """Whether there is such a file or folder.

    False as well where the storage cannot be reached: gfile cannot tell.
    """
    with _told(path, "looked for") as gfile:
        folder = _folder(path)
        return gfile.isdir(folder) or gfile.exists(path)


def is_folder(path: str) -> bool:
    with _told(path, "looked for") as gfile:
        return gfile.isdir(_folder(path))


def _folder(path):
    # To the plug-in `s3://bucket` is an error, `s3://bucket/` its root.
    rest = path.partition("://")[2].rstrip("/")
    return path if "/" in rest else f"{path.rstrip('/')}/"


def stat(path: str) -> tuple[int, int]:
    """Returns a file's (bytes, time of change in ns; often whole seconds)."""
    with _told(path, "read") as gfile:
        found = gfile.stat(path)
        return found.length, found.mtime_nsec


def listing(folder: str) -> list[str]:
    """Returns the names in a folder, sorted; none where it is absent."""
    if not is_folder(folder):
        return []
    with _told(folder, "listed") as gfile:
        names = {n.rstrip("/") for n in gfile.listdir(_folder(folder))}
    return sorted(n for n in names if n)


def walk(folder: str) -> Iterator[str]:
    """Yields the paths of all files below a folder, relative to it."""
    for inner in listing(folder):
        path = join(folder, inner)
        if is_folder(path):
            yield from (f"{inner}/{below}" for below in walk(path))
        else:
            yield inner


def makedirs(path: str) -> None:
    """Makes a folder; object stores have none, and nothing is done there."""
    if scheme_of(path) not in _OBJECT_STORES:
        with _told(path, "made") as gfile:
            gfile.makedirs(path)


def remove(path: str) -> None:
    """Removes a file, or a folder and all in it, if it is there."""
    with _told(path, "removed") as gfile:
        if gfile.isdir(_folder(path)):
            gfile.rmtree(_folder(path))
        elif gfile.exists(path):
            gfile.remove(path)


def read_bytes(path: str, most: int) -> bytes:
    """Returns the first `most` bytes of a file, or all it has."""
    with _told(path, "read") as gfile, gfile.GFile(path, "rb") as f:
        return f.read(most)


def chunks(path: str) -> Iterator[bytes]:
    """Yields the content of a file, some MiB at a time."""
    with _told(path, "read") as gfile, gfile.GFile(path, "rb") as f:
        while data := f.read(_CHUNK_BYTES):
            yield data


def tail(path: str, count: int) -> bytes:
    """Returns the last `count` bytes of a file, or all it has."""
    with _told(path, "read") as gfile, gfile.GFile(path, "rb") as f:
        f.seek(max(f.size() - count, 0))
        return f.read(count)


def download(source: str, target: str | os.PathLike) -> None:
    """Copies a remote file to a local path."""
    with open(target, "wb") as f:
        for data in chunks(source):
            f.write(data)


def upload(source: str | os.PathLike, target: str) -> None:
    """Copies a local or remote file to a remote path, where it appears whole.

    Raises:
        EmorecError: It cannot be written; nothing new is there.
    """
    open_file_system(source)
    with _told(target, "written") as gfile:
        if scheme_of(target) in _OBJECT_STORES:
            gfile.copy(str(source), target, overwrite=True)
            return
        folder = parent(target)
        gfile.makedirs(folder)
        temporary = join(folder, f".{name(target)}.{os.getpid()}.tmp")
        try:
            gfile.copy(str(source), temporary, overwrite=True)
            gfile.rename(temporary, target, overwrite=True)
        finally:
            if gfile.exists(temporary):
                gfile.remove(temporary)


@contextlib.contextmanager
def local_name(path: str) -> Iterator[str]:
    """Gives a local path of the same base name, in a folder for a while."""
    folder = tempfile.mkdtemp(prefix="emorec-")
    try:
        yield os.path.join(folder, name(path) or "file")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
