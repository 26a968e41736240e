"""Paths, local or with the scheme of a file system, such as `s3://`.

Nothing here opens a file. A path with a scheme is never given to pathlib or
os.path, which would make one slash of two.
"""

import os


def is_remote(path: str | os.PathLike) -> bool:
    """Whether `path` names a file system by scheme, such as `s3://`."""
    scheme, separator, _ = str(path).partition("://")
    return bool(separator) and scheme.isalnum()


def scheme_of(path: str | os.PathLike) -> str:
    """Returns `s3` of `s3://bucket/file`; "" of a local path."""
    return str(path).partition("://")[0].lower() if is_remote(path) else ""


def compression(path: str | os.PathLike) -> str:
    """Returns how the records of a file are compressed: "GZIP" or ""."""
    return "GZIP" if str(path).endswith(".gz") else ""


def join(path: str | os.PathLike, *names: str) -> str:
    """Returns the path of something below a folder, local or remote."""
    if not is_remote(path):
        return os.path.join(path, *names)
    return "/".join([str(path).rstrip("/"), *(n.strip("/") for n in names)])


def parent(path: str | os.PathLike) -> str:
    """Returns the folder that holds `path`."""
    if not is_remote(path):
        return os.path.dirname(path) or "."
    scheme, _, rest = str(path).partition("://")
    return f"{scheme}://{rest.rstrip('/').rpartition('/')[0]}"


def name(path: str | os.PathLike) -> str:
    """Returns the last part of a path."""
    return str(path).rstrip("/").rpartition("/")[2]


def relative(path: str | os.PathLike, folder: str | os.PathLike) -> str:
    """Returns `path` as seen from `folder`; as it is where only one is remote.

    No name of a machine is in it, if they are of one file system.
    """
    if is_remote(path):
        return str(path).removeprefix(f"{str(folder).rstrip('/')}/")
    return str(path) if is_remote(folder) else os.path.relpath(path, folder)
