"""Clips: the paired face and context streams of one person.

Frames are cut into windows of a fixed number of sampling cells, which may
overlap; one clip is one person's frames in one window. A frame in which the
person has no face is in neither stream (paper, section V-B); how many there
were is kept. Crops are stored as JPEG on every path, so that records, a server
and `predict` see the same pixels.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from emorec.config import Config
from emorec.errors import UsageError
from emorec.video.follow import Follower
from emorec.video.reader import Frame
from emorec.video.tracks import Tracker

PEOPLE = ("all", "main")


@dataclasses.dataclass(frozen=True)
class Clip:
    """Two streams of one track in one window, n frames each.

    Attributes:
        track: The person's number within the video; -1 in the clip of a
            video without a face.
        window: The window's number, counted from the first frame asked for.
        start: Seconds; where the window begins.
        end: Seconds; where the window, or the video, ends.
        times: float32 [n], seconds.
        boxes: float32 [n, 4], x0, y0, x1, y1 in pixels of the frame.
        face: n JPEG images of crop_size x crop_size.
        context: n JPEG images of the same size.
        frames_total: Frames sampled in the window, with a face or not.
        frame_size: Width and height of the video's frames, pixels.
    """

    track: int
    window: int
    start: float
    end: float
    times: np.ndarray
    boxes: np.ndarray
    # Not in a `repr`: an error's would be megabytes.
    face: tuple[bytes, ...] = dataclasses.field(repr=False)
    context: tuple[bytes, ...] = dataclasses.field(repr=False)
    frames_total: int
    frame_size: tuple[int, int]

    @property
    def frames_with_face(self) -> int:
        return len(self.face)


class ClipBuilder:
    """Turns sampled frames into clips; memory is bounded by two windows.

    A window is given out when the next one that it shares no frame with is
    complete: only then is it known whether a person who enters late in it
    stays for `tracks.min_frames`. Windows that overlap share their crops.

    Args:
        detector: `emorec.video.faces.FaceDetector`, or another object whose
            `detect(frames)` gives boxes; with `detector.detect_every` above
            1 it needs `detect_near` too.
        config: Its `detector`, `tracks` and `clip` sections.
        fps: Rate at which the frames were sampled.
        window_frames: Cells in a window.
        stride_frames: Cells from one window's start to the next one's; by
            default a window's own, so that each frame is in one window. A
            last window that lies in the one before it is left out.
        people: `all`, or `main` for the person whose boxes cover most in
            each window.
        origin: Seconds; start of the first cell.
    """

    def __init__(
        self,
        detector,
        config: Config,
        *,
        fps: float,
        window_frames: int,
        stride_frames: int | None = None,
        people: str = "all",
        origin: float = 0.0,
    ):
        if people not in PEOPLE:
            raise UsageError(
                f"`people` must be {' or '.join(PEOPLE)}. Received: {people!r}"
            )
        self._follower = Follower(detector, config.detector)
        self._config = config
        self._fps = fps
        self._window_frames = window_frames
        self._stride_frames = stride_frames or window_frames
        self._people = people
        self._origin = origin
        self._tracker = Tracker(config.tracks)
        self._seen: dict[int, int] = {}  # Track -> frames so far.
        self._best: dict[int, float] = {}  # Track -> best score so far.
        self._people_ids: dict[int, int] = {}  # Track -> number given out.
        self._frames = 0
        self._last_cell = -1
        self._size = (0, 0)
        self._gave = False

    @property
    def frames_total(self) -> int:
        """Frames in windows so far, with a clip or without, each once."""
        return self._frames

    def build(self, frames: Iterable[Frame]) -> Iterator[Clip]:
        """Yields the clips of one video, window by window, track by track.

        A video without any face gives one clip of track -1 without frames.
        """
        complete: list[_Window] = []
        filling: list[_Window] = []
        for frame, found in self._follower.follow(frames):
            while filling and self._ends(filling[0]) <= frame.cell:
                window = filling.pop(0)
                complete.append(window)
                while self._ends(complete[0]) <= self._begins(window):
                    yield from self._give(complete.pop(0), last=False)
            numbers = self._numbers(frame.cell)
            newest = filling[-1].number if filling else -1
            filling += (_Window(n) for n in numbers if n > newest)
            self._add(filling, frame, found)
        for window in (*complete, *filling):
            if not self._is_repeated(window):
                yield from self._give(window, last=True)
        if not self._gave:
            yield self._no_face()

    def _numbers(self, cell: int) -> range:
        """The windows that a cell lies in; none between two far apart."""
        first = (cell - self._window_frames) // self._stride_frames + 1
        return range(max(0, first), cell // self._stride_frames + 1)

    def _begins(self, window: "_Window") -> int:
        return window.number * self._stride_frames

    def _ends(self, window: "_Window") -> int:
        return self._begins(window) + self._window_frames

    def _is_repeated(self, window: "_Window") -> bool:
        """Whether all that the video has of a window is in the one before."""
        before = self._ends(window) - self._stride_frames
        return window.number > 0 and self._last_cell < before

    def _add(self, windows, frame, found):
        """Adds a frame to the windows that it lies in, if there are any."""
        self._last_cell = frame.cell
        height, width = frame.image.shape[:2]
        self._size = (width, height)
        self._frames += bool(windows)
        for window in windows:
            window.frames_total += 1
        if not len(found.boxes):
            return
        clip = self._config.clip
        ids = self._tracker.update(frame.time, found.boxes)
        for track, score in zip(ids, found.scores, strict=True):
            self._seen[track] = self._seen.get(track, 0) + 1
            self._best[track] = max(self._best.get(track, 0.0), float(score))
        if not windows:
            return
        context = encode_jpeg(
            context_crop(frame.image, clip.crop_size), clip.jpeg_quality
        )
        for track, box in zip(ids, found.boxes, strict=True):
            face = encode_jpeg(
                face_crop(frame.image, box, clip.crop_size, clip.face_margin),
                clip.jpeg_quality,
            )
            part = (frame.time, np.asarray(box, np.float32), face, context)
            for window in windows:
                window.parts.setdefault(track, []).append(part)

    def _give(self, window, last):
        # Stated at `video.fps`; training samples more densely.
        rate = self._fps / self._config.video.fps
        least = max(1, round(self._config.tracks.min_frames * rate))
        if last:
            least = min(least, self._frames)
        parts = {
            track: part
            for track, part in sorted(window.parts.items())
            if self._seen[track] >= least
            and self._best[track] >= self._config.tracks.min_score
        }
        if self._people == "main" and parts:
            # Ties go to the lowest id: max() keeps the first of equals.
            main = max(parts, key=lambda track: _covered(parts[track]))
            parts = {main: parts[main]}
        for track, part in parts.items():
            self._gave = True
            times, boxes, face, context = zip(*part)
            yield Clip(
                track=self._people_ids.setdefault(track, len(self._people_ids)),
                window=window.number,
                times=np.asarray(times, np.float32),
                boxes=np.stack(boxes),
                face=face,
                context=context,
                frames_total=window.frames_total,
                frame_size=self._size,
                **self._span(window.number),
            )

    def _span(self, number):
        first = number * self._stride_frames
        last = min(first + self._window_frames, self._last_cell + 1)
        return {
            "start": self._origin + first / self._fps,
            "end": self._origin + last / self._fps,
        }

    def _no_face(self):
        return Clip(
            track=-1,
            window=0,
            start=self._origin,
            end=self._origin + (self._last_cell + 1) / self._fps,
            times=np.zeros(0, np.float32),
            boxes=np.zeros((0, 4), np.float32),
            face=(),
            context=(),
            frames_total=self._frames,
            frame_size=self._size,
        )


class _Window:
    """The frames of one window so far, by track."""

    def __init__(self, number: int):
        self.number = number
        self.frames_total = 0
        self.parts: dict[int, list] = {}


def _covered(part) -> float:
    """Sum of a part's box areas, in square pixels."""
    boxes = np.stack([box for _, box, _, _ in part]).astype(np.float64)
    return float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum())


