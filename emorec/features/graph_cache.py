"""Graphs of networks kept on disk, so that a command need not build them.

To build the networks of a prediction out of layers and weights takes a second
of a cold start, Keras' import among it; to read them as graphs, a tenth. They
lie in `$XDG_CACHE_HOME/emorec/graphs`, else `~/.cache/emorec/graphs`, one file
each with its SHA-256 before it. It is this user's own place, written by this
code alone: a model folder, which may come from anywhere, holds no graphs, as
a graph can do what a program can. The folder may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import emorec
from emorec.data import files
from emorec.errors import EmorecError
from emorec.features import weights

# Files that are kept, the last used ones: 3 of a model, 3 MB each at most.
MOST_FILES = 32
_DIGEST_BYTES = 32
_HERE = pathlib.Path(__file__).parents[1]
# What builds networks: with other code there, a graph is of no use.
_CODE = ("features", "models", "video")


def folder() -> pathlib.Path:
    """Where the graphs lie."""
    return weights.cache_dir().parent / "graphs"


def key_of(values: object, paths: Sequence[pathlib.Path] = ()) -> str:
    """Returns a key for what some values and files make.

    It changes with them and with the code that builds networks.

    Args:
        values: JSON values.
        paths: Files; their sizes and times stand for them.

    Raises:
        OSError: A file is absent.
    """
    code = [p for part in _CODE for p in sorted((_HERE / part).glob("*.py"))]
    stats = [(str(p), os.stat(p)) for p in (*code, *paths)]
    told = [(p, s.st_size, s.st_mtime_ns) for p, s in stats]
    text = json.dumps([emorec.__version__, values, told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def has(key: str, names: Sequence[str]) -> bool:
    """Says whether all those graphs are there; imports no TensorFlow."""
    try:
        return all(_file(key, name).is_file() for name in names)
    except EmorecError:  # There is no home folder.
        return False


def read(key: str, names: Sequence[str]) -> dict[str, bytes] | None:
    """Returns graphs by name; None where one is absent or damaged."""
    made = {}
    for name in names:
        try:
            data = _file(key, name).read_bytes()
            os.utime(_file(key, name))
        except (OSError, EmorecError):
            return None
        digest, graph = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(graph).digest() != digest:
            return None
        made[name] = graph
    return made


def write(key: str, graphs: Mapping[str, bytes]) -> None:
    """Keeps graphs; a place that cannot be written to keeps none."""
    with contextlib.suppress(EmorecError, OSError):
        for name, graph in graphs.items():
            with files.atomic(_file(key, name)) as temporary:
                temporary.write_bytes(hashlib.sha256(graph).digest() + graph)
        _forget()


def get(
    key: str,
    names: Sequence[str],
    make: Callable[[], Mapping[str, bytes]],
) -> Mapping[str, bytes]:
    """Returns the graphs that are kept, or makes and keeps them."""
    made = read(key, names)
    if made is None:
        made = make()
        write(key, made)
    return made


def _file(key: str, name: str) -> pathlib.Path:
    return folder() / f"{key}.{name}.pb"


def _forget() -> None:
    """Deletes the graphs that were not used for longest."""
    found = sorted(
        folder().glob("*.pb"), key=lambda p: p.stat().st_mtime, reverse=True
    )
    for path in found[MOST_FILES:]:
        path.unlink(missing_ok=True)
