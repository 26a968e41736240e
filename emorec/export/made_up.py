"""Made-up clips as requests to each signature, for the proof and the warmup."""

from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import keys, records
from emorec.export import drawn_face
from emorec.training.bundle import Bundle
from emorec.video.clip import Clip, encode_jpeg

_QUALITY = 95
# What stands for a frame with a face.
FACE = "F"


def picture(rng: np.random.Generator, size: int) -> bytes:
    """Returns a JPEG of size x size pixels.

    Of smooth noise: one of plain noise is nothing like a crop.
    """
    small = rng.integers(0, 255, (8, 8, 3), np.uint8)
    return encode_jpeg(cv2.resize(small, (size, size)), _QUALITY)


def clip(
    face: Sequence[bytes], context: Sequence[bytes], config: Config
) -> Clip:
    """Returns a clip of such crops, one a step at `video.fps`."""
    frames, fps = len(face), config.video.fps
    size = config.clip.crop_size
    return Clip(
        track=0,
        window=0,
        start=0.0,
        end=frames / fps,
        times=(np.arange(frames) / fps).astype(np.float32),
        boxes=np.zeros((frames, 4), np.float32),
        face=tuple(face),
        context=tuple(context),
        frames_total=frames,
        frame_size=(size, size),
    )


def whole_frames(
    windows: Sequence[str], steps: int, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows of frames, with a drawn face in them or nobody.

    Args:
        windows: B texts, of a letter for each frame: `F` for one with a face.
        steps: T.
        config: Of the model; its detector and rate.

    Returns:
        `(JPEGs string [B, T], seconds f32 [B, T])`.
    """
    least = config.detector.min_face_size
    shown = {
        (i, kind): encode_jpeg(
            drawn_face.frame(i, least, kind == FACE), _QUALITY
        )
        for i, kind in {pair for w in windows for pair in enumerate(w)}
    }
    times = (np.arange(steps) / config.video.fps).astype(np.float32)
    return (
        padded(
            [[shown[pair] for pair in enumerate(w)] for w in windows], steps
        ),
        np.tile(times, (len(windows), 1)),
    )


def frame_records(clips: Sequence[Clip]) -> list[tf.train.Example]:
    """Returns the records of clips."""
    return [records.to_example(c, clip_id=str(i)) for i, c in enumerate(clips)]


def feature_records(
    bundle: Bundle,
    examples: Sequence[tf.train.Example],
    features: dict[str, np.ndarray],
) -> list[tf.train.Example]:
    """Returns records of frames as ones of features.

    Args:
        bundle: The model.
        examples: B records of frames.
        features: Input -> f32 [B, T, ...]; T may be more than a record has.
    """
    made = []
    for i, example in enumerate(examples):
        record = tf.train.Example.FromString(example.SerializeToString())
        feature = record.features.feature
        count = records.one(record, keys.FRAMES_WITH_FACE)
        for stream, encoder in bundle.encoders.items():
            feature.pop(keys.jpeg_key(stream), None)
            feature[keys.encoder_key(stream)].bytes_list.value.append(
                encoder.hash.encode()
            )
        for name, values in features.items():
            feature[keys.feature_key(name)].float_list.value.extend(
                values[i, :count].reshape(-1)
            )
        made.append(record)
    return made


def strings(values: Sequence[bytes]) -> np.ndarray:
    """Returns string [B]."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def serialized(examples: Sequence[tf.train.Example]) -> np.ndarray:
    """Returns string [B], the examples."""
    return strings([e.SerializeToString() for e in examples])


def padded(rows: Sequence[Sequence[bytes]], length: int) -> np.ndarray:
    """Returns string [B, T], "" as padding."""
    array = np.full((len(rows), length), b"", object)
    for row, values in zip(array, rows, strict=True):
        row[: len(values)] = values
    return array


def masked(counts: Sequence[int], length: int) -> np.ndarray:
    """Returns the mask bool [B, T] of rows of so many frames."""
    return np.arange(length)[None] < np.asarray(counts)[:, None]
