"""An LSTM that attends to the hidden states of earlier recurrent networks.

The attention half of the cascade (paper, section III-C and III-D): soft dot
global attention with input feeding, over any number of memories.
"""

import threading

import keras
from keras import ops

from emorec.models import kernels

# Added to the score of a padded memory step; exp() of it is exactly 0 in
# float32, so padding never changes a weight.
_MASKED = -1e9


class _AttentionLSTMCell(keras.layers.Layer):
    """One step of `AttentionLSTM`; closes over the memories of one call.

    It owns no weights. The input arrives already projected to the four gates,
    so that the loop holds only what depends on the previous state.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = [units, units]
        self.output_size = units
        # A plain object, as Keras would track a list as layer state; local to
        # a thread, as two may call one model at once.
        self.scope = threading.local()

    def call(self, inputs, states, training=False):
        recurrent, attention, memories, biases = self.scope.tensors
        hidden, carry = states
        gates = inputs + ops.matmul(hidden, recurrent)
        for kernel, memory, bias in zip(attention, memories, biases):
            scores = ops.sum(hidden[:, None, :] * memory, axis=-1) + bias
            weights = _softmax(scores)
            context = ops.sum(weights[:, :, None] * memory, axis=1)
            gates = gates + ops.matmul(context, kernel)
        i, f, c, o = ops.split(gates, 4, axis=-1)
        carry = ops.sigmoid(f) * carry + ops.sigmoid(i) * ops.tanh(c)
        hidden = ops.sigmoid(o) * ops.tanh(carry)
        return hidden, [hidden, carry]


@keras.saving.register_keras_serializable("emorec")
class AttentionLSTM(keras.layers.Layer):
    """LSTM whose input at each step is fed with attention over memories.

    With x the input, h a memory's states, g and c this LSTM's own states
    (paper, equations 2 to 4, in the reading with input feeding):

    1. scores `a_s = g_{t-1} . h_s` for each valid step s of the memory;
    2. weights `w_t = softmax(a)`;
    3. context vector `v_t = sum_s w_ts h_s`, one for each memory;
    4. `g_t, c_t = LSTM([x_t ; v_t], g_{t-1}, c_{t-1})`.

    Row t of the weights says what was attended to *before* step t was read.

    Args:
        units: H, size of the states; every memory must have the same size.
        num_memories: How many memories are attended to.

    Call arguments:
        inputs: float [B, T, D].
        memories: list of float [B, S, H].
        initial_state: list `[g_0, c_0]`, each float [B, H]; None is zeros.
        mask: bool [B, T], a prefix mask.
        memory_masks: list of bool [B, S]; a row without a valid step gets
            equal weights on padding, and its clip must not be read.

    Returns:
        `(outputs float [B, T, H], state [g, c] float [B, H] each, weights
        list of float [B, T, S])`. The state is that of the last valid step;
        the weights of a padded step, and on one, are 0.
    """

    def __init__(self, units, num_memories=1, **kwargs):
        super().__init__(**kwargs)
        # === Layers ===
        self.supports_masking = True
        self.units = units
        self.num_memories = num_memories
        self.cell = _AttentionLSTMCell(units, dtype=self.dtype_policy)
        self.rnn = keras.layers.RNN(
            self.cell,
            return_sequences=True,
            return_state=True,
            dtype=self.dtype_policy,
        )

    def compute_mask(self, *_, **__):
        return None  # Masks are passed by argument, never attached.

    def build(self, inputs_shape, *_, **__):
        size = 4 * self.units
        self.kernel = self.add_weight(
            shape=(inputs_shape[-1], size),
            initializer="glorot_uniform",
            name="kernel",
        )
        self.attention_kernels = [
            self.add_weight(
                shape=(self.units, size),
                initializer="glorot_uniform",
                name=f"attention_kernel_{i}",
            )
            for i in range(self.num_memories)
        ]
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, size),
            initializer="orthogonal",
            name="recurrent_kernel",
        )
        self.bias = self.add_weight(
            shape=(size,), initializer=_forget_gate_bias, name="bias"
        )
        self.rnn.build((None, None, size))
        self.built = True

    def call(
        self, inputs, memories, initial_state, mask=None, memory_masks=None
    ):
        if initial_state is None:
            zeros = ops.zeros_like(memories[0][:, 0, :])
            initial_state = [zeros, zeros]
        masks = memory_masks or [None] * len(memories)
        biases = [
            _bias(m, memory, self.compute_dtype)
            for m, memory in zip(masks, memories)
        ]
        outputs, state = self._read(
            inputs, memories, biases, initial_state, mask
        )
        # The queries are the outputs one step late: one matmul for all steps
        # is cheaper than collecting the weights inside the loop.
        queries = ops.concatenate(
            [initial_state[0][:, None, :], outputs[:, :-1, :]], axis=1
        )
        weights = [
            _weights(queries, memory, bias, mask, m)
            for memory, bias, m in zip(memories, biases, masks)
        ]
        return outputs, state, weights

    def _read(self, inputs, memories, biases, initial_state, mask):
        """Returns the outputs and the last state."""
        recurrent = ops.convert_to_tensor(self.recurrent_kernel)
        attention = [ops.convert_to_tensor(k) for k in self.attention_kernels]
        other = kernels.current(self)
        if other is not None:
            weights = (
                ops.convert_to_tensor(self.kernel),
                recurrent,
                attention,
                ops.convert_to_tensor(self.bias),
            )
            return other.lstm(
                inputs, mask, initial_state, memories, biases, weights
            )
        projected = ops.matmul(inputs, self.kernel) + self.bias
        # The memories belong to this call alone; a cell has no argument for
        # them, and passing them as RNN constants is not supported by Keras 3.
        self.cell.scope.tensors = (recurrent, attention, memories, biases)
        try:
            outputs, *state = self.rnn(
                projected, initial_state=initial_state, mask=mask
            )
        finally:
            self.cell.scope.tensors = None
        return outputs, state

    def compute_output_shape(self, inputs_shape, memories_shape, *_, **__):
        batch, time = inputs_shape[0], inputs_shape[1]
        return (
            (batch, time, self.units),
            [(batch, self.units), (batch, self.units)],
            [(batch, time, shape[1]) for shape in memories_shape],
        )

    # === Config ===
    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "num_memories": self.num_memories,
        }


def _forget_gate_bias(shape, dtype=None):
    """Ones for the forget gate, zeros elsewhere, as keras.layers.LSTM has."""
    units = shape[0] // 4
    return ops.concatenate(
        [
            ops.zeros((units,), dtype),
            ops.ones((units,), dtype),
            ops.zeros((2 * units,), dtype),
        ]
    )


def _bias(mask, memory, dtype):
    if mask is None:
        return ops.zeros_like(memory[:, :, 0])
    return ops.where(mask, ops.cast(0.0, dtype), ops.cast(_MASKED, dtype))


def _softmax(scores):
    # `ops.softmax` warns on the terminal about every clip of one frame.
    return ops.exp(ops.log_softmax(scores, axis=-1))


def _weights(queries, memory, bias, mask, memory_mask):
    scores = ops.matmul(queries, ops.transpose(memory, (0, 2, 1)))
    weights = _softmax(scores + bias[:, None, :])
    if memory_mask is not None:
        weights = weights * ops.cast(memory_mask[:, None, :], weights.dtype)
    if mask is not None:
        weights = weights * ops.cast(mask[:, :, None], weights.dtype)
    return weights
