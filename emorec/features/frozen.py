"""Frozen networks on TensorFlow: one graph with the weights inside.

Weights that are constants let TensorFlow fold each normalisation into the
convolution before it, which it cannot do for variables, and one graph serves
batches of every length. Measured against `predict_on_batch`, on 2 cores that
did other work too: mini-XCEPTION 1.4 to 1.9 times faster, SqueezeNet, which
has no normalisation, 1.0 to 1.2 times. bfloat16 (avx512_bf16) is 1.3 to 1.5
and 1.7 to 1.8 times faster again, at any batch from 8 to 128.

A graph needs no Keras to run (`emorec.features.sessions`), which
`emorec.features.graph_cache` makes use of: nothing here imports it.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from emorec.features import sessions

# Features in bfloat16 lie within this cosine of those in float32. Measured on
# 128 real crops: SqueezeNet .99994, mini-XCEPTION .99955, at the least.
LEAST_COSINE = 0.999


def graph_of(model) -> bytes:
    """Returns a Keras network as a graph; see `graph_of_function`.

    Args:
        model: A functional `keras.Model` that gives a dict. Later changes of
            its weights are not seen.
    """
    weights = [
        [variable.numpy() for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
        )
    ]

    def answer(**inputs):
        constants = [[tf.constant(a) for a in part] for part in weights]
        if not isinstance(model.input, dict):
            inputs = inputs[sessions.IMAGES]
        return model.stateless_call(*constants, inputs, training=False)[0]

    inputs = model.input
    inputs = inputs if isinstance(inputs, dict) else {sessions.IMAGES: inputs}
    return graph_of_function(
        answer, {k: (tuple(x.shape), x.dtype) for k, x in inputs.items()}
    )


def graph_of_function(
    function: Callable[..., Mapping[str, tf.Tensor]],
    inputs: Mapping[str, tuple[tuple, str]],
) -> bytes:
    """Returns a function as a serialized GraphDef for `sessions.runner`.

    Args:
        function: Tensors by name to tensors by name, without variables.
        inputs: Shape (None: any length) and dtype of each input.
    """

    def named(given):
        return {
            name: tf.identity(value, sessions.ANSWER + name)
            for name, value in function(**given).items()
        }

    specs = {
        name: tf.TensorSpec(shape, dtype, sessions.INPUT + name)
        for name, (shape, dtype) in inputs.items()
    }
    traced = tf.function(named, input_signature=[specs], autograph=False)
    graph = traced.get_concrete_function().graph.as_graph_def()
    return graph.SerializeToString(deterministic=True)


def frozen(
    model, *, bfloat16: bool = False
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a network of images as a function that runs its graph.

    Args:
        model: A functional model, uint8 [N, h, w, 3] -> dict of kind -> f32
            [N, ...]; later changes of its weights are not seen.
        bfloat16: See `sessions.runner`.

    Returns:
        uint8 [N, h, w, 3] -> dict of kind -> f32 [N, ...].
    """
    run = sessions.runner(graph_of(model), bfloat16=bfloat16)
    return lambda images: run({sessions.IMAGES: images})
