"""Eight clips can be learnt by heart by everything that is trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing import models

# The others are the same networks on other streams.
NETWORKS = sorted({*models.TRAINED} - {"context_rnn", "caca_rnn_b"})


@pytest.mark.parametrize("name", NETWORKS)
def test_eight_clips_can_be_overfitted(name):
    keras.utils.set_random_seed(0)
    model = models.plain(name, units=16, classes=8)
    inputs = models.inputs_of(model, [4, 3, 2, 4, 3, 2, 4, 3], 4)
    labels = np.arange(8)
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)["logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, logits
            )
            loss = tf.reduce_mean(losses)
        variables = model.trainable_variables
        optimizer.apply(
            tape.gradient(loss, [v.value for v in variables]), variables
        )
        return loss

    losses = [float(step())]
    while losses[-1] > 0.05 and len(losses) < 150:
        losses.append(float(step()))
    assert losses[0] > 1.5 and losses[-1] <= 0.05, losses[::20]
    logits = np.array(model(inputs)["logits"])
    np.testing.assert_array_equal(logits.argmax(1), labels)
