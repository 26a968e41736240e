"""Files, local or remote: atomic writing, JSON, copies.

A file appears under its final name only when it is complete. A path is local,
or names a file system by its scheme (`s3://bucket/file`); the latter is opened
through TensorFlow, and through tensorflow-io where TensorFlow alone does not
know the scheme, which is imported only then.
"""

import contextlib
import glob
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

from emorec.data import remote
from emorec.data.paths import (
    compression,
    is_remote,
    join,
    name,
    parent,
    relative,
)
from emorec.data.remote import open_file_system
from emorec.errors import EmorecError

__all__ = [
    "atomic",
    "compression",
    "copy",
    "copy_tree",
    "exists",
    "is_folder",
    "is_remote",
    "join",
    "listing",
    "local_copy",
    "makedirs",
    "name",
    "open_file_system",
    "parent",
    "read_json",
    "relative",
    "remove",
    "remove_leftovers",
    "stat",
    "tail",
    "write_json",
]

# No description that emorec writes comes near it.
_MAX_JSON_BYTES = 1 << 30
_MAKE_SPACE = "free some space or choose another place"


def exists(path: str | os.PathLike) -> bool:
    """Whether there is such a file or folder."""
    if is_remote(path):
        return remote.exists(str(path))
    return os.path.exists(path)


def is_folder(path: str | os.PathLike) -> bool:
    """Whether there is such a folder."""
    if is_remote(path):
        return remote.is_folder(str(path))
    return os.path.isdir(path)


def stat(path: str | os.PathLike) -> tuple[int, int]:
    """Returns a file's (bytes, time of its last change in ns).

    Raises:
        EmorecError: It is remote and cannot be read.
        OSError: It is local and cannot be read.
    """
    if is_remote(path):
        return remote.stat(str(path))
    # Not by gfile, whose times are whole seconds.
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def tail(path: str | os.PathLike, count: int) -> bytes:
    """Returns the last `count` bytes of a file, or all it has."""
    if is_remote(path):
        return remote.tail(str(path), count)
    with open(path, "rb") as f:
        f.seek(max(os.fstat(f.fileno()).st_size - count, 0))
        return f.read(count)


def listing(folder: str | os.PathLike) -> list[str]:
    """Returns the names in a folder, sorted; none where it is absent.

    Raises:
        EmorecError: It is no folder, or it cannot be read.
    """
    if is_remote(folder):
        return remote.listing(str(folder))
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as e:
        raise EmorecError(
            f"{folder}: cannot be listed ({e.strerror}); it must be a folder"
        ) from e


def makedirs(path: str | os.PathLike) -> None:
    """Makes a folder and those above it, unless it is there.

    Raises:
        EmorecError: It cannot be made.
    """
    if is_remote(path):
        remote.makedirs(str(path))
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as e:
        raise EmorecError(
            f"{path}: cannot be made ({e.strerror or e}); {_MAKE_SPACE}"
        ) from e


def remove(path: str | os.PathLike) -> None:
    """Removes a file, or a folder and all in it, if it is there.

    Raises:
        EmorecError: It cannot be removed.
    """
    if is_remote(path):
        remote.remove(str(path))
        return
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as e:
        raise EmorecError(
            f"{path}: cannot be removed ({e.strerror or e}); remove it "
            "yourself or choose another place"
        ) from e


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a local temporary path; on success `path` becomes its content.

    It lies beside `path` and is renamed to it. For a remote path it lies in
    the folder for temporary files and is copied. On an error, a full disk
    among them, the temporary file is removed and `path` is what it was.

    Raises:
        EmorecError: The file cannot be written; the message names it.
    """
    if is_remote(path):
        with _told(path), remote.local_name(str(path)) as temporary:
            yield pathlib.Path(temporary)
            remote.upload(temporary, str(path))
        return
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def _told(path):
    try:
        yield
    except OSError as e:
        raise EmorecError(
            f"{path}: cannot be written ({e.strerror or e}); {_MAKE_SPACE}"
        ) from e


def remove_leftovers(path: str | os.PathLike) -> None:
    """Removes what killed processes of this machine left of `atomic(path)`."""
    if is_remote(path):
        return
    path = pathlib.Path(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            left.unlink(missing_ok=True)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # Another user's, or no process id of this machine's kind.
    return True


@contextlib.contextmanager
def local_copy(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a local path to a file: its own, or that of a temporary copy.

    The copy has the file's base name and is gone afterwards. It may be large:
    ask `stat` first.

    Raises:
        EmorecError: A remote file cannot be read, or there is no space.
    """
    if not is_remote(path):
        yield pathlib.Path(path)
        return
    with remote.local_name(str(path)) as copied:
        with _told(copied):
            remote.download(str(path), copied)
        yield pathlib.Path(copied)


def copy(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies a file, either side local or remote; it appears whole.

    Raises:
        EmorecError: It cannot be read or written; nothing new is there.
    """
    if not is_remote(source) and not os.path.isfile(source):
        raise EmorecError(
            f"{source}: is no file to copy to {target}; check the path"
        )
    if is_remote(target):
        remote.upload(source, str(target))
        return
    with atomic(target) as temporary:
        if is_remote(source):
            remote.download(str(source), temporary)
        else:
            shutil.copyfile(source, temporary)


def walk(folder: str | os.PathLike) -> list[str]:
    """Returns the paths of all files below a folder, relative to it, sorted."""
    if is_remote(folder):
        return sorted(remote.walk(str(folder)))
    return sorted(
        os.path.relpath(os.path.join(place, file), folder)
        for place, _, inner in os.walk(folder)
        for file in inner
    )


def copy_tree(
    source: str | os.PathLike, target: str | os.PathLike, last: str = ""
) -> None:
    """Copies all files below a folder, either side local or remote.

    Files of the same names are replaced, others stay.

    Args:
        source: A folder.
        target: The folder to be.
        last: Relative path of the file that is copied after all others, for
            readers who take its presence for the whole.

    Raises:
        EmorecError: There is no file, or one cannot be read or written.
    """
    found = walk(source)
    if not found:
        raise EmorecError(
            f"{source}: holds no file to copy to {target}; check the path"
        )
    for file in sorted(found, key=lambda file: file == last):
        copy(join(source, file), join(target, file))


def write_json(path: str | os.PathLike, value) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(
            json.dumps(value, indent=2, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )


def read_json(path: str | os.PathLike, what: str, remedy: str) -> dict:
    """Reads a JSON object that emorec wrote.

    Args:
        path: The file.
        what: What the file is, for the message.
        remedy: What makes it, for the message.

    Raises:
        EmorecError: It is absent, unreadable or no JSON object.
    """
    try:
        value = json.loads(_text(path))
        if isinstance(value, dict):
            return value
        problem = "it holds no JSON object"
    except FileNotFoundError:
        problem = remote.ABSENT if is_remote(path) else "there is no such file"
    except (OSError, ValueError) as e:
        problem = str(e)
    raise EmorecError(f"{path}: no {what} ({problem}); {remedy}")


def _text(path) -> str:
    if not is_remote(path):
        return pathlib.Path(path).read_text(encoding="utf-8")
    if not remote.exists(str(path)):
        raise FileNotFoundError(path)
    return remote.read_bytes(str(path), _MAX_JSON_BYTES).decode("utf-8")
