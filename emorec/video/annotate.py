"""Annotated videos: the persons of a prediction drawn on every frame.

The video is read once more, whole. A box lies between those of the analysed
frames before and after; a label and its bars are those of the window. Frames
keep their times, so a variable rate stays one. The sound is left out. Memory
is bounded by a few frames, whatever the video's length.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from emorec.config import Config
from emorec.errors import VideoError
from emorec.video import blur as blurring
from emorec.video.curves import Person, curves, step_of
from emorec.video.drawing import Artist, Seen
from emorec.video.mp4 import Mp4Writer, whole
from emorec.video.reader import Frame, cell_of, read_frames

# Longest side of the pictures, in pixels: what every browser and phone plays.
MAX_SIDE = 1920
# Small videos are enlarged to this shorter side: text would not be read.
MIN_SHORT_SIDE = 360
# So many frames a second at most are read: in effect all.
_ALL_FPS = 1000.0
# A face is shown between two boxes, of so many sampling steps at most.
_BRIDGE_STEPS = 2.5
# Seconds for which a place stays hidden after a face was found there, since
# the detector may miss the face in the frames that follow.
_HOLD_S = 0.5
# Frames in which faces to hide are looked for together.
_AT_ONCE = 4
# Frames that may wait for that, in memory.
_MOST_WAIT = 48


@dataclasses.dataclass(frozen=True)
class _Path:
    """A person's boxes over time.

    Attributes:
        times: float64 [n], rising.
        boxes: float64 [n, 4], shares of the frame's width and height.
        step: Seconds between analysed frames.
    """

    times: np.ndarray
    boxes: np.ndarray
    step: float

    def at(self, time: float, gap: float) -> np.ndarray | None:
        """Returns the box at `time`, or None.

        Args:
            time: Seconds.
            gap: Longest time in seconds between two boxes to go on over.
        """
        i = int(np.searchsorted(self.times, time, side="right")) - 1
        has_next = i + 1 < len(self.times)
        if i < 0:
            near = self.times[0] - time <= self.step / 2
            return self.boxes[0] if near else None
        before = self.times[i]
        if has_next and self.times[i + 1] - before <= gap:
            share = (time - before) / (self.times[i + 1] - before)
            return (1 - share) * self.boxes[i] + share * self.boxes[i + 1]
        # Shown until the next analysed frame, which has no such face.
        return self.boxes[i] if time - before < self.step else None


def annotate(
    video: str,
    results: Sequence,
    path: str | os.PathLike,
    *,
    config: Config,
    blur: bool = False,
    detector=None,
    progress: Callable[[float, float | None], None] = lambda done, total: None,
) -> None:
    """Writes a video with boxes, person numbers, labels and small bars.

    The file is MP4 with H.264 as every browser plays it, upright, at most
    `MAX_SIDE` pixels long. It gets its name when it is complete. Of a video
    that cannot be decoded to its end, what can be is written.

    Args:
        video: The video's local path.
        results: `Result`s of this video, and of no other; those of a whole
            video, and errors, are passed over.
        path: The file to write; local.
        config: The model's: bounds on the video, and the detector to hide
            faces with.
        blur: Hide all faces that the detector finds, those that are no
            person of the results too.
        detector: The `FaceDetector` whose engine finds them, not in use
            meanwhile, or a function that gives one; by default one is made,
            which needs TensorFlow.
        progress: Called with the seconds written so far and the video's
            length, None where it is not stated.

    Raises:
        VideoError: The video cannot be read.
        EmorecError: The file cannot be written.
    """
    people = curves(results)
    tracks = _paths(results)
    hider = None
    if blur:
        hider = blurring.FaceHider(detector, config.detector)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(
            read_frames(video, config.video, fps=_ALL_FPS)
        )
        info = reader.info
        size = picture_size(info.width, info.height)
        temporary = stack.enter_context(whole(path))
        writer = stack.enter_context(
            Mp4Writer(temporary, path, size, info.average_fps)
        )
        artist = Artist(*size)
        frames = _scaled(reader, size)
        if hider is not None:
            frames = _hidden(frames, hider, config.video.fps, tracks)
        for frame in frames:
            seen = _seen(frame, people, tracks)
            artist.draw(frame.image, seen)
            if not people:
                artist.note(frame.image, "no face found")
            writer.write(frame)
            progress(frame.time, info.duration)


def picture_size(width: int, height: int) -> tuple[int, int]:
    """Returns the width and height of the pictures, both even."""
    scale = max(1.0, MIN_SHORT_SIDE / min(width, height))
    scale = min(scale, MAX_SIDE / max(width, height))
    return tuple(max(2, round(v * scale / 2) * 2) for v in (width, height))


def _paths(results) -> dict[int, _Path]:
    """Puts each person's boxes of all windows into the order of time."""
    parts: dict[int, list] = {}
    for result in results:
        if result.clip is not None and len(result.clip.times):
            parts.setdefault(result.clip.track, []).append(result.clip)
    paths = {}
    for track, clips in parts.items():
        times = np.concatenate([c.times for c in clips]).astype(np.float64)
        boxes = np.concatenate(
            [np.asarray(c.boxes) / (c.frame_size * 2) for c in clips]
        )
        # Frames of windows that overlap come more than once.
        times, first = np.unique(times, return_index=True)
        paths[track] = _Path(times, boxes[first], step_of(clips[0]))
    return paths


