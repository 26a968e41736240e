"""The functions that a SavedModel serves, by the name of their signature.

They call what training calls: one way to decode a crop, one rule to choose
frames, the same encoders and the same network. B clips, T frames, K labels.
"""

import dataclasses
import json
from collections.abc import Callable

import tensorflow as tf

from emorec.data import records
from emorec.export import limits
from emorec.export.network import Network
from emorec.export.parsing import Parser
from emorec.export.video_signature import VideoStreams
from emorec.training.bundle import Bundle

_PREFIX = "`mask` must be a prefix mask: True n times, then False"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature.

    Attributes:
        function: Takes its inputs in their order.
        inputs: Their specs, by name.
        method: What a server lets clients call it by.
    """

    function: Callable
    inputs: tuple[tf.TensorSpec, ...]
    method: str = tf.saved_model.PREDICT_METHOD_NAME


def build(bundle: Bundle) -> dict[str, Signature]:
    """Returns the signatures of a trained model (design: the README's table).

    All but `describe` and `classify` give `probabilities` f32 [B, K],
    `logits` f32 [B, K], `labels` string [B, K] and, where the system has one,
    `attention` f32 [B, T, T]. A system lacks the inputs of a stream that it
    does not read. The probabilities of a clip without any frame are all 0.
    `video` gives `boxes` f32 [B, T, 4] and `mask` bool [B, T] too, aligned
    with its frames; its `attention` is over those with a face alone.
    """
    graph = _Graph(bundle)
    steps = (None, None)
    examples = (_spec("examples", (None,), tf.string),)
    mask = _spec("mask", steps, tf.bool)
    shapes = bundle.encoders.shapes
    picture = (*steps, None, None, 3)
    made = {
        "serving_default": Signature(graph.serving_default, examples),
        "feature_examples": Signature(graph.feature_examples, examples),
        "features": Signature(
            graph.features,
            (
                *(_spec(n, (*steps, *shapes[n])) for n in bundle.inputs),
                mask,
            ),
        ),
        "frames": Signature(
            graph.frames,
            (*(_spec(s, picture, tf.uint8) for s in bundle.streams), mask),
        ),
        "jpegs": Signature(
            graph.jpegs,
            tuple(_spec(s, steps, tf.string) for s in bundle.streams),
        ),
        "video": Signature(
            graph.video,
            (_spec("frames", steps, tf.string), _spec("times", steps)),
        ),
        "classify": Signature(
            graph.classify,
            (_spec("inputs", (None,), tf.string),),
            tf.saved_model.CLASSIFY_METHOD_NAME,
        ),
        "describe": Signature(
            graph.describe, (_spec("query", (None,), tf.string),)
        ),
    }
    return {
        name: dataclasses.replace(
            s, function=_of_right_shapes(s.function, s.inputs)
        )
        for name, s in made.items()
    }


def _spec(name, shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name=name)


def _of_right_shapes(function, specs):
    def call(*values):
        return function(*map(limits.shaped, values, specs))

    return call


class _Graph:
    """The signatures' functions over one model."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        self._network = Network(bundle)
        self._parser = Parser(bundle.config)
        self._video = VideoStreams(bundle.config)
        self._size = bundle.config.clip.crop_size

    def serving_default(self, examples):
        """Serialized records of frames, string [B]."""
        return self._of_jpegs(
            *self._parser.frames(examples, self._bundle.streams)
        )

    def feature_examples(self, examples):
        """Serialized records of features, string [B]."""
        return self._network.answer(
            *self._parser.features(
                examples, self._bundle.inputs, self._bundle.encoders
            )
        )

    def features(self, *arguments):
        """What the encoders give, f32 [B, T, ...] each; mask bool [B, T]."""
        *values, mask = arguments
        inputs = dict(zip(self._bundle.inputs, values, strict=True))
        mask = _masked(inputs, mask)
        mask = limits.after(
            [limits.finite(v, name) for name, v in inputs.items()], mask
        )
        return self._network.answer(inputs, mask)

    def frames(self, *arguments):
        """Crops as pixels, uint8 [B, T, h, w, 3] each; mask bool [B, T].

        A stream's crops may have any one size: they are brought to
        `clip.crop_size` as decoded ones are.
        """
        *values, mask = arguments
        crops = dict(zip(self._bundle.streams, values, strict=True))
        mask = _masked(crops, mask)
        mask = limits.after(
            [
                limits.pictures(value, name, records.MAX_JPEG_PIXELS)
                for name, value in crops.items()
            ],
            mask,
        )
        return self._network.of_crops(
            crops,
            mask,
            lambda images, _: records.resize(images, self._size),
        )

    def jpegs(self, *streams):
        """Crops as JPEG, string [B, T] each; "" is padding."""
        first, *others = names = self._bundle.streams
        jpegs = dict(zip(names, streams, strict=True))
        mask = limits.after(
            [
                limits.steps(jpegs[first], first),
                *(
                    limits.same_steps(jpegs[first], jpegs[n], first, n)
                    for n in others
                ),
            ],
            tf.strings.length(jpegs[first]) > 0,
        )
        mask = limits.after(
            [
                *(
                    limits.check(
                        tf.reduce_all(
                            mask == (tf.strings.length(jpegs[n]) > 0)
                        ),
                        f"`{first}` and `{n}` must have frames at the same "
                        "steps",
                    )
                    for n in others
                ),
                limits.prefix(
                    mask,
                    f"`{first}` must hold its frames first, then empty "
                    "strings as padding",
                ),
            ],
            mask,
        )
        checks = [
            check
            for name, value in jpegs.items()
            for check in limits.jpegs(value, mask, name)
        ]
        return self._of_jpegs(jpegs, limits.after(checks, mask))

    def video(self, frames, times):
        """Whole frames as JPEG, string [B, T]; their seconds f32 [B, T]."""
        found = self._video(frames, times)
        answer = self._of_jpegs(
            {stream: found[stream] for stream in self._bundle.streams},
            tf.strings.length(found["face"]) > 0,
        )
        return {**answer, "boxes": found["boxes"], "mask": found["found"]}

    def classify(self, inputs):
        """Serialized records of frames, for the API's Classify."""
        answer = self.serving_default(inputs)
        return {
            "classes": answer["labels"],
            "scores": answer["probabilities"],
        }

    def describe(self, query):
        """What the model is, for clients; any string [B] as the query.

        A client learns here at what rate and size to cut clips. B equal
        rows, because a server may batch requests.
        """
        text = tf.constant(json.dumps(self._bundle.describe()))
        return {"config": tf.fill(tf.shape(query), text)}

    def _of_jpegs(self, jpegs, mask):
        """Answers for JPEG crops [B, T] of each stream that were checked."""

        def decoded(held, stream):
            # What only the decoder finds is told with this name.
            with tf.name_scope(f"{stream}_must_hold_whole_JPEG_images"):
                return records.decode_jpegs(held, self._size)

        return self._network.of_crops(jpegs, mask, decoded)


def _masked(values, mask):
    """Checks a mask against the inputs whose steps it tells."""
    mask = limits.after(
        [
            limits.steps(mask, "mask"),
            *(
                limits.same_steps(mask, value, "mask", name)
                for name, value in values.items()
            ),
        ],
        mask,
    )
    return limits.after([limits.prefix(mask, _PREFIX)], mask)