def face_crop(
    image: np.ndarray, box: np.ndarray, size: int, margin: float
) -> np.ndarray:
    """Cuts the square around a face out of a frame.

    Args:
        image: uint8 [H, W, 3].
        box: float [4], x0, y0, x1, y1 in pixels.
        size: Side of the result in pixels.
        margin: Border on every side, as a share of the box's longer side.

    Returns:
        uint8 [size, size, 3]; what lies outside the frame repeats its border.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    side = max(x1 - x0, y1 - y0) * (1 + 2 * margin)
    side = max(1, round(side))
    left = round((x0 + x1 - side) / 2)
    top = round((y0 + y1 - side) / 2)
    height, width = image.shape[:2]
    inside = image[
        min(max(top, 0), height - 1) : max(min(top + side, height), 1),
        min(max(left, 0), width - 1) : max(min(left + side, width), 1),
    ]
    above, before = max(-top, 0), max(-left, 0)
    below = side - above - inside.shape[0]
    after = side - before - inside.shape[1]
    if above or before or below > 0 or after > 0:
        inside = cv2.copyMakeBorder(
            inside,
            min(above, side - inside.shape[0]),
            max(below, 0),
            min(before, side - inside.shape[1]),
            max(after, 0),
            cv2.BORDER_REPLICATE,
        )
    return _resize(inside, size)


def context_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Cuts the largest centered square out of a frame.

    Args:
        image: uint8 [H, W, 3].
        size: Side of the result in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _resize(image[top : top + side, left : left + side], size)


def _resize(image, size):
    # Area averaging shrinks without aliasing; it would only repeat pixels
    # when enlarging.
    shrinks = image.shape[0] > size
    return cv2.resize(
        image,
        (size, size),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Encodes an RGB image uint8 [H, W, 3] as a JPEG without chroma loss."""
    _, data = cv2.imencode(
        ".jpg",
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ],
    )
    return data.tobytes()