def _scaled(frames, size) -> Iterator[Frame]:
    """Yields the frames at the size that is written.

    Ends where decoding fails: the results tell of it.
    """
    count = 0
    while True:
        try:
            frame = next(frames, None)
        except VideoError:
            if not count:
                raise
            return
        if frame is None:
            return
        count += 1
        image = frame.image
        if image.shape[1::-1] != size:
            shrinks = image.shape[1] > size[0]
            image = cv2.resize(
                image,
                size,
                interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
            )
        yield dataclasses.replace(frame, image=image)


def _seen(
    frame: Frame, people: Sequence[Person], tracks: dict[int, _Path]
) -> list[Seen]:
    height, width = frame.image.shape[:2]
    found = []
    for person in people:
        track = tracks[person.track]
        box = track.at(frame.time, _BRIDGE_STEPS * track.step)
        if box is not None:
            box = box * (width, height, width, height)
            found.append(
                Seen(person.track, box, person.at(frame.time), person.labels)
            )
    return found


def _hidden(frames, hider, fps: float, tracks) -> Iterator[Frame]:
    """Yields the frames with faces hidden.

    Faces are looked for once in each cell of 1/fps seconds. A frame's faces
    are those found in the cell's frame before it, in the one after it and, for
    `_HOLD_S`, in earlier ones; and those of the results.
    """
    found: list[tuple[float, np.ndarray]] = []
    waiting: list[Frame] = []
    keys: list[Frame] = []
    last = -1
    for frame in frames:
        waiting.append(frame)
        cell = cell_of(frame.time, 0.0, fps)
        if cell != last:
            keys.append(frame)
            last = cell
        if len(keys) == _AT_ONCE or len(waiting) == _MOST_WAIT:
            found = _looked(hider, found, keys, frame)
            yield from _covered(waiting, found, tracks)
            waiting, keys = [], []
    if waiting:
        found = _looked(hider, found, keys, waiting[-1])
        yield from _covered(waiting, found, tracks)


def _looked(hider, found, keys, last: Frame):
    """Adds the boxes of searched frames; drops those that hold no longer.

    The last frame is searched too, so that each lies between two such.
    """
    if not keys or keys[-1] is not last:
        keys = [*keys, last]
    boxes = hider.find([frame.image for frame in keys])
    oldest = keys[0].time - 2 * _HOLD_S
    kept = [(time, box) for time, box in found[:-1] if time >= oldest]
    news = [(frame.time, box) for frame, box in zip(keys, boxes)]
    return [*kept, *found[-1:], *news]


def _covered(frames, found, tracks) -> Iterator[Frame]:
    times = np.array([time for time, _ in found])
    for frame in frames:
        after = int(np.searchsorted(times, frame.time))
        begin = int(np.searchsorted(times, frame.time - _HOLD_S))
        # The one before it holds however long ago it was: a slow video.
        begin = min(begin, max(after - 1, 0))
        boxes = [box for _, box in found[begin : after + 1]]
        height, width = frame.image.shape[:2]
        for track in tracks.values():
            box = track.at(frame.time, max(_HOLD_S, 3 * track.step))
            if box is not None:
                boxes.append(box[None] * (width, height, width, height))
        if boxes:
            blurring.hide(frame.image, np.concatenate(boxes))
        yield frame
