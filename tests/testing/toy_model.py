"""A tiny SavedModel that answers what its records say: no network."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

ANSWER = "toy/probabilities"


class _Toy(tf.Module):
    def __init__(self, names, shift):
        super().__init__()
        self.names = tf.constant([list(names)])
        # Tracked, as a real model's weights are.
        self.shift = tf.Variable(shift)
        self.size = len(names)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def answer(self, examples):
        parsed = tf.io.parse_example(
            examples,
            {
                ANSWER: tf.io.FixedLenFeature((self.size,), tf.float32),
                "toy/steps": tf.io.FixedLenFeature((), tf.int64, 1),
            },
        )
        steps = tf.cast(tf.reduce_max(parsed["toy/steps"]), tf.int32)
        batch = tf.shape(examples)[0]
        return {
            "probabilities": tf.roll(parsed[ANSWER], 1, 1) * self.shift
            + parsed[ANSWER] * (1 - self.shift),
            "labels": tf.tile(self.names, [batch, 1]),
            # Of another size in each batch, as a clip's attention is.
            "attention": tf.zeros((batch, steps, steps)),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def add(self, x):
        return {"sum": tf.reduce_sum(x, axis=1)}


def save(
    folder: pathlib.Path, names: Sequence[str], *, shift: float = 0.0, **more
) -> pathlib.Path:
    """Writes a SavedModel with `feature_examples` and `serving_default`.

    Args:
        folder: Where to.
        names: K class names.
        shift: 1 gives each answer to the next class: a model that is wrong.
        **more: Further signatures by name; `add` stands for one that takes
            numbers.
    """
    toy = _Toy(names, np.float32(shift))
    signatures = {"feature_examples": toy.answer, "serving_default": toy.answer}
    signatures |= dict.fromkeys(more, toy.add)
    tf.saved_model.save(toy, str(folder), signatures)
    return folder


def record(
    row: Sequence[float],
    *,
    label: int = 0,
    source: str = "web",
    coverage: str = "all",
    steps: int = 1,
) -> bytes:
    """Returns a record that the toy answers with `row`."""

    def feature(value):
        value = value if isinstance(value, list) else [value]
        if isinstance(value[0], str):
            values = tf.train.BytesList(value=[v.encode() for v in value])
            return tf.train.Feature(bytes_list=values)
        if isinstance(value[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))

    values = {
        ANSWER: [float(p) for p in row],
        "toy/steps": steps,
        "clip/label_id": int(label),
        "clip/source": source,
        "frames/coverage": coverage,
    }
    return tf.train.Example(
        features=tf.train.Features(
            feature={k: feature(v) for k, v in values.items()}
        )
    ).SerializeToString()
