"""Feature records to batches: sampling, padding, and the epochs' randomness.

Everything random is a function of (seed, epoch, place of the clip in the
epoch) and of TensorFlow's global seed, which `train` sets, so a resumed run
sees what an uninterrupted one would have seen.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import keys, mixing, records
from emorec.data.feature_files import FeatureFiles, shapes_of
from emorec.video.reader import CELL_TOLERANCE

# Of a clip too short to cut, at most this share is skipped at its beginning
# when a random first frame is drawn. Ours.
MAX_SKIPPED = 0.25
# Bounds of the shuffle's buffer: bytes of the longest records, and records.
SHUFFLE_BYTES = 512 << 20
SHUFFLE_RECORDS = (16, 2048)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How steps are taken from a record.

    Attributes:
        fps: Steps per second.
        phases: Phases that training draws from.
        clip_frames: Most steps of a clip.
    """

    fps: float
    phases: int
    clip_frames: int

    @classmethod
    def of(cls, config: Config) -> "Sampling":
        return cls(
            config.video.fps, config.data.train_phases, config.clip.clip_frames
        )


def select(
    times: tf.Tensor, start: tf.Tensor, phase: tf.Tensor, sampling: Sampling
) -> tf.Tensor:
    """Returns the indices of the frames of one phase.

    Time is cut into cells of 1 / fps that begin at `start` plus the phase's
    share of a cell; the first frame of each cell is taken. On a record that
    was sampled at fps itself, phase 0 takes every frame. (The same rule as in
    `emorec.video.reader`.)

    Args:
        times: float32 [n], seconds, increasing.
        start: float32 scalar, `clip/start`.
        phase: int32 scalar, 0 to phases - 1.
        sampling: The rate and the number of phases.

    Returns:
        int32 [m]. Where a later phase holds no frame at all, phase 0's.
    """
    offset = tf.cast(phase, tf.float32) / sampling.phases
    first = _first_of_cells(times, start, offset, sampling.fps)
    chosen = tf.cast(tf.where(first)[:, 0], tf.int32)
    # Where no frame lies behind the phase's offset, all are of one cell.
    return tf.cond(
        tf.size(chosen) > 0,
        lambda: chosen,
        lambda: tf.range(tf.minimum(tf.size(times), 1)),
    )


def _first_of_cells(times, start, offset, fps):
    """Whether each frame is the first of a cell: bool of `times`' shape."""
    times = tf.cast(times, tf.float64)
    start = tf.cast(start, tf.float64)[..., None]
    # Records hold float32: two hours into a film, a time and the start are
    # rounded by up to 2.4e-4 s each, more than the reader's tolerance.
    rounding = (tf.abs(times) + tf.abs(start)) * 2.0**-24
    shift = CELL_TOLERANCE - tf.cast(offset, tf.float64)
    cells = tf.floor((times - start + rounding) * fps + shift)
    before = tf.concat([-tf.ones_like(cells[..., :1]), cells[..., :-1]], -1)
    return (cells != before) & (cells >= 0)


def select_batch(
    times: tf.Tensor, start: tf.Tensor, counts: tf.Tensor, sampling: Sampling
) -> tuple[tf.Tensor, tf.Tensor]:
    """`select` of phase 0 for a padded batch, cut to clip_frames.

    Args:
        times: float32 [B, n], padded at the end.
        start: float32 [B].
        counts: int32 [B], frames of each row that are no padding.
        sampling: The rate and the length.

    Returns:
        `(indices int32 [B, m], mask bool [B, m])`; an index beyond the mask
        is 0.
    """
    valid = tf.sequence_mask(counts, tf.shape(times)[1])
    chosen = _first_of_cells(times, start, 0.0, sampling.fps) & valid
    # Chosen frames first, in their order: a stable sort of 0 before 1.
    order = tf.argsort(tf.cast(~chosen, tf.int32), axis=1, stable=True)
    kept = tf.minimum(
        tf.reduce_sum(tf.cast(chosen, tf.int32), axis=1), sampling.clip_frames
    )
    length = tf.reduce_max(tf.concat([kept, [0]], 0))
    mask = tf.sequence_mask(kept, length)
    return tf.where(mask, order[:, :length], 0), mask


