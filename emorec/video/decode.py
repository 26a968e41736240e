"""Decodes a video in order, past damage, with times that never go back."""

import dataclasses
import math
from collections.abc import Iterator

import av
import av.format

from emorec.config import VideoConfig
from emorec.errors import VideoError
from emorec.video.container import (
    LIBAV_ERRORS,
    OpenVideo,
    check_pixels,
    duration_of,
    reason,
    seconds,
    shown,
)

# So many packets in a row without a picture but with an error: given up.
MAX_ERRORS = 100
# A start later than this is reached by one seek, in containers with an index
# (elsewhere a seek is a guess): to the keyframe before start - _MARGIN_S.
SEEK_FROM_S = 5.0
_MARGIN_S = 2.0
_INDEXED = ("mov", "matroska")
# A step back further than this is a splice, less is jitter.
_SPLICE_S = 0.5
# As is a leap ahead of more than this (the ffmpeg tool's own bound).
_LEAP_S = 10.0
_DEFAULT_STEP_S = 1 / 25


@dataclasses.dataclass
class Progress:
    """How far decoding is; written by one thread, read by others.

    Attributes:
        decoded: Frames decoded so far, sampled or not.
        damaged: Packets that failed, and frames that libav marks as corrupt.
        last_time: Time in seconds of the last decoded frame.
        last_duration: How long that frame is shown, in seconds: as stated,
            and at least the largest step between two frames so far.
        stated: Length in seconds that the pictures have by the file's own
            word; None where it has none or speaks of something else.
    """

    decoded: int = 0
    damaged: int = 0
    last_time: float = 0.0
    last_duration: float = 0.0
    stated: float | None = None


class Clock:
    """Gives each decoded frame, in order of display, its time in seconds.

    Time 0 is the stream's stated start, or the first frame where that is
    missing or later. A frame without a timestamp follows the one before it by
    the average step. Where timestamps fall back (spliced files), time goes on
    from there; a small fall back repeats the time before it. So does time
    where they leap ahead in a container of broadcasts (MPEG-TS and the like),
    whose clock may be reset at any point; elsewhere a leap is a real pause.

    Args:
        stream: The PyAV video stream.
        may_leap: The container is such a one.
    """

    def __init__(self, stream, may_leap: bool):
        base = stream.time_base
        self._numerator, self._denominator = base.numerator, base.denominator
        self._origin = stream.start_time
        rate = seconds(stream.average_rate)
        self._step = 1 / rate if rate else _DEFAULT_STEP_S
        self._most = _LEAP_S if may_leap else math.inf
        self._shift = 0.0
        self._last = None

    def __call__(self, pts: int | None) -> float:
        if self._last is None:
            self._last = self._first(pts)
            return self._last
        following = self._last + self._step
        if pts is None or self._origin is None:
            self._last = following
            return following
        time = self._raw(pts) + self._shift
        if not -_SPLICE_S <= time - self._last <= self._most:
            self._shift += following - time
            time = following
        self._last = max(self._last, time)
        return self._last

    def pts(self, time: float) -> int:
        """Returns the timestamp at or before `time`, for seeking."""
        ticks = int(time * self._denominator / self._numerator)
        return (self._origin or 0) + ticks

    def rewound(self):
        """Lets the next frame have any time, after a seek."""
        self._last = None

    def _first(self, pts):
        if pts is None:
            return 0.0
        if self._origin is None or pts < self._origin:
            self._origin = pts
        return self._raw(pts)

    def _raw(self, pts):
        # One division of integers, so the nearest float to the true time.
        return (pts - self._origin) * self._numerator / self._denominator


