"""Small cascades of every kind, and clips for them."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from emorec.config import ModelConfig
from emorec.models import presets
from emorec.models.caca_rnn import CascadeRNN, StreamSpec

SIZES = {"face": 5, "context": 3}
THREE = "three_streams"
ALL = (*presets.SYSTEMS, THREE)


def build(name, units=4, dropout=0.0, seed=0):
    """Builds a small model, with biases away from 0 so that they count."""
    keras.utils.set_random_seed(seed)
    if name == THREE:
        specs = [
            StreamSpec("sound", 2, 4, 1),
            StreamSpec("context", 3, 0, 2),
            StreamSpec("face", 5, 4, 2),
        ]
        model = CascadeRNN(specs, units=units, num_classes=6, dropout=dropout)
    else:
        config = ModelConfig(name, units, units, dropout)
        model = presets.build(config, SIZES, 6)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))
    return model


def inputs_of(model, counts, length, seed=0, scale=1.0):
    """Random clips of `counts` steps; padding is zeros, as the pipeline's."""
    rng = np.random.default_rng(seed)
    mask = np.arange(length)[None] < np.array(counts)[:, None]
    made = {"mask": mask}
    for spec in model.streams:
        x = rng.normal(0, scale, (len(counts), length, spec.size))
        made[f"{spec.name}_features"] = np.float32(x * mask[..., None])
    return made


def rows(inputs, start, stop, steps=None):
    return {k: v[start:stop, :steps] for k, v in inputs.items()}


@dataclasses.dataclass
class Case:
    """A model, and the same as one graph of any batch size and length."""

    name: str
    model: CascadeRNN
    graph: tf.types.experimental.GenericFunction

    def __call__(self, inputs) -> dict:
        outputs = self.graph(inputs)
        return {k: v.numpy() for k, v in outputs.items()}


def compiled(name) -> Case:
    model = build(name)
    spec = {
        i.name: tf.TensorSpec((None, None, *i.shape[2:]), i.dtype, i.name)
        for i in model.inputs
    }

    def call(inputs):
        return model(inputs, training=False)

    return Case(name, model, tf.function(call, input_signature=[spec]))
