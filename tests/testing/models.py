"""A small network of every system, and clips for it.

Imports nothing of TensorFlow at its top: `testing.jax_worker` builds the same
networks where there is none.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from emorec.config import ModelConfig
from emorec.models import presets
from emorec.models.caca_rnn import CascadeRNN
from emorec.models.parts import StreamSpec

# One step of each input, small and all different.
SHAPES = {
    "face_features": (5,),
    "context_features": (3,),
    "face_maps": (4, 4, 6),
    "face_probabilities": (7,),
}
CLASSES = 6
THREE = "three_streams"
# Of the cases that backends answer, the one that they learn too.
LEARNT = "masked"
# As in use: it must not count in an answer.
DROPOUT = 0.3
# The ablations of the cascade.
CUTS = {
    "no_attention": {"attention": False},
    "no_seeding": {"seeding": False},
}
ALL = (*presets.SYSTEMS, THREE, *CUTS)
# What answers with attention.
ATTENDING = (
    "caca_rnn_a",
    "caca_rnn_b",
    "caca_rnn_mec2017",
    "ensemble",
    THREE,
    "no_seeding",
)
# What no gradient trains.
UNTRAINED = tuple(
    s.id for s in presets.SYSTEMS.values() if s.training in ("mapping", "prior")
)
TRAINED = tuple(n for n in ALL if n not in (*UNTRAINED, presets.ENSEMBLE))
# Adding in another order differs by this much in logits of about 1.
ROUNDING = 5e-6


def config(name, units=4, dropout=0.0) -> ModelConfig:
    """The config of a small network; `three_streams` has none."""
    return ModelConfig(
        system="caca_rnn_a" if name in CUTS else name,
        encoder_units=units,
        rnn_units=units,
        dropout=dropout,
        conv_filters=units,
        **CUTS.get(name, {}),
    )


def plain(name, units=4, dropout=0.0, classes=CLASSES) -> keras.Model:
    """Builds a small network as it comes."""
    if name == THREE:
        specs = [
            StreamSpec("sound", 2, units, 1),
            StreamSpec("context", 3, 0, 2),
            StreamSpec("face", 5, units, 2),
        ]
        return CascadeRNN(
            specs, units=units, num_classes=classes, dropout=dropout
        )
    members = ()
    if name == presets.ENSEMBLE:
        members = [config(m, units, dropout) for m in presets.PAPER_MEMBERS]
    return presets.build(
        config(name, units, dropout), SHAPES, classes, members=members
    )


def build(name, units=4, dropout=0.0, seed=0, classes=CLASSES) -> keras.Model:
    """The same, with no array left at a value that hides what it does."""
    keras.utils.set_random_seed(seed)
    model = plain(name, units, dropout, classes)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))
    for variable in model.non_trainable_variables:
        if "seed" not in variable.name:
            variable.assign(_fitted(variable, rng))
    return model


def _fitted(variable, rng):
    """An array as one of those that are not trained by a gradient."""
    if variable.name == "shares":
        return rng.dirichlet(np.ones(variable.shape[0]))
    if variable.name == "mapping":
        # Each answer is one label, in a random order; the last is none.
        found = np.zeros(variable.shape)
        labels = rng.permutation(variable.shape[1])
        found[np.arange(len(labels)), labels] = 1
        return found
    assert variable.name == "log_prior", variable.path
    return np.log(rng.dirichlet(np.ones(variable.shape[0])))


def inputs_of(model, counts, length, seed=0, scale=1.0) -> dict:
    """Random clips of `counts` steps; padding is zeros, as the pipeline's."""
    rng = np.random.default_rng(seed)
    mask = np.arange(length)[None] < np.array(counts)[:, None]
    made = {"mask": mask}
    for tensor in model.inputs:
        if tensor.name == "mask":
            continue
        shape = (len(counts), length, *tensor.shape[2:])
        if tensor.name == "face_probabilities":
            x = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        else:
            x = rng.normal(0, scale, shape)
        x[~mask] = 0
        made[tensor.name] = np.float32(x)
    return made


def rows(inputs, start, stop, steps=None) -> dict:
    return {k: v[start:stop, :steps] for k, v in inputs.items()}


@dataclasses.dataclass
class Case:
    """A model, and the same as one graph of any batch size and length."""

    name: str
    model: keras.Model
    graph: Callable

    def __call__(self, inputs) -> dict:
        outputs = self.graph(inputs)
        return {k: v.numpy() for k, v in outputs.items()}


def compiled(name) -> Case:
    """Builds the network and its TensorFlow graph."""
    import tensorflow as tf

    model = build(name)
    spec = {
        i.name: tf.TensorSpec((None, None, *i.shape[2:]), i.dtype, i.name)
        for i in model.inputs
    }

    def call(inputs):
        return model(inputs, training=False)

    return Case(name, model, tf.function(call, input_signature=[spec]))
