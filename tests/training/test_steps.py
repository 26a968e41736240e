"""The compiled steps: halves of a batch side by side, and whose loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing import models

from emorec.config import TrainConfig
from emorec.training import recurrence, steps

LENGTHS = [6, 2, 5, 3, 4]


def made_steps(halved=True):
    """Returns the steps of a network that is always the same."""
    keras.utils.set_random_seed(0)
    model = models.build("caca_rnn_a")
    inputs = models.inputs_of(model, LENGTHS[:2], 6)
    spec = (
        {
            n: tf.TensorSpec((None, None, *x.shape[2:]), x.dtype)
            for n, x in inputs.items()
        },
        tf.TensorSpec((None,), tf.int64),
    )
    made = steps.Steps(
        model,
        TrainConfig(learning_rate=0.1),
        np.linspace(0.5, 2.0, models.CLASSES, dtype=np.float32),
        spec,
        tf.distribute.get_strategy(),
    )
    made._halved = halved
    return model, made


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_halves_make_the_step_of_the_whole_batch(rows):
    found = []
    for halved in (True, False):
        model, made = made_steps(halved)
        inputs = models.inputs_of(model, LENGTHS[:rows], 6)
        labels = tf.range(rows, dtype=tf.int64) % models.CLASSES
        figures = [made.train(inputs, labels), made.test(inputs, labels)]
        found.append([*figures, *model.get_weights()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert found[0][0][2] == rows


def test_a_step_trains_with_its_own_loops_and_measures_with_keras(monkeypatch):
    calls = []

    def lstm(*args):
        calls.append(1)
        return loop(*args)

    loop = recurrence.lstm
    monkeypatch.setattr(recurrence, "lstm", lstm)
    _, made = made_steps()
    made._train.get_concrete_function()
    assert calls
    calls.clear()
    made._test.get_concrete_function()
    assert not calls
