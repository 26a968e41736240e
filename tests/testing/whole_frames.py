"""Whole frames as JPEG, and what the clip builder makes of the same pixels."""

import cv2
import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.video.clip import Clip, ClipBuilder
from emorec.video.reader import Frame, read_frames
from emorec.video.tracks import iou_matrix


def encoded(image: np.ndarray, quality: int = 95) -> bytes:
    """Encodes uint8 RGB with chroma halved, as cameras do."""
    ok, data = cv2.imencode(
        ".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert ok
    return data.tobytes()


def decoded(jpeg: bytes) -> np.ndarray:
    """Decodes to uint8 RGB as the graph does."""
    return tf.io.decode_jpeg(
        jpeg, channels=3, dct_method="INTEGER_ACCURATE"
    ).numpy()


def of_video(
    path, config: Config, count: int, start: int = 0
) -> tuple[list[bytes], np.ndarray]:
    """Samples a video; returns JPEGs and times f32, at most `count` each."""
    with read_frames(str(path), config.video) as reader:
        frames = [f for i, f in zip(range(start + count), reader)][start:]
    times = np.array([f.time for f in frames], np.float32)
    return [encoded(f.image) for f in frames], times


def padded(rows, length: int) -> np.ndarray:
    """Returns JPEGs as [B, length]."""
    return np.array(
        [[*row, *[b""] * (length - len(row))] for row in rows], object
    )


def padded_times(rows, length: int) -> np.ndarray:
    """Returns times as f32 [B, length]; padding is what nobody may read."""
    made = np.full((len(rows), length), np.nan, np.float32)
    for row, times in zip(made, rows):
        row[: len(times)] = times
    return made


def main_clip(detector, config: Config, jpegs, times) -> Clip:
    """Builds the main person's clip of one window from the same pixels."""
    frames = [
        Frame(i, i, float(time), decoded(jpeg))
        for i, (jpeg, time) in enumerate(zip(jpegs, times))
    ]
    builder = ClipBuilder(
        detector,
        config,
        fps=config.video.fps,
        window_frames=4096,
        people="main",
    )
    (clip,) = builder.build(frames)
    return clip


def compare(clip: Clip, row: dict, times) -> tuple[float, int]:
    """Holds one row of `VideoStreams` against a clip.

    Args:
        clip: From `main_clip`.
        row: The outputs of that row, with padding.
        times: Those of its frames.

    Returns:
        The smallest IoU of a box, and the largest difference of a crop's
        pixel; 1 and 0 where there is no face.
    """
    n = clip.frames_with_face
    where = [int(np.flatnonzero(times == t)[0]) for t in clip.times]
    assert np.flatnonzero(row["found"]).tolist() == where
    assert not row["boxes"][~row["found"]].any()
    pixels = [0]
    for stream in ("face", "context"):
        assert all(row[stream][:n]) and not any(row[stream][n:])
        for theirs, ours in zip(getattr(clip, stream), row[stream]):
            a, b = decoded(theirs).astype(int), decoded(ours)
            assert a.shape == b.shape
            pixels.append(int(np.abs(a - b).max()))
    ious = np.diag(iou_matrix(clip.boxes, row["boxes"][where]))
    return float(ious.min(initial=1.0)), max(pixels)
