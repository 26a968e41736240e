"""Files: atomic writing, and paths of remote file systems.

A file appears under its final name only when it is complete. A path with a
scheme that TensorFlow alone does not know is opened through tensorflow-io,
which is imported only then.
"""

import contextlib
import glob
import json
import os
import pathlib
from collections.abc import Iterator

from emorec.errors import EmorecError

# File systems whose plug-ins tensorflow-io carries.
_PLUGIN_SCHEMES = ("s3", "http", "https", "az", "hdfs", "viewfs", "har")


def is_remote(path: str) -> bool:
    """Whether `path` names a file system by scheme, such as `s3://`."""
    scheme, separator, _ = str(path).partition("://")
    return bool(separator) and scheme.isalnum()


def open_file_system(path: str) -> str:
    """Makes TensorFlow able to open `path`, and returns it.

    Raises:
        EmorecError: The scheme needs tensorflow-io and it is not installed.
    """
    scheme = str(path).partition("://")[0].lower()
    if is_remote(path) and scheme in _PLUGIN_SCHEMES:
        try:
            import tensorflow_io as tfio
        except ImportError as e:
            raise EmorecError(
                f"{path}: {scheme}:// paths need tensorflow-io; install "
                "emorec[tf]"
            ) from e
        # Plug-ins register when the library loads, which is lazy until an
        # attribute is touched.
        del tfio.experimental
    return str(path)


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a temporary path beside `path`, renamed to it on success.

    On an error, a full disk among them, the temporary file is removed.

    Raises:
        EmorecError: The file cannot be written; the message names it.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        raise EmorecError(
            f"{path}: cannot be written ({e.strerror or e}); free some space "
            "or choose another place"
        ) from e
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(path: str | os.PathLike) -> None:
    """Removes what killed processes of this machine left of `atomic(path)`."""
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
        value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        problem = "it holds no JSON object"
    except FileNotFoundError:
        problem = "there is no such file"
    except (OSError, ValueError) as e:
        problem = str(e)
    raise EmorecError(f"{path}: no {what} ({problem}); {remedy}")
