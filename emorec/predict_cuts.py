"""Videos to batches of clips, decoded and cut ahead of who asks.

Three steps at once: a video is decoded (by its `FrameReader`), its faces are
found and its clips cut, and the caller has the clips answered. The next
video is opened, and its first frames decoded, while this one is analysed.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterable, Iterator

from emorec.config import Config
from emorec.errors import UsageError, VideoError
from emorec.evaluation import batches
from emorec.predict_sources import Sources, name_of
from emorec.predict_stages import Stage
from emorec.video.clip import PEOPLE, Clip, ClipBuilder
from emorec.video.live import LiveReader

# Clips that a backend is asked for at once; `batches.BATCH_BYTES` bounds
# their JPEGs too, since `clip.clip_frames` may be 4096.
BATCH_CLIPS = 8
# With so many frames a batch waits for no more: an encoder is as fast with 8
# as with 64, two thirds as fast with 3, half as fast with 1.
FULL_FRAMES = 16
# And with fewer so many seconds.
LINGER_S = 0.2
# Frames of a window at most, as of `clip.clip_frames`: their crops are held.
MAX_WINDOW_FRAMES = 4096
# Windows that a frame may lie in: as often it is encoded.
MAX_OVERLAPS = 64
# How a live source is searched: what waits for the frames that are to come is
# three batches, and with `detect_every` above 1 as many times more.
LIVE = ("detector.detect_every=1", "detector.batch_frames=2")


@dataclasses.dataclass(frozen=True)
class Windows:
    """Sliding windows over a video, in seconds.

    Both are rounded to whole steps of the sampling.

    Attributes:
        window: Length.
        stride: From one's start to the next one's; None: they adjoin.
    """

    window: float
    stride: float | None = None

    def __post_init__(self):
        for value in (self.window, self.stride):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(
                    "`every` must be WINDOW or WINDOW,STRIDE in seconds, each "
                    f"over 0. Received: {self}"
                )

    def __str__(self) -> str:
        parts = (self.window, self.stride)
        return ",".join(f"{v:g}" for v in parts if v is not None)

    @classmethod
    def parse(cls, text: str) -> "Windows":
        """Reads `WINDOW` or `WINDOW,STRIDE`.

        Raises:
            UsageError: It is neither, or not of numbers over 0.
        """
        try:
            parts = [float(part) for part in text.split(",")]
            if len(parts) > 2:
                raise ValueError
        except ValueError:
            raise UsageError(
                "`every` must be WINDOW or WINDOW,STRIDE in seconds, as in "
                f"10 or 10,5. Received: {text!r}"
            ) from None
        return cls(*parts)

    def frames(self, fps: float) -> tuple[int, int]:
        """Returns a window's and a stride's frames at this rate.

        Raises:
            UsageError: The window is too long, or overlaps too many.
        """
        window = max(1, round(self.window * fps))
        stride = max(1, round((self.stride or self.window) * fps))
        if window > MAX_WINDOW_FRAMES:
            raise UsageError(
                f"`every` must give windows of {MAX_WINDOW_FRAMES} frames at "
                f"most, {MAX_WINDOW_FRAMES / fps:g} s at {fps:g} fps. "
                f"Received: {self}"
            )
        if window > stride * MAX_OVERLAPS:
            raise UsageError(
                f"`every` must put a frame in {MAX_OVERLAPS} windows at most; "
                f"take a longer stride. Received: {self}"
            )
        return window, stride


@dataclasses.dataclass(frozen=True)
class Cutting:
    """What a caller may say of how videos are cut into clips.

    Attributes:
        people: `all` or `main`.
        fps: Frames analysed per second; None: `video.fps` of the config.
        every: Windows; None: of `clip.clip_frames` frames that adjoin.
    """

    people: str = "all"
    fps: float | None = None
    every: Windows | None = None

    def __post_init__(self):
        if self.people not in PEOPLE:
            raise UsageError(
                f"`people` must be {' or '.join(PEOPLE)}. "
                f"Received: {self.people!r}"
            )
        if self.fps is not None and not 0.01 <= self.fps <= 240:
            raise UsageError(
                f"`fps` must be 0.01 to 240. Received: {self.fps!r}"
            )

    def rate(self, config: Config) -> float:
        """Returns the frames analysed per second."""
        return config.video.fps if self.fps is None else float(self.fps)

    def frames(self, config: Config) -> tuple[int, int]:
        """Returns a window's and a stride's frames.

        Raises:
            UsageError: See `Windows.frames`.
        """
        if self.every is None:
            return (config.clip.clip_frames,) * 2
        return self.every.frames(self.rate(config))

    def builder(
        self, detector, config: Config, *, is_live: bool = False
    ) -> ClipBuilder:
        """Returns what cuts one video.

        Args:
            detector: See `ClipBuilder`.
            config: The model's.
            is_live: Whether frames come as they happen. Then few wait for
                each other to be searched: a second's, not ten seconds'.
        """
        if is_live:
            config = config.override(LIVE)
        window, stride = self.frames(config)
        rate = self.rate(config)
        if self.fps is not None:
            # Else nobody would be the same in two frames of few a second.
            gap = max(config.tracks.max_gap_s, 1.5 / rate)
            config = config.override([f"tracks.max_gap_s={gap}"])
        return ClipBuilder(
            detector,
            config,
            fps=rate,
            window_frames=window,
            stride_frames=stride,
            people=self.people,
        )


@dataclasses.dataclass(frozen=True)
class Cut:
    """A clip of a video; or, without one, the video's end.

    Attributes:
        video: The video as it was asked for.
        clip: The clip.
        share: How much of the video is cut, 0 to 1; 0 where its length is
            not known.
        frames_total: At the end, the frames that were sampled.
        error: Why the rest of the video could not be read.
        warning: What of the video could not be read.
    """

    video: str
    clip: Clip | None = None
    share: float = 0.0
    frames_total: int = 0
    error: str | None = None
    warning: str | None = None

    @property
    def frames(self) -> int:
        """Frames that a backend has to answer for."""
        return self.clip.frames_with_face if self.clip else 0


def _jpeg_bytes(cut: Cut) -> int:
    if cut.clip is None:
        return 0
    return sum(map(len, cut.clip.face)) + sum(map(len, cut.clip.context))


class Cutter:
    """Cuts videos into clips, in two threads; see `batches`.

    It is a context manager: leaving it ends the threads, and what was not
    taken is dropped.

    Args:
        paths: The videos; taken from a thread, at most three ahead.
        config: How clips are cut.
        detector: A `FaceDetector` made with `config.detector`, for this
            alone until it is closed.
        cutting: How clips are cut otherwise than the config says.
        sources: How videos are opened.

    Raises:
        UsageError: The windows do not fit the rate.
    """

    def __init__(
        self,
        paths: Iterable[str],
        config: Config,
        detector,
        cutting: Cutting,
        sources: Sources,
    ):
        cutting.frames(config)
        self._sources = sources
        self._config = config
        self._detector = detector
        self._cutting = cutting
        self._reading = None
        self._opened = Stage(self._open(paths), 1, drop=_close)
        self._cuts = Stage(
            self._cut(),
            BATCH_CLIPS,
            most_bytes=batches.BATCH_BYTES,
            size=_jpeg_bytes,
        )

    def __enter__(self) -> "Cutter":
        return self

    def __exit__(self, *_):
        self._opened.close()
        # Its thread may wait for a frame; so it gets no more.
        _close((None, self._reading))
        self._cuts.close()

    def batches(self) -> Iterator[list[Cut]]:
        """Yields all cuts in order, with those of several videos together.

        No more than `BATCH_CLIPS` and `batches.BATCH_BYTES`, and what is
        there: a batch waits only for its first `FULL_FRAMES`, and not for
        long.

        Raises:
            Exception: Whatever fails, but a `VideoError`, which is a cut's
                `error`.
        """
        while batch := self._batch():
            yield batch

    def _batch(self) -> list[Cut]:
        batch, frames, room = [], 0, batches.BATCH_BYTES
        ends = 0.0
        while len(batch) < BATCH_CLIPS:
            if not batch:
                cut = self._cuts.take()
            elif 0 < frames < FULL_FRAMES:
                cut = self._cuts.take(ends - time.monotonic(), room)
            else:
                cut = self._cuts.take(0, room)
            if cut is None:
                break
            batch.append(cut)
            room -= _jpeg_bytes(cut)
            if not frames:
                ends = time.monotonic() + LINGER_S
            frames += cut.frames
        return batch

    def _open(self, paths):
        """Yields (video's name, its reader or the error)."""
        rate = self._cutting.rate(self._config)
        for path in paths:
            try:
                opened = self._sources.open(path, self._config.video, rate)
            except VideoError as e:
                opened = e
            yield name_of(path), opened

    def _cut(self):
        """Yields the cuts of all videos."""
        for name, opened in self._opened:
            builder = self._cutting.builder(
                self._detector,
                self._config,
                is_live=isinstance(opened, LiveReader),
            )
            try:
                if isinstance(opened, VideoError):
                    raise opened
                with opened as self._reading:
                    length = opened.info.duration or math.inf
                    for clip in builder.build(opened):
                        yield Cut(name, clip, min(clip.end / length, 1.0))
                    # Known only now that nothing is left of the file.
                    yield Cut(
                        name,
                        frames_total=builder.frames_total,
                        warning=opened.damage(),
                    )
            except VideoError as e:
                yield Cut(name, frames_total=builder.frames_total, error=str(e))
            self._reading = None


def _close(item):
    _, opened = item
    if opened is not None and not isinstance(opened, VideoError):
        with contextlib.closing(opened):
            pass
