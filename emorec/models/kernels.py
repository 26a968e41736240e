"""Which code computes the recurrent loops: Keras', or a faster one's.

The networks are the same either way, as are their weights. A training step
puts the loops of `emorec.training.recurrence` in the place of Keras'; all
else, and every other backend, runs Keras' own.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Protocol

import keras
from keras import ops


class Kernels(Protocol):
    """Recurrent loops that stand in for Keras'."""

    def lstm(self, inputs, mask, state, memories, biases, weights):
        """Runs an LSTM that attends to any number of memories, or to none.

        Args:
            inputs: float32 [B, T, D], T at least 1.
            mask: bool [B, T], a prefix mask, or None.
            state: `[g_0, c_0]`, float32 [B, H] each, or None for zeros.
            memories: List of float32 [B, S, H].
            biases: float32 [B, S] of each, added to its scores.
            weights: `(kernel [D, 4H], recurrent kernel [H, 4H], list of
                attention kernels [H, 4H], bias [4H])`, gates in Keras' order.

        Returns:
            `(outputs float32 [B, T, H], [g, c])`: the state is that of the
            last valid step. An output at a padded step is finite and means
            nothing, where Keras repeats the last valid one.
        """


_CURRENT: contextvars.ContextVar[Kernels | None] = contextvars.ContextVar(
    "kernels", default=None
)


@contextlib.contextmanager
def using(kernels: Kernels | None) -> Iterator[None]:
    """Layers called inside use these kernels; None stands for Keras'."""
    token = _CURRENT.set(kernels)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current(layer: keras.layers.Layer) -> Kernels | None:
    """Returns the kernels to be used by a layer; None are Keras' own."""
    return _CURRENT.get() if layer.compute_dtype == "float32" else None


@keras.saving.register_keras_serializable("emorec")
class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` whose loop can be another's; see `using`.

    Of the same name, because Keras files a layer's weights by its class.
    """

    def call(self, sequences, initial_state=None, mask=None, training=False):
        kernels = current(self)
        if kernels is None:
            return super().call(
                sequences,
                initial_state=initial_state,
                mask=mask,
                training=training,
            )
        cell = self.cell
        kernel, recurrent, bias = (
            ops.convert_to_tensor(w)
            for w in (cell.kernel, cell.recurrent_kernel, cell.bias)
        )
        outputs, state = kernels.lstm(
            sequences,
            mask,
            initial_state,
            [],
            [],
            (kernel, recurrent, [], bias),
        )
        return outputs, *state
