"""Opens video files, which may be broken or hostile, as plain files only.

libavformat can follow what a file names: playlists (HLS, DASH, ffconcat),
image sequences, data references of QuickTime. So the bytes come from a file
object of ours that has no name, the demuxers are an allow-list of real
containers, and any further file or address that libav asks for is refused.
"""

import dataclasses
import errno
import math
import os
import stat

import av
import av.stream

from emorec.config import VideoConfig
from emorec.errors import VideoError

# Containers whose demuxers read the one file that they are given. Playlists,
# image sequences, devices and network formats are absent on purpose.
DEMUXERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,"
    "m4v,h263,ivf,obu,mjpeg,mxf,wtv,nut,rm,dv"
)
# One read; PyAV's default of 32 KiB takes the GIL ten times as often.
_READ_BYTES = 256 << 10
# What PyAV raises for bad input: libav's errors (which are also OSError,
# ValueError or RuntimeError) and its own.
LIBAV_ERRORS = (av.FFmpegError, OSError, ValueError, RuntimeError)
_PIXEL_SLACK = 64 << 16
_NOT_A_VIDEO = (
    av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
)


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What is known of a video once its first frame is decoded.

    Attributes:
        path: The path or the name as it was given.
        width: Width in pixels of the frames that come out: upright, with
            square pixels.
        height: Height in pixels, likewise.
        duration: Length in seconds as the container states it; None where it
            does not. A broken file may state anything.
        codec: The decoder's name, e.g. `h264`.
        container: The demuxer's name, e.g. `mov,mp4,m4a,3gp,3g2,mj2`.
        rotation: Degrees, counterclockwise, by which the stored pictures are
            turned to stand upright: 0, 90, 180 or 270.
        average_fps: The stream's average frames per second, or None.
    """

    path: str
    width: int
    height: int
    duration: float | None
    codec: str
    container: str
    rotation: int
    average_fps: float | None


class OpenVideo:
    """An open file, its demuxer and its video stream.

    Args:
        path: A local path.
        config: Bounds on the file and on the picture.
        name: What messages call it; by default the path.

    Raises:
        VideoError: It is not a plain file within the bounds that holds a
            video stream.
    """

    def __init__(self, path: str, config: VideoConfig, name: str | None = None):
        self.path = path if name is None else name
        self.file = _open_plain(path, config, shown(self.path))
        self.container = None
        self.seekable = True
        try:
            self.container = self._demux()
            self.stream = best_stream(self.path, self.container)
            bound(self.path, self.stream, config)
        except BaseException:
            self.close()
            raise

    def _demux(self):
        try:
            return _open_bytes(_Seekable(self.file))
        except LIBAV_ERRORS as e:
            error = e
        try:
            # A fragmented MP4 that is cut short: libav reads the index of all
            # fragments and fails at the last, unless it cannot seek.
            self.file.seek(0)
            container = _open_bytes(_OneWay(self.file))
            self.seekable = False
            return container
        except LIBAV_ERRORS:
            # libav has one error for damage and for what is not on the list.
            raise VideoError(
                f"{shown(self.path)}: cannot be read as a video "
                f"({reason(error)}); it may be cut short, or be a playlist or "
                "picture, which are not read: give an MP4 or Matroska file"
            ) from error

    def __enter__(self) -> "OpenVideo":
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the demuxer and the file; a second call does nothing."""
        if self.container is not None:
            self.container.close()
        self.file.close()


def shown(path: str) -> str:
    """Returns `path` fit for a one-line message."""
    return path if path.isprintable() else repr(path)


