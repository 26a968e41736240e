"""Frames and faces that come as arrays, in place of a video file.

They are sampled as a file is (`emorec.video.reader`): time is cut into cells
of 1/fps seconds, and the first picture of each is taken.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from emorec.config import Config
from emorec.errors import UsageError
from emorec.predict_cuts import Windows
from emorec.video import clip as clips
from emorec.video.clip import Clip
from emorec.video.reader import Frame, cell_of

MAX_FPS = 1000.0


def timed(
    frames: Iterable, times: Iterable[float] | None, fps: float | None
) -> Iterator[tuple[float, np.ndarray]]:
    """Yields (seconds, picture), each checked.

    Args:
        frames: uint8 [H, W, 3] RGB each; with neither times nor fps, pairs of
            seconds and such a picture.
        times: Seconds of each frame, not decreasing.
        fps: Frames per second, of frames without times.

    Raises:
        UsageError: A picture or a time is not what it must be.
    """
    if times is not None and fps is not None:
        raise UsageError("give `times` or `fps`, not both")
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise UsageError(
            f"`fps` must be above 0, at most {MAX_FPS:g}. Received: {fps}"
        )
    last = -np.inf
    for i, (time, frame) in enumerate(_pairs(frames, times, fps)):
        time = float(time)
        if not (np.isfinite(time) and time >= max(last, 0)):
            raise UsageError(
                "times must be seconds from 0 on that do not run backwards. "
                f"Received: {time} after {last} for frame {i}"
            )
        last = time
        yield time, picture(frame, f"frame {i}")


def _pairs(frames, times, fps) -> Iterator[tuple]:
    if fps is not None:
        yield from ((i / fps, frame) for i, frame in enumerate(frames))
        return
    if times is None:
        for i, item in enumerate(frames):
            if not (isinstance(item, tuple | list) and len(item) == 2):
                raise UsageError(
                    "frames without `times` or `fps` must be pairs of seconds "
                    f"and a picture. Received: {type(item).__name__} as "
                    f"frame {i}"
                )
            yield item
        return
    try:
        yield from zip(times, frames, strict=True)
    except ValueError as e:
        raise UsageError(f"`times` must be as many as the frames ({e})") from e


def picture(image, name: str) -> np.ndarray:
    """Returns a picture after a check.

    Raises:
        UsageError: It is not uint8 [H, W, 3].
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(
            f"{name} must be an RGB picture, uint8 [H, W, 3]. Received: "
            f"{image.dtype} {list(image.shape)}"
        )
    if 0 in image.shape:
        raise UsageError(f"{name} has no pixels. Received: {list(image.shape)}")
    return image


def sampled(
    pairs: Iterable[tuple[float, np.ndarray]], fps: float
) -> Iterator[Frame]:
    """Yields the first frame of each cell of 1/fps seconds."""
    for i, (cell, time, image) in enumerate(_firsts(pairs, fps)):
        yield Frame(i, cell, time, image)


def _firsts(pairs, fps) -> Iterator[tuple]:
    """Yields (cell, seconds, item) of each cell's first item."""
    last = -1
    for time, item in pairs:
        cell = cell_of(time, 0.0, fps)
        if cell > last:
            last = cell
            yield cell, time, item


def face_clips(
    faces: Sequence,
    context: Sequence | None,
    times: Sequence[float] | None,
    config: Config,
) -> Iterator[Clip]:
    """Yields the clips of one person's faces that are cut out already.

    Args:
        faces: uint8 [h, w, 3] RGB each, of any sizes.
        context: Whole frames uint8 [H, W, 3] RGB, or crops of them, as many
            as the faces; None where the model reads none: its crops are then
            empty.
        times: Seconds of each face; by default at `video.fps`.
        config: Its `video.fps` and `clip` sections.

    Raises:
        UsageError: A picture, their number or a time is not what it must be.
    """
    if not len(faces):
        raise UsageError("`faces` must hold one picture or more. Received: 0")
    if context is not None and len(context) != len(faces):
        raise UsageError(
            "`context` must be as many pictures as `faces`. Received: "
            f"{len(context)} for {len(faces)}"
        )
    fps, frames = config.video.fps, config.clip.clip_frames
    given = timed(faces, times, fps if times is None else None)
    around = [None] * len(faces) if context is None else context
    pairs = ((t, (face, c)) for (t, face), c in zip(given, around))
    found = itertools.groupby(
        _firsts(pairs, fps), lambda found: found[0] // frames
    )
    last = None
    for window, parts in found:
        if last is not None:
            yield _face_clip(*last, config, (last[0] + 1) * frames)
        last = window, list(parts)
    window, parts = last
    yield _face_clip(window, parts, config, parts[-1][0] + 1)


def _face_clip(window, parts, config, last_cell) -> Clip:
    """Returns the clip of one window; `parts` are what `_firsts` gives."""
    fps, frames = config.video.fps, config.clip.clip_frames
    faces = [face for _, _, (face, _) in parts]
    around = [context for _, _, (_, context) in parts]
    boxes = [[0, 0, face.shape[1], face.shape[0]] for face in faces]
    return Clip(
        track=0,
        window=window,
        start=window * frames / fps,
        end=min((window + 1) * frames, last_cell) / fps,
        times=np.array([time for _, time, _ in parts], np.float32),
        boxes=np.array(boxes, np.float32),
        face=tuple(
            _stored(face, np.array(box), config.clip)
            for face, box in zip(faces, boxes)
        ),
        context=tuple(_stored_context(c, config.clip) for c in around),
        frames_total=len(parts),
        frame_size=(faces[0].shape[1], faces[0].shape[0]),
    )


def _stored(face, box, config) -> bytes:
    """A face as a clip holds it: a square, with its border repeated."""
    crop = clips.face_crop(face, box, config.crop_size, 0.0)
    return clips.encode_jpeg(crop, config.jpeg_quality)


def _stored_context(image, config) -> bytes:
    if image is None:
        return b""
    crop = clips.context_crop(
        picture(image, "a picture of `context`"), config.crop_size
    )
    return clips.encode_jpeg(crop, config.jpeg_quality)


def windows_of(every) -> Windows | None:
    """Returns what `every` of `EmotionRecognizer.predict` means.

    Raises:
        UsageError: It is neither seconds nor two of them.
    """
    if every is None or isinstance(every, Windows):
        return every
    if isinstance(every, str):
        return Windows.parse(every)
    try:
        if isinstance(every, int | float):
            return Windows(float(every))
        window, stride = map(float, every)
    except (TypeError, ValueError):
        raise UsageError(
            "`every` must be seconds of a window, or (window, stride) in "
            f"seconds. Received: {every!r}"
        ) from None
    return Windows(window, stride)
