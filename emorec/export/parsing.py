"""Serialized records to the frames that a signature answers for."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from emorec.config import Config
from emorec.data import input_pipeline, keys
from emorec.export import limits
from emorec.features.encoders import Encoders


class Parser:
    """Reads records as evaluation does: the frames of phase 0.

    Args:
        config: The model's.
    """

    def __init__(self, config: Config):
        self._sampling = input_pipeline.Sampling.of(config)
        # Training records are sampled that much more densely.
        self._most = limits.MAX_STEPS * config.data.train_phases

    def frames(
        self, examples: tf.Tensor, streams: Sequence[str]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Reads records of frames.

        Args:
            examples: string [B].
            streams: Whose crops are wanted.

        Returns:
            `(stream -> JPEGs string [B, T], mask bool [B, T])`.
        """
        strings = tf.io.FixedLenSequenceFeature(
            (), tf.string, allow_missing=True, default_value=""
        )
        names = {s: keys.jpeg_key(s) for s in streams}
        parsed = self._parse(examples, dict.fromkeys(names.values(), strings))
        counts = parsed[keys.FRAMES_WITH_FACE]
        chosen, mask = self._choose(
            parsed,
            {stream: parsed[key] for stream, key in names.items()},
            [
                _holds(
                    tf.strings.length(parsed[key]) > 0, counts, key, "images"
                )
                for key in names.values()
            ],
        )
        checks = [
            check
            for stream, key in names.items()
            for check in limits.jpegs(chosen[stream], mask, key)
        ]
        return chosen, limits.after(checks, mask)

    def features(
        self, examples: tf.Tensor, inputs: Sequence[str], encoders: Encoders
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Reads records of features.

        Args:
            examples: string [B].
            inputs: What the network reads.
            encoders: Whose features they have to be.

        Returns:
            `(input -> f32 [B, T, ...], mask bool [B, T])`.
        """
        hashes = {keys.encoder_key(s): e.hash for s, e in encoders.items()}
        floats = {
            keys.feature_key(name): _floats(encoders.shapes[name])
            for name in inputs
        }
        strings = {
            key: tf.io.FixedLenFeature((), tf.string, "") for key in hashes
        }
        parsed = self._parse(examples, {**floats, **strings})
        counts = parsed[keys.FRAMES_WITH_FACE]
        chosen, mask = self._choose(
            parsed,
            {name: parsed[keys.feature_key(name)] for name in inputs},
            [
                *(
                    _holds(
                        _finite_steps(parsed[key]),
                        counts,
                        key,
                        "steps of finite numbers",
                    )
                    for key in floats
                ),
                *(_of_encoder(parsed[k], h, k) for k, h in hashes.items()),
            ],
        )
        # Padding is NaN up to here.
        return {
            name: tf.where(_like(mask, value), value, 0.0)
            for name, value in chosen.items()
        }, mask

    def _parse(self, examples, spec: Mapping) -> dict[str, tf.Tensor]:
        return tf.io.parse_example(
            examples,
            {
                **spec,
                keys.CLIP_START: tf.io.FixedLenFeature((), tf.float32),
                keys.FRAMES_WITH_FACE: tf.io.FixedLenFeature((), tf.int64),
                keys.FRAME_TIME: _floats(()),
            },
        )

    def _choose(self, parsed, values, checks):
        """Checks records and takes their frames out of `values`."""
        times = parsed[keys.FRAME_TIME]
        counts = parsed[keys.FRAMES_WITH_FACE]
        times = limits.after(
            [
                limits.steps(times, keys.FRAME_TIME, self._most),
                limits.finite(parsed[keys.CLIP_START], keys.CLIP_START),
                _holds(
                    tf.math.is_finite(times),
                    counts,
                    keys.FRAME_TIME,
                    "finite times",
                ),
                *checks,
            ],
            times,
        )
        indices, mask = input_pipeline.select_batch(
            tf.where(tf.math.is_finite(times), times, 0.0),
            parsed[keys.CLIP_START],
            tf.cast(counts, tf.int32),
            self._sampling,
        )
        return {
            name: tf.gather(value, indices, batch_dims=1)
            for name, value in values.items()
        }, mask


def _floats(shape):
    # NaN fills up the shorter records, so that their values can be counted.
    return tf.io.FixedLenSequenceFeature(
        shape, tf.float32, allow_missing=True, default_value=float("nan")
    )


def _finite_steps(values):
    axes = range(2, values.shape.rank)
    return tf.reduce_all(tf.math.is_finite(values), axis=list(axes))


def _like(mask, values):
    """Returns bool [B, T] with axes of size 1 behind, as `values` has more."""
    for _ in range(values.shape.rank - 2):
        mask = mask[..., None]
    return mask


def _holds(held, counts, key, what):
    """Checks that record i holds exactly counts[i] values.

    Args:
        held: bool [B, n], what is a value and no padding.
        counts: int64 [B], `frames/with_face`.
        key: The feature's name.
        what: What it holds.
    """
    n = tf.shape(held, tf.int64)[1]
    return limits.check(
        tf.reduce_all(held == tf.sequence_mask(counts, n))
        & tf.reduce_all((counts >= 0) & (counts <= n)),
        f"`{key}` must hold `{keys.FRAMES_WITH_FACE}` {what}",
    )


def _of_encoder(found, hash_, key):
    # Features of another CNN have the right shape and mean nothing.
    return limits.check(
        tf.reduce_all((found == hash_) | (found == "")),
        f"`{key}` must be {hash_}: these features are of another encoder",
    )