def draw(
    times: tf.Tensor, start: tf.Tensor, seed: tf.Tensor, sampling: Sampling
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws a phase and a first frame for training (paper, section V-C).

    Args:
        times: float32 [n], seconds.
        start: float32 scalar.
        seed: int32 [2].
        sampling: Rate, phases and length.

    Returns:
        `(indices int32 [m], phase int32, first int32)`, m <= clip_frames.
    """
    numbers = tf.random.stateless_uniform((2,), seed)
    phase = tf.cast(numbers[0] * sampling.phases, tf.int32)
    chosen = select(times, start, phase, sampling)
    count = tf.size(chosen)
    spare = tf.maximum(
        count - sampling.clip_frames,
        tf.cast(tf.cast(count, tf.float32) * MAX_SKIPPED, tf.int32),
    )
    first = tf.cast(numbers[1] * tf.cast(spare + 1, tf.float32), tf.int32)
    return chosen[first : first + sampling.clip_frames], phase, first


def _spec(shapes: dict[str, tuple[int, ...]]) -> dict:
    """Returns the parse spec of a record of features.

    Args:
        shapes: Input -> shape of a step.
    """

    def floats(shape):
        return tf.io.FixedLenSequenceFeature(
            shape, tf.float32, allow_missing=True
        )

    return {
        keys.CLIP_ID: tf.io.FixedLenFeature((), tf.string),
        keys.CLIP_START: tf.io.FixedLenFeature((), tf.float32),
        keys.CLIP_LABEL_ID: tf.io.FixedLenFeature((), tf.int64),
        keys.FRAME_TIME: floats(()),
        **{keys.feature_key(n): floats(s) for n, s in shapes.items()},
    }


def _read(sources: Sequence[FeatureFiles]) -> tf.data.Dataset:
    """Reads the records of the same clips side by side, as strings [S]."""
    return tf.data.Dataset.zip(
        tuple(records.open_files(s.files) for s in sources)
    ).map(lambda *data: tf.stack(data))


def _parse(data, sources) -> dict:
    """Parses one clip's records, one from each source."""
    parsed = {}
    for i, source in enumerate(sources):
        found = tf.io.parse_single_example(data[i], _spec(source.holds))
        if i:
            # Files of two data sets would give one clip's face to another.
            tf.debugging.assert_equal(
                parsed[keys.CLIP_ID],
                found[keys.CLIP_ID],
                "the records of features are not of the same clips",
            )
        parsed |= found
    return parsed


def _example(parsed, indices, shapes):
    inputs = {
        name: tf.gather(parsed[keys.feature_key(name)], indices)
        for name in shapes
    }
    inputs["mask"] = tf.ones_like(indices, tf.bool)
    return inputs, parsed[keys.CLIP_LABEL_ID]


def training_epoch(
    sources: Sequence[FeatureFiles],
    config: Config,
    seed: int,
    epoch: int,
) -> tf.data.Dataset:
    """One epoch of training: shuffled, sampled at random, batched.

    Args:
        sources: Records of features; clips without a face or a label are
            left out.
        config: Its sampling, batch size and weights of sources.
        seed: Of the run.
        epoch: Its number, from 0.

    Yields:
        `({input f32 [B, T, ...] for each that the sources hold, mask bool
        [B, T]}, label_id int64 [B])`, T the longest of the batch.
    """
    sampling = Sampling.of(config)
    shapes = shapes_of(sources)
    base = tf.random.experimental.stateless_fold_in(
        tf.constant([seed, 0], tf.int32), epoch
    )

    def sample(index, data):
        parsed = _parse(data, sources)
        indices, _, _ = draw(
            parsed[keys.FRAME_TIME],
            parsed[keys.CLIP_START],
            tf.random.experimental.stateless_fold_in(base, index),
            sampling,
        )
        return _example(parsed, indices, shapes)

    data = _read(sources).filter(_trainable)
    data = mixing.weigh(data, config.train.source_weights, seed, epoch)
    data = data.shuffle(
        _buffer(shapes, config),
        seed=seed * 1_000_003 + epoch,
        reshuffle_each_iteration=False,
    )
    data = data.enumerate().map(sample, num_parallel_calls=tf.data.AUTOTUNE)
    return data.padded_batch(config.train.batch_size).prefetch(tf.data.AUTOTUNE)


def _buffer(shapes, config) -> int:
    """Records that are shuffled together, so that memory stays bounded."""
    floats = sum(math.prod(shape) for shape in shapes.values())
    longest = max(4 * floats * config.data.train_frames, 1)
    low, high = SHUFFLE_RECORDS
    return min(max(SHUFFLE_BYTES // longest, low), high)


def _trainable(data):
    parsed = tf.io.parse_single_example(
        data[0],
        {
            keys.CLIP_LABEL_ID: tf.io.FixedLenFeature((), tf.int64),
            keys.FRAMES_WITH_FACE: tf.io.FixedLenFeature((), tf.int64),
        },
    )
    return (parsed[keys.CLIP_LABEL_ID] >= 0) & (
        parsed[keys.FRAMES_WITH_FACE] > 0
    )


def class_counts(
    sources: Sequence[FeatureFiles], classes: int, weights: str = ""
) -> np.ndarray:
    """Counts the clips of each class that a training epoch sees on average.

    Args:
        sources: Records of features.
        classes: K.
        weights: `train.source_weights`.

    Returns:
        float64 [K].
    """
    of_source = mixing.parse(weights)

    def label(data):
        spec = {
            keys.CLIP_LABEL_ID: tf.io.FixedLenFeature((), tf.int64),
            keys.CLIP_SOURCE: tf.io.FixedLenFeature((), tf.string),
        }
        parsed = tf.io.parse_single_example(data[0], spec)
        return parsed[keys.CLIP_LABEL_ID], parsed[keys.CLIP_SOURCE]

    data = _read(sources[:1]).filter(_trainable).map(label)
    counts = np.zeros(classes)
    for ids, names in data.batch(1024).as_numpy_iterator():
        shares = [of_source.get(name.decode(), 1.0) for name in names]
        counts += np.bincount(ids, shares, minlength=classes)
    return counts


def evaluation_clips(
    sources: Sequence[FeatureFiles],
    config: Config,
    *,
    trainable_only: bool = False,
) -> tf.data.Dataset:
    """All clips in the files' order, from frame 0 of phase 0, batched.

    Yields:
        The same as `training_epoch`. A clip without a face has an empty
        mask; `trainable_only` leaves such clips out.
    """
    sampling = Sampling.of(config)
    shapes = shapes_of(sources)

    def sample(data):
        parsed = _parse(data, sources)
        indices = select(
            parsed[keys.FRAME_TIME],
            parsed[keys.CLIP_START],
            tf.constant(0),
            sampling,
        )
        return _example(parsed, indices[: sampling.clip_frames], shapes)

    data = _read(sources)
    if trainable_only:
        data = data.filter(_trainable)
    data = data.map(sample, num_parallel_calls=tf.data.AUTOTUNE)
    return data.padded_batch(config.train.batch_size).prefetch(tf.data.AUTOTUNE)
