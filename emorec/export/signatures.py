"""The functions that a SavedModel serves, by the name of their signature.

They call what training calls: one way to decode a crop, one rule to choose
frames, the same encoders and the same network. B clips, T frames, K labels.
"""

import dataclasses
import json
from collections.abc import Callable

import tensorflow as tf

from emorec.data import input_pipeline, keys, records
from emorec.features import encoders
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
    [B, T, T]. A system lacks the inputs of a stream that it does not read.
    The probabilities of a clip without any frame are all 0.
    """
    graph = _Graph(bundle)
    steps = (None, None)
    examples = (_spec("examples", (None,), tf.string),)
    shapes = bundle.encoders.shapes
    return {
        "serving_default": Signature(graph.serving_default, examples),
        "feature_examples": Signature(graph.feature_examples, examples),
        "features": Signature(
            graph.features,
            (
                *(_spec(n, (*steps, *shapes[n])) for n in bundle.inputs),
                _spec("mask", steps, tf.bool),
            ),
        ),
        "jpegs": Signature(
            graph.jpegs,
            tuple(_spec(s, steps, tf.string) for s in bundle.streams),
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
        names = {s: keys.jpeg_key(s) for s in self._bundle.streams}
        parsed, indices, mask = self._parse(
            examples, dict.fromkeys(names.values(), strings)
        )
        return self._pixels(
            {
                stream: tf.gather(parsed[key], indices, batch_dims=1)
                for stream, key in names.items()
            },
            mask,
            names,
        )

    def feature_examples(self, examples):
        """Serialized records of features, string [B]."""
        bundle = self._bundle
        hashes = {
            keys.encoder_key(stream): encoder.hash
            for stream, encoder in bundle.encoders.items()
        }
        floats = {
            keys.feature_key(name): tf.io.FixedLenSequenceFeature(
                bundle.encoders.shapes[name], tf.float32, allow_missing=True
            )
            for name in bundle.inputs
        }
        parsed, indices, mask = self._parse(
            examples,
            {
                **floats,
                **{
                    key: tf.io.FixedLenFeature((), tf.string, "")
                    for key in hashes
                },
            },
        )
        with tf.control_dependencies(
            [
                _check_encoder(parsed[key], hash_, key)
                for key, hash_ in hashes.items()
            ]
        ):
            mask = tf.identity(mask)
        return self._answer(
            {
                name: tf.gather(
                    parsed[keys.feature_key(name)], indices, batch_dims=1
                )
                for name in bundle.inputs
            },
            mask,
        )

    def features(self, *arguments):
        """What the encoders give, f32 [B, T, ...] each; mask bool [B, T]."""
        *values, mask = arguments
        inputs = dict(zip(self._bundle.inputs, values, strict=True))
        with tf.control_dependencies(
            [
                _check_prefix(
                    mask,
                    "`mask` must be a prefix mask: True n times, then False",
                ),
                *(
                    _check_equal(mask, value, "mask", name)
                    for name, value in inputs.items()
                ),
            ]
        ):
            mask = tf.identity(mask)
        return self._answer(inputs, mask)

    def jpegs(self, *streams):
        """Crops as JPEG, string [B, T] each; "" is padding."""
        first, *others = names = self._bundle.streams
        jpegs = dict(zip(names, streams, strict=True))
        mask = tf.strings.length(jpegs[first]) > 0
        with tf.control_dependencies(
            [
                _check_equal(jpegs[first], jpegs[name], first, name)
                for name in others
            ]
        ):
            mask = tf.identity(mask)
        with tf.control_dependencies(
            [
                *(
                    _check(
                        tf.reduce_all(
                            mask == (tf.strings.length(jpegs[n]) > 0)
                        ),
                        f"`{first}` and `{n}` must have frames at the same "
                        "steps",
                    )
                    for n in others
                ),
                _check_prefix(
                    mask,
                    f"`{first}` must hold its frames first, then empty "
                    "strings as padding",
                ),
            ]
        ):
            mask = tf.identity(mask)
        return self._pixels(jpegs, mask, {n: n for n in names})

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

    def _pixels(self, jpegs, mask, names):
        """JPEG crops [B, T] of each stream to the answer.

        Padding is never decoded. `names` are the streams' in messages.
        """
        with tf.control_dependencies(
            [
                _check_jpegs(jpegs[s], mask, f"`{name}`")
                for s, name in names.items()
            ]
        ):
            mask = tf.identity(mask)
        where = tf.where(mask)
        shape = tf.cast(tf.shape(mask), tf.int64)
        inputs = {}
        for stream, encoder in self._bundle.encoders.items():
            inputs |= self._encode(
                stream,
                encoder,
                tf.boolean_mask(jpegs[stream], mask),
                where,
                shape,
            )
        return self._answer(inputs, mask)

    def _encode(self, stream, encoder, jpegs, where, shape):
        """Runs an encoder once for all that the network reads of it."""
        kinds = encoders.kinds_of(self._bundle.inputs, stream)
        part = encoder.part(*kinds)
        sizes = [encoder.outputs[kind] for kind in kinds]
        count = tf.shape(jpegs)[0]
        # A first chunk of no frames, so that concat() has one.
        chunks = [
            tf.TensorArray(
                tf.float32, size=0, dynamic_size=True, infer_shape=False
            ).write(0, tf.zeros((0, *size)))
            for size in sizes
        ]

        def body(i, *chunks):
            images = records.decode_jpegs(
                jpegs[i * CHUNK_FRAMES : (i + 1) * CHUNK_FRAMES], self._size
            )
            made = part(images)
            return i + 1, *(c.write(i, made[k]) for c, k in zip(chunks, kinds))

        _, *chunks = tf.while_loop(
            lambda i, *_: i * CHUNK_FRAMES < count, body, (0, *chunks)
        )
        return {
            f"{stream}_{kind}": tf.scatter_nd(
                where,
                tf.ensure_shape(chunk.concat(), (None, *size)),
                tf.concat([shape, tf.constant(size, tf.int64)], 0),
            )
            for kind, size, chunk in zip(kinds, sizes, chunks)
        }

    def _answer(self, inputs, mask):
        outputs = self._bundle.model({**inputs, "mask": mask}, training=False)
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


def _check_prefix(mask, message):
    prefix = tf.sequence_mask(_counts(mask), tf.shape(mask)[1])
    return _check(tf.reduce_all(mask == prefix), message)


def _check_encoder(found, hash_, key):
    # Features of another CNN have the right shape and mean nothing.
    return _check(
        tf.reduce_all((found == hash_) | (found == "")),
        f"`{key}` must be {hash_}: these features are of another encoder",
    )


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
