"""Videos to batches of clips, decoded and cut ahead of who asks.

Three steps at once: a video is decoded (by its `FrameReader`), its faces are
found and its clips cut, and the caller has the clips answered. The next
video is opened, and its first frames decoded, while this one is analysed.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator

from emorec.config import Config
from emorec.errors import VideoError
from emorec.evaluation import batches
from emorec.predict_stages import Stage
from emorec.video import reader
from emorec.video.clip import Clip, ClipBuilder

# Clips that a backend is asked for at once; `batches.BATCH_BYTES` bounds
# their JPEGs too, since `clip.clip_frames` may be 4096.
BATCH_CLIPS = 8
# With so many frames a batch waits for no more: an encoder is as fast with 8
# as with 64, two thirds as fast with 3, half as fast with 1.
FULL_FRAMES = 16
# And with fewer so many seconds.
LINGER_S = 0.2


@dataclasses.dataclass(frozen=True)
class Cut:
    """A clip of a video; or, without one, the video's end.

    Attributes:
        video: The video as it was asked for.
        clip: The clip.
        error: Why the rest of the video could not be read.
        warning: What of the video could not be read.
    """

    video: str
    clip: Clip | None = None
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
        people: `all` or `main`.
    """

    def __init__(
        self, paths: Iterable[str], config: Config, detector, people: str
    ):
        self._config = config
        self._detector = detector
        self._people = people
        self._reading: reader.FrameReader | None = None
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
        """Yields (path, its reader or the error)."""
        for path in paths:
            try:
                opened = reader.read_frames(path, self._config.video)
            except VideoError as e:
                opened = e
            yield path, opened

    def _cut(self):
        """Yields the cuts of all videos."""
        for path, opened in self._opened:
            try:
                if isinstance(opened, VideoError):
                    raise opened
                with opened as self._reading:
                    for clip in self._builder().build(opened):
                        yield Cut(path, clip)
                    # Known only now that nothing is left of the file.
                    yield Cut(path, warning=opened.damage())
            except VideoError as e:
                yield Cut(path, error=str(e))
            self._reading = None

    def _builder(self) -> ClipBuilder:
        config = self._config
        return ClipBuilder(
            self._detector,
            config,
            fps=config.video.fps,
            window_frames=config.clip.clip_frames,
            people=self._people,
        )


def _close(item):
    _, opened = item
    if isinstance(opened, reader.FrameReader):
        with contextlib.closing(opened):
            pass