class Decoder:
    """All frames of an open video, in order.

    A packet that cannot be decoded is counted and skipped; a file that is cut
    short gives the frames that it has.

    Args:
        opened: The file.
        config: Gives `max_pixels`.
        progress: Is kept up to date.
    """

    def __init__(
        self, opened: OpenVideo, config: VideoConfig, progress: "Progress"
    ):
        self._opened = opened
        self._config = config
        self._progress = progress
        flags = opened.container.format.flags
        self._clock = Clock(
            opened.stream, bool(flags & av.format.Flags.ts_discont.value)
        )
        progress.stated = _stated(opened)

    def frames(self, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yields (time in seconds, frame): the first frame, then the rest.

        Args:
            start: What lies before this time in seconds, the first frame
                aside, may be left out.

        Raises:
            VideoError: No frame can be decoded, or none any more.
        """
        timed = self._timed()
        first = next(timed, None)
        if first is None:
            count = self._progress.damaged
            damage = f" ({damaged(count)})" if count else ""
            raise VideoError(
                f"{shown(self._opened.path)}: no frame of it can be decoded"
                f"{damage}; check that it plays elsewhere"
            )
        yield first
        if start > SEEK_FROM_S and self._is_indexed():
            timed = self._seek(start)
        yield from timed

    def _is_indexed(self) -> bool:
        name = self._opened.container.format.name
        return self._opened.seekable and name.startswith(_INDEXED)

    def _seek(self, start: float):
        """Goes to the keyframe before `start`, or back to the beginning."""
        goal = self._clock.pts(start - _MARGIN_S)
        for pts in (goal, self._clock.pts(0)):
            try:
                self._opened.container.seek(pts, stream=self._opened.stream)
            except LIBAV_ERRORS as e:
                raise VideoError(
                    f"{shown(self._opened.path)}: cannot go to {start:g} s "
                    f"({reason(e)}); leave the start out"
                ) from e
            self._clock.rewound()
            timed = self._timed()
            first = next(timed, None)
            # A wrong index may lead past the start.
            if first is not None and first[0] <= start:
                break
        if first is not None:
            yield first
        yield from timed

    def _timed(self) -> Iterator[tuple[float, av.VideoFrame]]:
        # Begins anew after a seek, whose leap is no step.
        before, most = None, 0.0
        tick = float(self._opened.stream.time_base)
        for frame in self._sequence():
            self._progress.decoded += 1
            self._progress.damaged += frame.is_corrupt
            self._check_pixels(frame)
            time = self._clock(frame.pts)
            if before is not None:
                most = max(most, time - before)
            before = time
            self._progress.last_time = time
            self._progress.last_duration = max(most, frame.duration * tick)
            yield time, frame

    def _check_pixels(self, pictures):
        check_pixels(
            self._opened.path, pictures.width, pictures.height, self._config
        )

    def _sequence(self) -> Iterator[av.VideoFrame]:
        stream = self._opened.stream
        errors = 0
        packets = self._opened.container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except EOFError:
                return  # The decoder was drained already.
            except IndexError:
                # PyAV 16 at the file's end, once ours is drained, if damage
                # has made MPEG-TS streams appear since the opening.
                return
            except LIBAV_ERRORS as e:
                errors += 1
                self._progress.damaged += 1
                # libavcodec fails where the picture outgrows `max_pixels`.
                self._check_pixels(stream)
                if errors > MAX_ERRORS:
                    raise VideoError(
                        f"{shown(self._opened.path)}: {errors} packets in a "
                        f"row cannot be decoded ({reason(e)}); repair it or "
                        "convert it to H.264"
                    ) from e
                # An error of the demuxer ends its generator; go on after it.
                packets = self._opened.container.demux(stream)
                continue
            if frames:
                errors = 0
            yield from frames


def damaged(packets: int) -> str:
    """Returns the words for so many damaged packets."""
    return f"{packets} damaged packet{'s' if packets != 1 else ''}"


def _stated(opened: OpenVideo) -> float | None:
    """Returns the length in seconds that the pictures should have, or None.

    The container's length is that of its longest stream, which may be sound,
    so it counts only where the pictures are alone. Where the times may leap,
    and where there are none, no length is stated: libav guesses it from the
    last packets or the bit rate.
    """
    stream, container = opened.stream, opened.container
    flags = av.format.Flags
    guessed = flags.ts_discont.value | flags.no_timestamps.value
    if container.format.flags & guessed:
        return None
    length = duration_of(opened)
    if stream.duration is not None or length is None:
        return length
    if len(container.streams) > 1:
        return None
    # Matroska counts it from 0, not from the first picture.
    return length - max(0.0, float((stream.start_time or 0) * stream.time_base))
