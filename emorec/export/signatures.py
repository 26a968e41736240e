"""The functions that a SavedModel serves, by the name of their signature.

They call what training calls: one way to decode a crop, one rule to choose
frames, the same encoders and the same network. B clips, T frames, K labels.
"""

import dataclasses
import json
from collections.abc import Callable

import tensorflow as tf

from emorec.data import input_pipeline, keys, records
from emorec.training.bundle import Bundle

# Frames decoded and encoded at once: bounds a request's memory (SqueezeNet's
# first maps are 3 MB a frame) whatever its B x T.
CHUNK_FRAMES = 64
# Start of image, and the first byte of the marker after it.
_JPEG_START = b"\xff\xd8\xff"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature: its function and the specs of its inputs, by name."""

    function: Callable
    inputs: tuple[tf.TensorSpec, ...]


def build(bundle: Bundle) -> dict[str, Signature]:
    """Returns the signatures of a trained model (design: the README's table).

    All but `describe` give `probabilities` f32 [B, K], `logits` f32 [B, K],
    `labels` string [B, K] and, where the system has one, `attention` f32
    [B, T, T]. The probabilities of a clip without any frame are all 0.
    """
    graph = _Graph(bundle)
    strings = (None, None)
    features = bundle.encoders.dims
    return {
        "serving_default": Signature(
            graph.serving_default, (_spec("examples", (None,), tf.string),)
        ),
        "feature_examples": Signature(
            graph.feature_examples, (_spec("examples", (None,), tf.string),)
        ),
        "features": Signature(
            graph.features,
            (
                _spec("face_features", (*strings, features["face"])),
                _spec("context_features", (*strings, features["context"])),
                _spec("mask", strings, tf.bool),
            ),
        ),
        "jpegs": Signature(
            graph.jpegs,
            (
                _spec("face", strings, tf.string),
                _spec("context", strings, tf.string),
            ),
        ),
        "describe": Signature(
            graph.describe, (_spec("query", (None,), tf.string),)
        ),
    }


def _spec(name, shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name=name)


class _Graph:
    """The signatures' functions over one model."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        self._sampling = input_pipeline.Sampling.of(bundle.config)
        self._size = bundle.config.clip.crop_size

    def serving_default(self, examples):
        """Serialized records of frames, string [B]."""
        strings = tf.io.FixedLenSequenceFeature(
            (), tf.string, allow_missing=True, default_value=""
        )
        parsed, indices, mask = self._parse(
            examples, {keys.FACE_JPEG: strings, keys.CONTEXT_JPEG: strings}
        )
        return self._pixels(
            tf.gather(parsed[keys.FACE_JPEG], indices, batch_dims=1),
            tf.gather(parsed[keys.CONTEXT_JPEG], indices, batch_dims=1),
            mask,
            (f"`{keys.FACE_JPEG}`", f"`{keys.CONTEXT_JPEG}`"),
        )

    def feature_examples(self, examples):
        """Serialized records of features, string [B]."""
        dims = self._bundle.encoders.dims

        def floats(size):
            return tf.io.FixedLenSequenceFeature(
                (size,), tf.float32, allow_missing=True
            )

        parsed, indices, mask = self._parse(
            examples,
            {
                keys.FACE_FEATURES: floats(dims["face"]),
                keys.CONTEXT_FEATURES: floats(dims["context"]),
            },
        )
        return self._answer(
            tf.gather(parsed[keys.FACE_FEATURES], indices, batch_dims=1),
            tf.gather(parsed[keys.CONTEXT_FEATURES], indices, batch_dims=1),
            mask,
        )

    def features(self, face_features, context_features, mask):
        """Feature vectors f32 [B, T, Df] and [B, T, Dc], mask bool [B, T]."""
        with tf.control_dependencies(
            [
                _check(
                    tf.reduce_all(
                        mask
                        == tf.sequence_mask(_counts(mask), tf.shape(mask)[1])
                    ),
                    "`mask` must be a prefix mask: True n times, then False",
                ),
                _check_equal(mask, face_features, "mask", "face_features"),
                _check_equal(
                    mask, context_features, "mask", "context_features"
                ),
            ]
        ):
            mask = tf.identity(mask)
        return self._answer(face_features, context_features, mask)

    def jpegs(self, face, context):
        """Crops as JPEG, string [B, T] each; "" is padding."""
        mask = tf.strings.length(face) > 0
        same = tf.strings.length(context) > 0
        with tf.control_dependencies(
            [
                _check_equal(face, context, "face", "context"),
            ]
        ):
            mask = tf.identity(mask)
        with tf.control_dependencies(
            [
                _check(
                    tf.reduce_all(mask == same),
                    "`face` and `context` must have frames at the same steps",
                ),
                _check(
                    tf.reduce_all(
                        mask
                        == tf.sequence_mask(_counts(mask), tf.shape(mask)[1])
                    ),
                    "`face` must hold its frames first, then empty strings "
                    "as padding",
                ),
            ]
        ):
            mask = tf.identity(mask)
        return self._pixels(face, context, mask, ("`face`", "`context`"))

    def describe(self, query):
        """What the model is, for clients; any string [B] as the query.

        A client learns here at what rate and size to cut clips. B equal
        rows, because a server may batch requests.
        """
        text = tf.constant(json.dumps(self._bundle.describe()))
        return {"config": tf.fill(tf.shape(query), text)}

    def _parse(self, examples, spec):
        """Parses records and chooses their frames as evaluation does."""
        parsed = tf.io.parse_example(
            examples,
            {
                **spec,
                keys.CLIP_START: tf.io.FixedLenFeature((), tf.float32),
                keys.FRAMES_WITH_FACE: tf.io.FixedLenFeature((), tf.int64),
                keys.FRAME_TIME: tf.io.FixedLenSequenceFeature(
                    (), tf.float32, allow_missing=True
                ),
            },
        )
        indices, mask = input_pipeline.select_batch(
            parsed[keys.FRAME_TIME],
            parsed[keys.CLIP_START],
            tf.cast(parsed[keys.FRAMES_WITH_FACE], tf.int32),
            self._sampling,
        )
        return parsed, indices, mask

    def _pixels(self, face, context, mask, names):
        """JPEG crops [B, T] to the answer; padding is never decoded.

        `names` are those of the two streams, for messages.
        """
        with tf.control_dependencies(
            [
                _check_jpegs(jpegs, mask, name)
                for jpegs, name in zip((face, context), names)
            ]
        ):
            mask = tf.identity(mask)
        where = tf.where(mask)
        shape = tf.cast(tf.shape(mask), tf.int64)
        encoders = self._bundle.encoders
        features = [
            self._encode(encoder, tf.boolean_mask(jpegs, mask), where, shape)
            for encoder, jpegs in (
                (encoders.face, face),
                (encoders.context, context),
            )
        ]
        return self._answer(*features, mask)

    def _encode(self, encoder, jpegs, where, shape):
        count = tf.shape(jpegs)[0]
        chunks = tf.TensorArray(
            tf.float32, size=0, dynamic_size=True, infer_shape=False
        )

        def body(i, chunks):
            part = jpegs[i * CHUNK_FRAMES : (i + 1) * CHUNK_FRAMES]
            images = records.decode_jpegs(part, self._size)
            return i + 1, chunks.write(i, encoder.model(images))

        _, chunks = tf.while_loop(
            lambda i, _: i * CHUNK_FRAMES < count,
            body,
            # A first chunk of no frames, so that concat() has one.
            (0, chunks.write(0, tf.zeros((0, encoder.dim)))),
        )
        flat = tf.ensure_shape(chunks.concat(), (None, encoder.dim))
        return tf.scatter_nd(where, flat, tf.concat([shape, [encoder.dim]], 0))

    def _answer(self, face, context, mask):
        outputs = self._bundle.model(
            {"face_features": face, "context_features": context, "mask": mask},
            training=False,
        )
        logits = outputs["logits"]
        answered = tf.reduce_any(mask, axis=1)[:, None]
        names = tf.constant([list(self._bundle.labels.names)])
        answer = {
            "logits": logits,
            "probabilities": tf.where(answered, tf.nn.softmax(logits), 0.0),
            "labels": tf.tile(names, [tf.shape(logits)[0], 1]),
        }
        if "attention" in outputs:
            answer["attention"] = outputs["attention"]
        return answer


def _counts(mask):
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)


def _check(condition, message):
    return tf.debugging.Assert(condition, [message])


def _check_jpegs(jpegs, mask, name):
    # The decoder would name no argument, but a node of a loop's body, and
    # libjpeg would write to the server's log.
    starts = tf.strings.substr(jpegs, 0, len(_JPEG_START)) == _JPEG_START
    return _check(
        tf.reduce_all(starts | ~mask),
        f"{name} must hold JPEG images or empty strings",
    )


def _check_equal(a, b, name_a, name_b):
    return _check(
        tf.reduce_all(tf.shape(a)[:2] == tf.shape(b)[:2]),
        f"`{name_a}` and `{name_b}` must have equal batch sizes and lengths",
    )
