"""Sampled RGB frames out of a video file.

Time is cut into cells of 1/fps seconds, and the first decoded frame of each
cell is taken. So a variable frame rate is sampled rightly, no frame comes
twice, and a video slower than fps gives all its frames.

Decoding runs in a thread of its own beside the detector, in one pass without
seeking from frame to frame (which measured 15 to 30 times slower), at most
`buffer_frames` ahead.
"""

import dataclasses
import math
import os
import threading

import numpy as np

from emorec.config import VideoConfig
from emorec.errors import UsageError, VideoError
from emorec.video.channel import Channel
from emorec.video.container import (
    OpenVideo,
    VideoInfo,
    duration_of,
    seconds,
    shown,
)
from emorec.video.decode import Decoder, Progress, damaged
from emorec.video.picture import Upright

__all__ = [
    "Frame",
    "FrameReader",
    "VideoInfo",
    "cell_of",
    "probe",
    "read_frames",
]

# Share of a cell by which a time may fall short of its edge: timestamps of
# 1/1000 s and sums of floats land a hair before it.
CELL_TOLERANCE = 1e-3
# How long closing waits for the thread to let go of the file.
_CLOSE_S = 5.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """One sampled frame.

    Attributes:
        index: Running number of the sampled frame, from 0.
        cell: The cell of 1/fps seconds, counted from `start`.
        time: Seconds from the video's start, whatever `start` is.
        image: uint8 [H,W,3] RGB, upright, of the size in `VideoInfo`.
    """

    index: int
    cell: int
    time: float
    image: np.ndarray


def cell_of(time: float, origin: float, fps: float) -> int:
    """Returns the cell of 1/fps seconds, counted from `origin`, of `time`."""
    return math.floor((time - origin) * fps + CELL_TOLERANCE)


def probe(path: str | os.PathLike, config: VideoConfig) -> VideoInfo:
    """Opens a video, decodes its first frame and returns what it is.

    Raises:
        VideoError: It cannot be opened, is out of bounds, or has no frames.
    """
    config = dataclasses.replace(config, buffer_frames=1)
    with read_frames(path, config) as reader:
        return reader.info


def read_frames(
    path: str | os.PathLike,
    config: VideoConfig,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float | None = None,
    name: str | None = None,
) -> "FrameReader":
    """Opens a video and returns the iterator of its sampled frames.

    Args:
        path: A local path.
        config: Bounds, and the fps unless `fps` is given.
        start: Frames before this time in seconds are left out; the cells
            count from it.
        end: Frames at or after this time in seconds are left out; None reads
            to the video's end.
        fps: Cells per second.
        name: What the video is called in messages and in the info; by
            default the path.

    Raises:
        UsageError: A time or rate makes no sense.
        VideoError: The video cannot be opened, is out of bounds or has no
            frames. The iterator raises it too: decoding hangs or is too
            damaged, the picture outgrows `max_pixels`, or the video is over
            before `start`.
    """
    return FrameReader(path, config, start=start, end=end, fps=fps, name=name)


