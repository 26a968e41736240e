"""Writes frames as MP4 with H.264, as browsers and phones play it."""

import contextlib
import fractions
import os
import pathlib
from collections.abc import Iterator

import av

from emorec.errors import EmorecError
from emorec.video.container import LIBAV_ERRORS, reason
from emorec.video.reader import Frame

_TICKS = 90_000  # A second; MPEG's own.
_TICK = fractions.Fraction(1, _TICKS)
# Preset and quality of x264: no loss that is seen.
_ENCODERS = (
    ("libx264", {"preset": "veryfast", "crf": "21"}),
    ("libopenh264", {}),
)


@contextlib.contextmanager
def whole(path) -> Iterator[pathlib.Path]:
    """Gives a temporary path beside `path`, which gets its name in the end."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # libav's error for a folder that is absent names no reason.
        temporary.touch()
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        raise _unwritable(path, e) from e
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _unwritable(path, error) -> EmorecError:
    return EmorecError(
        f"{path}: cannot be written ({reason(error)}); free some space or "
        "choose another place"
    )


class Mp4Writer:
    """An MP4 of H.264; see `annotate`."""

    def __init__(self, temporary, path, size, rate):
        self._path = path
        self._last = -1
        # Not by name alone, in which libav would look for a protocol.
        self._container = av.open(
            f"file:{os.path.abspath(temporary)}",
            "w",
            format="mp4",
            # Its index first, so that a browser plays before all has come.
            options={"movflags": "+faststart"},
        )
        self._stream = self._add(size, rate)

    def _add(self, size, rate):
        name, options = _encoder()
        rate = min(max(round(rate or 25), 1), 240)
        stream = self._container.add_stream(name, rate, options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = stream.time_base = _TICK
        # Said, since players take large pictures for BT.709.
        context.colorspace = 6
        context.color_range = 1
        return stream

    def __enter__(self):
        return self

    def write(self, frame: Frame):
        pts = round(frame.time * _TICKS)
        if pts <= self._last:
            return  # Two frames of one time: the first is shown.
        self._last = pts
        picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
        picture.pts, picture.time_base = pts, _TICK
        self._mux(picture)

    def _mux(self, picture):
        try:
            self._container.mux(self._stream.encode(picture))
        except LIBAV_ERRORS as e:
            raise _unwritable(self._path, e) from e

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._mux(None)
            self._container.close()
        except LIBAV_ERRORS as e:
            if kind is None:
                raise _unwritable(self._path, e) from e


def _encoder() -> tuple[str, dict]:
    for name, options in _ENCODERS:
        if name in av.codecs_available:
            return name, options
    raise EmorecError(
        "this build of PyAV has no encoder of H.264 (libx264 or "
        "libopenh264); install PyAV's own wheel: pip install --force-reinstall "
        "av"
    )
