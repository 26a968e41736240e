"""The recurrent loops of training against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing import models

from emorec.models import kernels
from emorec.models.attention import AttentionLSTM
from emorec.training import recurrence

# Stacks with and without attention, with a seed and without, and a stack
# that attends to two; the rest is made of these.
NAMES = ["caca_rnn_a", "concatenated_rnn", models.THREE, "no_seeding"]
# Clips of every length, none of them among these.
COUNTS = [6, 1, 0, 3, 5]


def answer(model, inputs, loops):
    """Returns the logits and the gradients of all weights."""
    labels = np.arange(len(inputs["mask"])) % models.CLASSES
    # A clip without a step has an answer that means nothing.
    counted = np.float32(inputs["mask"].any(axis=1))
    weights = [v.value for v in model.trainable_variables]

    @tf.function(reduce_retracing=True)
    def run(inputs):
        with kernels.using(loops), tf.GradientTape() as tape:
            logits = model(inputs, training=True)["logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, logits
            )
            loss = tf.reduce_sum(losses * counted)
        return logits, tape.gradient(loss, weights)

    logits, gradients = run(inputs)
    return logits.numpy(), [np.array(g) for g in gradients]


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    """A model, its inputs, and Keras' own answer."""
    model = models.build(request.param)
    inputs = models.inputs_of(model, COUNTS, 6)
    return model, inputs, answer(model, inputs, None)


def assert_same(found, expected):
    valid = np.array(COUNTS) > 0
    np.testing.assert_allclose(
        found[0][valid], expected[0][valid], atol=models.ROUNDING
    )
    for ours, theirs in zip(found[1], expected[1], strict=True):
        size = np.abs(theirs).max()
        assert size > 0
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * size)


def test_logits_and_gradients_are_keras_own(network):
    model, inputs, expected = network
    assert_same(answer(model, inputs, recurrence), expected)


def test_padding_counts_for_nothing(network):
    model, inputs, expected = network
    longer = {
        name: np.pad(x, [(0, 0), (0, 4)] + [(0, 0)] * (x.ndim - 2))
        for name, x in inputs.items()
    }
    # Whatever stands there.
    for name, x in longer.items():
        if name != "mask":
            x[~longer["mask"]] = 3.0
    assert_same(answer(model, longer, recurrence), expected)


def test_a_layer_answers_as_it_does_with_keras_loop():
    """Its parts one by one, on memories and inputs of unequal lengths."""
    rng = np.random.default_rng(0)
    layer = AttentionLSTM(3, num_memories=2)
    layer.build((None, None, 2))
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    inputs = tf.constant(rng.normal(size=(3, 4, 2)), tf.float32)
    memories = [
        tf.constant(rng.normal(size=(3, s, 3)), tf.float32) for s in (5, 2)
    ]
    state = [tf.constant(rng.normal(size=(3, 3)), tf.float32)] * 2
    mask = tf.sequence_mask([4, 2, 0], 4)
    watched = [inputs, *memories, *state]

    def run(loops):
        with kernels.using(loops), tf.GradientTape() as tape:
            tape.watch(watched)
            outputs, last, weights = layer(inputs, memories, state, mask=mask)
            held = tf.where(mask[:, :, None], outputs, 0.0)
            loss = sum(
                tf.reduce_sum(tf.sin(3.0 * part))
                for part in (held, *last, *weights)
            )
        return [held, *last, *weights, *tape.gradient(loss, watched)]

    for ours, theirs in zip(run(recurrence), run(None), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_is_not_float32_keeps_keras_loop():
    layer = kernels.LSTM(3, dtype="float16")
    with kernels.using(recurrence):
        assert kernels.current(layer) is None
        assert kernels.current(kernels.LSTM(3)) is recurrence
    assert kernels.current(kernels.LSTM(3)) is None


def test_an_error_inside_puts_keras_loop_back():
    with pytest.raises(KeyError), kernels.using(recurrence):
        raise KeyError
    assert kernels.current(kernels.LSTM(3)) is None


def test_a_stack_is_saved_as_any_layer():
    layer = kernels.LSTM(3, use_cudnn=False, name="a")
    made = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(made) is kernels.LSTM
    assert made.get_config() == layer.get_config()
