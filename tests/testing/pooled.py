"""A network that is traced in a moment, for tests of what trains networks."""

import keras
import numpy as np
import tensorflow as tf


class Pooled(keras.Model):
    """A quick stand-in for a recurrent network: a mean over valid steps.

    With dropout: its random state belongs to what a resumed run restores.
    """

    def __init__(self, classes: int = 3, dropout: float = 0.5):
        super().__init__()
        self.hidden = keras.layers.Dense(8, activation="tanh")
        self.dropout = keras.layers.Dropout(dropout)
        self.head = keras.layers.Dense(classes)

    def call(self, inputs, training=False):
        mask = tf.cast(inputs["mask"], tf.float32)[..., None]
        x = tf.concat(
            [inputs["face_features"], inputs["context_features"]], axis=2
        )
        x = tf.reduce_sum(x * mask, 1) / tf.reduce_sum(mask, 1)
        x = self.dropout(self.hidden(x), training=training)
        return {"logits": self.head(x)}


def inputs_of_ones(face: int = 4, context: int = 3) -> dict:
    """Returns a batch of one clip; calling the network on it builds it.

    Args:
        face: Size of the face's features.
        context: Size of the context's.
    """
    return {
        "face_features": np.ones((1, 2, face), np.float32),
        "context_features": np.ones((1, 2, context), np.float32),
        "mask": np.ones((1, 2), bool),
    }
