"""What a user may name as a video: files, folders, addresses, cameras.

| written as | is |
|---|---|
| `clip.mp4` | a file |
| `clips/`, `s3://bucket/clips/` | all videos in it and below it |
| `'clips/*.mp4'`, `'s3://bucket/*/a.mp4'` | those that match; `**` is deep |
| `s3://bucket/clip.mp4`, `https://host/clip.mp4` | a file, copied first |
| `0`, `rtsp://host/...`, `live:https://host/...` | live (`video.addresses`) |

A remote file is copied to a temporary one, within bounds, which is gone once
it is open; so it is read by the one reader of all files.
"""

import contextlib
import dataclasses
import fnmatch
import glob
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

from emorec.config import VideoConfig
from emorec.data import files, http_file, paths, remote, video_folder
from emorec.errors import EmorecError, UsageError, VideoError
from emorec.video import addresses, live, reader
from emorec.video.container import reason, shown

# A film in high definition; `--max_download_mb` sets another bound.
MAX_DOWNLOAD_BYTES = 4 << 30
_HTTP = ("http", "https")
_FETCH_S = 3600.0
_REMEDY = "make it readable or name the videos"


def expand(names: Sequence[str]) -> list[str]:
    """Returns the videos that are meant, folders and patterns resolved.

    What holds or matches nothing stays, to be told of as a video that cannot
    be read.

    Raises:
        UsageError: It is more than `video_folder.MAX_VIDEOS`.
        EmorecError: A folder cannot be read.
    """
    found: list[str] = []
    for name in names:
        found += sorted(_meant(name)) or [name]
        if len(found) > video_folder.MAX_VIDEOS:
            raise UsageError(
                f"{shown(name)}: more than {video_folder.MAX_VIDEOS} videos; "
                "name fewer"
            )
    return found


def name_of(source: str) -> str:
    """Returns what results call a video: no password is in it."""
    return addresses.without_secrets(source) if "://" in source else source


def is_remote(source: str) -> bool:
    """Whether it is a file that has to be copied first."""
    return paths.is_remote(source) and not addresses.is_live(source)


@dataclasses.dataclass(frozen=True)
class Sources:
    """How videos are opened.

    Attributes:
        max_bytes: Of a remote file.
        duration: Seconds of a live source that are read; None: to its end.
        stop: Set, it ends live sources; cannot be given to other processes.
    """

    max_bytes: int = MAX_DOWNLOAD_BYTES
    duration: float | None = None
    stop: threading.Event | None = None

    def open(self, source: str, config: VideoConfig, fps: float):
        """Opens a video; returns the iterator of its sampled frames.

        Args:
            source: One of `expand`.
            config: Bounds.
            fps: Frames per second.

        Returns:
            A `reader.FrameReader` or a `live.LiveReader`.

        Raises:
            VideoError: It cannot be fetched, opened, or has no frames.
        """
        name = name_of(source)
        try:
            if addresses.is_live(source):
                return live.read_live(
                    source,
                    config,
                    name=name,
                    fps=fps,
                    duration=self.duration,
                    stop=self.stop,
                )
            with self.local(source) as path:
                # A temporary file goes as soon as the reader has opened it.
                return reader.read_frames(path, config, fps=fps, name=name)
        except UsageError as e:
            raise VideoError(str(e)) from e

    @contextlib.contextmanager
    def local(self, source: str) -> Iterator[str]:
        """Gives the path of a video's file: its own, or a copy's for a while.

        Raises:
            VideoError: It is too large, or cannot be fetched.
        """
        if not is_remote(source):
            yield source
            return
        with tempfile.NamedTemporaryFile(prefix="emorec-video-") as file:
            try:
                _fetch(source, file, self.max_bytes)
                file.flush()
            except OSError as e:
                raise VideoError(
                    f"{shown(name_of(source))}: cannot be copied to "
                    f"{tempfile.gettempdir()} ({reason(e)}); free some space "
                    "or set $TMPDIR"
                ) from e
            yield file.name


def _meant(name: str) -> list[str]:
    """Returns what a folder or a pattern stands for; else nothing."""
    if addresses.is_live(name):
        return []
    if paths.is_remote(name):
        # HTTP has no listing.
        return [] if paths.scheme_of(name) in _HTTP else _remote(name)
    if os.path.isdir(name):
        return list(video_folder.beneath(name, _REMEDY))
    if os.path.lexists(name) or not glob.has_magic(name):
        return []
    found = []
    for path in glob.iglob(name, recursive=True):
        inner = os.path.isdir(path)
        found += video_folder.beneath(path, _REMEDY) if inner else [path]
    return list(dict.fromkeys(found))


def _remote(name: str) -> list[str]:
    if not glob.has_magic(name):
        if not files.is_folder(name):
            return []
        below = (files.join(name, path) for path in files.walk(name))
        return [p for p in below if video_folder.is_video(p)]
    scheme, _, rest = name.partition("://")
    parts = rest.split("/")
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    if not fixed:
        raise UsageError(
            f"{name}: a pattern must name its bucket. Received: {parts[0]}"
        )
    folder = f"{scheme}://{'/'.join(parts[:fixed])}"
    pattern = parts[fixed:]
    return [
        files.join(folder, path)
        for path in files.walk(folder)
        if _matches(path.split("/"), pattern)
    ]


def _matches(path: list[str], pattern: list[str]) -> bool:
    """Whether the parts of a path are those of a pattern; `**` is any."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(
            _matches(path[i:], pattern[1:]) for i in range(len(path) + 1)
        )
    return (
        bool(path)
        and fnmatch.fnmatchcase(path[0], pattern[0])
        and _matches(path[1:], pattern[1:])
    )


def _fetch(source: str, file, most: int) -> None:
    """Copies a remote file into an open one.

    Raises:
        VideoError: It is too large, is cut short, or cannot be had.
        OSError: The copy cannot be written.
    """
    name = shown(name_of(source))
    if paths.scheme_of(source) in _HTTP:
        stated, chunks = http_file.content(
            name_of(source), addresses.credentials(source)
        )
    else:
        stated, chunks = _gfile(source)
    with contextlib.closing(chunks):
        if stated is not None:
            _check_size(name, stated, most)
            _check_space(name, stated)
        ends = time.monotonic() + _FETCH_S
        held = 0
        for data in chunks:
            held += len(data)
            _check_size(name, held, most)
            if time.monotonic() > ends:
                raise VideoError(
                    f"{name}: was not there after {_FETCH_S:g} s; copy it "
                    "yourself and name the file"
                )
            file.write(data)
    if stated is not None and held < stated:
        raise VideoError(
            f"{name}: broke off after {held} of {stated} bytes; try again"
        )


def _check_size(name: str, size: int, most: int) -> None:
    if size > most:
        raise VideoError(
            f"{name}: over {most} bytes; copy it yourself and name the file, "
            "or raise --max_download_mb"
        )


def _check_space(name: str, size: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise VideoError(
            f"{name}: its {size} bytes are more than {folder} has room for "
            f"({free}); free some space or set $TMPDIR"
        )


def _gfile(source: str):
    """Returns the size and the content of a file of TensorFlow's systems."""
    try:
        size, _ = remote.stat(source)
    except EmorecError as e:
        raise VideoError(str(e)) from e

    def chunks():
        try:
            yield from remote.chunks(source)
        except EmorecError as e:
            raise VideoError(str(e)) from e

    return size, chunks()
