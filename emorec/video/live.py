"""Sampled frames of a camera or a network stream, as they come.

What is live is decided by how a source is written (`emorec.video.addresses`).
Frames that the analysis has no time for are dropped, the oldest first, and
counted.
"""

import errno
import math
import threading
import time as clock

import av

from emorec.config import VideoConfig
from emorec.errors import VideoError
from emorec.video.addresses import Address, is_live
from emorec.video.channel import Channel
from emorec.video.container import (
    LIBAV_ERRORS,
    VideoInfo,
    best_stream,
    bound,
    check_pixels,
    reason,
    seconds,
    shown,
)
from emorec.video.decode import MAX_ERRORS, Clock
from emorec.video.picture import Upright
from emorec.video.reader import Frame, cell_of

__all__ = ["LiveReader", "is_live", "read_live"]

# Frames that may wait: an HLS stream begins with all that its list holds.
_WAITING = 256
# Beyond `duration`, for a stream whose clock stands still.
_GRACE_S = 10.0
_CLOSE_S = 5.0


def read_live(
    source: str,
    config: VideoConfig,
    *,
    name: str,
    fps: float,
    duration: float | None = None,
    stop: threading.Event | None = None,
) -> "LiveReader":
    """Opens a live source; returns the iterator of its sampled frames.

    Args:
        source: See `addresses.is_live`.
        config: Bounds.
        name: What it is called in messages.
        fps: Cells per second.
        duration: Seconds of the stream that are read; None: to its end.
        stop: Set, it ends the frames as a stream's end would.

    Raises:
        UsageError: The address is of no kind that is known.
        VideoError: It cannot be opened or has no pictures. The iterator
            raises it too: nothing comes for `config.frame_timeout_s`.
    """
    return LiveReader(
        Address.of(source), config, name, fps, duration, stop or _never()
    )


def _never() -> threading.Event:
    return threading.Event()


class LiveReader:
    """Iterator over the `Frame`s of a live source; see `read_live`.

    It has what `emorec.video.reader.FrameReader` has.

    Attributes:
        info: The `VideoInfo`; its duration is None.
    """

    def __init__(self, address, config, name, fps, duration, stop):
        self._name = shown(name)
        self._timeout = config.frame_timeout_s
        self._channel = Channel(_WAITING)
        self._broken: list[str] = []
        self._thread = threading.Thread(
            target=_decode,
            args=(
                self._channel,
                address,
                config,
                name,
                self._broken,
                (fps, math.inf if duration is None else duration, stop),
            ),
            name="emorec-live",
            daemon=True,
        )
        self._thread.start()
        self.info: VideoInfo = self._wait("info")

    def __iter__(self) -> "LiveReader":
        return self

    def __next__(self) -> Frame:
        frame = self._wait("frame")
        if frame is None:
            self.close()
            raise StopIteration
        return frame

    def __enter__(self) -> "LiveReader":
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if hasattr(self, "_channel"):
            self._channel.close()

    def damage(self) -> str | None:
        """Says what is missing, in one line, or None.

        To be asked when all frames have been taken.
        """
        found = list(self._broken)
        if self._channel.dropped:
            found.append(
                f"{self._channel.dropped} frames came faster than they were "
                "analysed and were dropped: take a lower --fps"
            )
        return f"{self._name}: {'; '.join(found)}" if found else None

    def close(self):
        """Ends the stream; a second call does nothing."""
        self._channel.close()
        self._thread.join(_CLOSE_S)

    def _wait(self, what):
        try:
            return self._channel.take(what, self._timeout)
        except TimeoutError:
            self._channel.close()
            raise VideoError(
                f"{self._name}: no picture came within {self._timeout:g} s; "
                "check that it is sent, or raise video.frame_timeout_s"
            ) from None
        except BaseException:
            self._channel.close()
            raise


def _decode(channel, address, config, name, broken, how):
    """The thread: decodes and hands over, until the end or closed."""
    try:
        with _opened(address, config, name) as container:
            stream = best_stream(name, container)
            bound(name, stream, config)
            pictures = _pictures(container, stream, name, broken)
            _sample(channel, container, stream, pictures, config, name, *how)
    except BaseException as error:
        channel.finish(error)
    else:
        channel.finish()


def _opened(address, config, name):
    try:
        return av.open(
            address.file,
            "r",
            format=address.format,
            container_options=address.options,
            metadata_errors="replace",
            # Ends a call that waits for the network.
            timeout=config.frame_timeout_s,
        )
    except LIBAV_ERRORS as e:
        raise VideoError(
            f"{shown(name)}: cannot be opened ({reason(e)}); check that it is "
            "there and may be read"
        ) from e


def _sample(
    channel, container, stream, pictures, config, name, fps, duration, stop
):
    convert, index, last = None, 0, -1
    times = Clock(stream, may_leap=True)
    ends = math.inf
    origin = None
    for picture in pictures:
        if stop.is_set() or not channel.beat():
            return
        check_pixels(name, picture.width, picture.height, config)
        time = times(picture.pts)
        if convert is None:
            origin, ends = time, clock.monotonic() + duration + _GRACE_S
            aspect = stream.sample_aspect_ratio
            convert = Upright(picture, aspect, name, config.max_pixels)
            channel.open(_info(name, container, stream, convert))
        # A stream is joined at any time; its clock began long ago.
        time -= origin
        if time >= duration or clock.monotonic() >= ends:
            return
        cell = cell_of(time, 0.0, fps)
        if cell > last:
            last = cell
            channel.offer(Frame(index, cell, time, convert(picture)))
            index += 1
    if convert is None:
        raise VideoError(
            f"{shown(name)}: it ended without a picture; check what is sent"
        )


def _pictures(container, stream, name, broken):
    """Yields decoded pictures, past damage, until the stream ends.

    Whether the sender ended it or it broke off, what came is of use: the
    reason is added to `broken`. HTTP has one error for both, and as a rule it
    is the end.
    """
    errors, came = 0, False
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            for picture in packet.decode():
                errors, came = 0, True
                yield picture
        except EOFError:
            return
        except av.InvalidDataError as e:
            # As a rule a stream is joined between two keyframes.
            errors += 1
            if errors > MAX_ERRORS:
                raise VideoError(
                    f"{shown(name)}: {errors} packets in a row cannot be "
                    f"decoded ({reason(e)}); check what is sent"
                ) from e
            packets = container.demux(stream)
        except LIBAV_ERRORS as e:
            if not came:
                raise VideoError(
                    f"{shown(name)}: broke off ({reason(e)}) before a picture "
                    "came; check what is sent"
                ) from e
            if getattr(e, "errno", None) != errno.EIO:
                broken.append(f"broke off ({reason(e)}); the rest was used")
            return


def _info(name, container, stream, convert) -> VideoInfo:
    return VideoInfo(
        path=name,
        width=convert.width,
        height=convert.height,
        duration=None,
        codec=stream.codec_context.name,
        container=container.format.name,
        rotation=convert.rotation,
        average_fps=seconds(stream.average_rate),
    )