class FrameReader:
    """Iterator over the `Frame`s of a video; see `read_frames`.

    It is a context manager, and closes itself at the end, on an error, and
    when it is dropped. A decoder that hangs is left behind in a daemon
    thread, which does not keep the process alive.

    Attributes:
        info: The `VideoInfo`.
        progress: Counts of decoded frames and of damage so far, and what
            `damage` judges from.
    """

    def __init__(
        self, path, config, *, start=0.0, end=None, fps=None, name=None
    ):
        fps = config.fps if fps is None else fps
        if not (math.isfinite(fps) and fps > 0):
            raise UsageError(f"`fps` must be over 0. Received: {fps!r}")
        if not (math.isfinite(start) and start >= 0):
            raise UsageError(f"`start` must be 0 or more. Received: {start!r}")
        if end is not None and not end > start:
            raise UsageError(
                f"`end` must be after `start`. Received: {end!r}, {start!r}"
            )
        path = os.fspath(path)
        self._name = shown(path if name is None else name)
        self._has_end = end is not None
        self._timeout = config.frame_timeout_s
        self._hangs = False
        self._channel = Channel(config.buffer_frames)
        self.progress = Progress()
        window = (start, math.inf if end is None else end, fps)
        # The target must not refer to `self`, or it would never be dropped.
        self._thread = threading.Thread(
            target=_decode,
            args=(self._channel, (path, name), config, self.progress, window),
            name="emorec-video",
            daemon=True,
        )
        self._thread.start()
        self.info: VideoInfo = self._wait("info")

    def __iter__(self) -> "FrameReader":
        return self

    def __next__(self) -> Frame:
        frame = self._wait("frame")
        if frame is None:
            self.close()
            raise StopIteration
        return frame

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if hasattr(self, "_channel"):
            self._channel.close()

    def damage(self) -> str | None:
        """Says what of the file could not be read, in one line, or None.

        To be asked when all frames have been taken.
        """
        found = []
        if self.progress.damaged:
            found.append(damaged(self.progress.damaged))
        stated = self.progress.stated
        # Not its last frame's start, which a slide show shows for minutes.
        ends = self.progress.last_time + self.progress.last_duration
        if not self._has_end and stated and stated - ends > _missing(stated):
            found.append(f"it ends at {ends:.1f} s of {stated:.1f} s")
        if not found:
            return None
        return (
            f"{self._name}: is damaged or cut short "
            f"({', '.join(found)}); the rest was used: get the file again"
        )

    def close(self):
        """Stops decoding and closes the file; a second call does nothing."""
        self._channel.close()
        self._thread.join(0 if self._hangs else _CLOSE_S)

    def _wait(self, what):
        try:
            return self._channel.take(what, self._timeout)
        except TimeoutError:
            self._hangs = True
            self.close()
            raise VideoError(
                f"{self._name}: no frame was decoded within "
                f"{self._timeout:g} s; the file is damaged or its disk too "
                "slow: copy or convert it, or raise video.frame_timeout_s"
            ) from None
        except BaseException:
            self.close()
            raise


def _missing(stated: float) -> float:
    """Seconds by which a whole video may end before its stated length."""
    # Headers round, and edit lists drop a few frames at either end.
    return max(1.0, 0.1 * stated)


def _decode(channel, file, config, progress, window):
    """The thread: decodes, samples and hands over, until done or closed."""
    try:
        path, name = file
        with OpenVideo(path, config, name) as opened:
            decoder = Decoder(opened, config, progress)
            _sample(channel, opened, config, decoder, *window)
    except BaseException as error:
        channel.finish(error)
    else:
        channel.finish()


def _sample(channel, opened, config, decoder, start, end, fps):
    convert, index, last, time = None, 0, -1, 0.0
    for time, picture in decoder.frames(start):
        if convert is None:
            aspect = opened.stream.sample_aspect_ratio
            convert = Upright(picture, aspect, opened.path, config.max_pixels)
            channel.open(_info(opened, convert))
        if not channel.beat():
            return
        if time >= end - CELL_TOLERANCE / fps:
            return
        cell = cell_of(time, start, fps)
        if cell <= last:
            continue
        last = cell
        if not channel.put(Frame(index, cell, time, convert(picture))):
            return
        index += 1
    if last < 0:
        raise VideoError(
            f"{shown(opened.path)}: its last frame is at {time:.3f} s, before "
            f"the start {start:g} s; give an earlier start"
        )


def _info(opened: OpenVideo, convert: Upright) -> VideoInfo:
    stream = opened.stream
    return VideoInfo(
        path=opened.path,
        width=convert.width,
        height=convert.height,
        duration=duration_of(opened),
        codec=stream.codec_context.name,
        container=opened.container.format.name,
        rotation=convert.rotation,
        average_fps=seconds(stream.average_rate),
    )