def reason(error: BaseException) -> str:
    """Returns libav's or the system's own words, on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__


def check_pixels(path: str, width: int, height: int, config: VideoConfig):
    """Raises `VideoError` where a picture is larger than the config allows.

    A size of 0 x 0, not known before the first frame is decoded, passes.
    """
    if width * height > config.max_pixels:
        raise VideoError(
            f"{shown(path)}: pictures of {width} x {height} are over "
            f"{config.max_pixels} pixels; make it smaller or raise "
            "video.max_pixels"
        )


def bound(path: str, stream, config: VideoConfig):
    """Bounds the pictures of a stream before one of them is decoded.

    Raises:
        VideoError: Its header states larger ones.
    """
    context = stream.codec_context
    check_pixels(path, context.width, context.height, config)
    # libavcodec then refuses a far larger picture before it is allocated. It
    # counts widths rounded up to 64: hence the slack.
    limit = config.max_pixels + _PIXEL_SLACK
    context.options = {"max_pixels": str(limit)}
    context.thread_type = "AUTO"


def seconds(stated: float | None) -> float | None:
    """Returns a duration or rate that a header states, if it can be true."""
    if stated is None:
        return None
    value = float(stated)
    return value if math.isfinite(value) and value > 0 else None


def duration_of(opened: OpenVideo) -> float | None:
    """Returns the stated length in seconds of the stream or the file."""
    stream = opened.stream
    if stream.duration is not None:
        return seconds(stream.duration * stream.time_base)
    if opened.container.duration is not None:
        return seconds(opened.container.duration / av.time_base)
    return None


def _open_plain(path: str, config: VideoConfig, name: str):
    """Opens a regular file of 1 to `max_file_bytes` bytes for reading.

    The descriptor itself is checked, so the file cannot be swapped between
    the check and the reading. Its file object is named by a number, so libav
    sees no path.
    """
    try:
        # A device is not even opened: that alone can act on it.
        _check_plain(name, os.stat(path), config)
        # O_NONBLOCK: a FIFO put there meanwhile must not block the opening.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.fdopen(os.open(path, flags), "rb")
    except (FileNotFoundError, NotADirectoryError) as e:
        raise VideoError(f"{name}: no such file; check the path") from e
    except PermissionError as e:
        raise VideoError(
            f"{name}: may not be read; check its permissions"
        ) from e
    except (OSError, ValueError) as e:
        raise VideoError(
            f"{name}: cannot be opened ({reason(e)}); check the path"
        ) from e
    try:
        _check_plain(name, os.fstat(file.fileno()), config)
    except VideoError:
        file.close()
        raise
    return file


class _OneWay:
    """A file that can only be read on; PyAV looks for no other method."""

    def __init__(self, file):
        self.read = file.read


class _Seekable(_OneWay):
    """A file for libav, which meets offsets that make no sense silently.

    Were `seek` to raise, PyAV would print the traceback to stderr at the
    next such offset of a damaged file.
    """

    def __init__(self, file):
        super().__init__(file)
        self.tell = file.tell
        self._seek = file.seek

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return -errno.EINVAL


def _open_bytes(file):
    # Not `options=`: with it PyAV 16 frees unset memory where streams are
    # found only after the header, as in MPEG-TS. "replace": metadata that is
    # not UTF-8 must not stop the reading.
    return av.open(
        file,
        "r",
        container_options={
            "format_whitelist": DEMUXERS,
            "protocol_whitelist": "",
            "max_streams": "256",
        },
        metadata_errors="replace",
        buffer_size=_READ_BYTES,
        io_open=_refuse_other_files,
    )


def _check_plain(name: str, status: os.stat_result, config: VideoConfig):
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{name}: is a folder; name the video files in it")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(
            f"{name}: is not a plain file (a pipe, socket or device); save "
            "the video to a file first"
        )
    if not status.st_size:
        raise VideoError(f"{name}: is empty (0 bytes); fetch it again")
    if status.st_size > config.max_file_bytes:
        raise VideoError(
            f"{name}: {status.st_size} bytes are over {config.max_file_bytes}"
            "; cut it, or raise video.max_file_bytes"
        )


def _refuse_other_files(url: str, flags: int, options: dict):
    raise PermissionError(f"a video may not open another file: {url!r}")


def best_stream(path: str, container):
    """Returns the stream that a player would show, never a cover picture."""
    streams = [
        s for s in container.streams.video if not s.disposition & _NOT_A_VIDEO
    ]
    if not len(container.streams):
        raise VideoError(
            f"{shown(path)}: holds no stream at all, or its index is missing "
            "because it is cut short; fetch it again"
        )
    if not streams:
        raise VideoError(
            f"{shown(path)}: has no video stream; give a file with pictures"
        )
    playable = [s for s in streams if s.codec_context is not None]
    if not playable:
        raise VideoError(
            f"{shown(path)}: no decoder for its video stream; convert it to "
            "H.264"
        )

    def rank(stream):
        default = bool(stream.disposition & av.stream.Disposition.default)
        return default, stream.width * stream.height

    return max(playable, key=rank)
