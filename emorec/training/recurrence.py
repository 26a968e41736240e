"""The recurrent loops of training on a CPU, with a gradient of their own.

TensorFlow's own gradient of a loop adds up the gradients of the weights and
of the memories step by step. Here the loop backward computes only what
depends on the step after it, as the loop forward does; each gradient of
weights is one matrix product over all steps, after the loop. The numbers are
those of `keras.layers.LSTM` and of `AttentionLSTM`, but for rounding.
"""

import tensorflow as tf


def lstm(inputs, mask, state, memories, biases, weights):
    """See `emorec.models.kernels.Kernels.lstm`."""
    kernel, recurrent, attention, bias = weights
    units = recurrent.shape[0]
    # Steps first: a step is then one piece of memory.
    steps = tf.transpose(inputs, [1, 0, 2])
    count, batch = tf.shape(steps)[0], tf.shape(steps)[1]
    if state is None:
        zeros = tf.zeros([batch, units])
        state = [zeros, zeros]
    flat = tf.reshape(steps, [-1, kernel.shape[0]])
    projected = tf.matmul(flat, _ordered(kernel)) + _ordered(bias)
    hiddens, carries = _loop(
        tf.reshape(projected, [count, batch, 4 * units]),
        *state,
        _ordered(tf.concat([recurrent, *attention], axis=0)),
        memories,
        biases,
    )
    last = tf.fill([batch], count)
    if mask is not None:
        last = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    # Row 0 of the states is the initial one: that of a clip without a step.
    at = tf.stack([last, tf.range(batch)], axis=1)
    return tf.transpose(hiddens[1:], [1, 0, 2]), [
        tf.gather_nd(hiddens, at),
        tf.gather_nd(carries, at),
    ]


def _ordered(weights):
    """Gates i, f, c, o of the last axis in the order i, c, f, o.

    It is the order of `LSTMBlockCellGrad`.
    """
    i, f, c, o = tf.split(weights, 4, axis=-1)
    return tf.concat([i, c, f, o], axis=-1)


def _loop(projected, hidden, carry, kernel, memories, biases):
    """Runs the steps.

    Args:
        projected: [T, B, 4H], the inputs' part of the gates.
        hidden: [B, H], g_0.
        carry: [B, H], c_0.
        kernel: [(1 + M)H, 4H], for a step's `[g_{t-1} ; v_t ...]`.
        memories: M times [B, S, H].
        biases: M times [B, S]; no gradient is given for them.

    Returns:
        `(hiddens, carries)`, [T + 1, B, H] each, the first step the initial
        state.
    """
    number = len(memories)

    @tf.custom_gradient
    def run(projected, hidden, carry, kernel, *memories):
        kept = _forward(projected, hidden, carry, kernel, memories, biases)
        inputs = kept["inputs"].stack()
        units = hidden.shape[1]
        hiddens = tf.concat([inputs[:, :, :units], kept["hidden"][None]], 0)
        carries = tf.concat([kept["before"].stack(), kept["carry"][None]], 0)

        def gradient(of_hiddens, of_carries):
            found = _backward(kept, kernel, memories, of_hiddens, of_carries)
            of_gates = found["gates"].stack()
            of_kernel = tf.matmul(
                tf.reshape(inputs, [-1, (1 + number) * units]),
                tf.reshape(of_gates, [-1, 4 * units]),
                transpose_a=True,
            )
            of_memories = [
                _of_memory(
                    inputs[:, :, :units],
                    kept["attention"][m].stack(),
                    found["scores"][m].stack(),
                    found["contexts"][m].stack(),
                )
                for m in range(number)
            ]
            return (
                of_gates,
                found["hidden"],
                found["carry"],
                of_kernel,
                *of_memories,
            )

        return (hiddens, carries), gradient

    return run(projected, hidden, carry, kernel, *memories)


def _forward(projected, hidden, carry, kernel, memories, biases):
    """Returns what each step had, as `TensorArray`s, and the last state.

    Kept are `inputs` [B, (1 + M)H] of the kernel, `before` [B, H], the carry
    before the step, five `gates` [B, H] (i, c, f, o, tanh of the carry), and
    the `attention` weights [B, S] to each memory.
    """
    count = tf.shape(projected)[0]
    arrays = {
        "inputs": _array(count),
        "before": _array(count),
        "gates": [_array(count) for _ in range(5)],
        "attention": [_array(count) for _ in memories],
    }
    read = _array(count).unstack(projected)

    def step(t, hidden, carry, arrays):
        parts, attention = [hidden], []
        for memory, bias in zip(memories, biases, strict=True):
            scores = _batch_matmul(hidden[:, None, :], memory, True)[:, 0, :]
            attention.append(_softmax(scores + bias))
            parts.append(_batch_matmul(attention[-1][:, None, :], memory)[:, 0])
        inputs = tf.concat(parts, axis=1) if memories else hidden
        gates = tf.split(read.read(t) + tf.matmul(inputs, kernel), 4, axis=1)
        i, f, o = (tf.sigmoid(gates[k]) for k in (0, 2, 3))
        c = tf.tanh(gates[1])
        after = f * carry + i * c
        squashed = tf.tanh(after)
        values = {
            "inputs": inputs,
            "before": carry,
            "gates": [i, c, f, o, squashed],
            "attention": attention,
        }
        return t + 1, o * squashed, after, _written(arrays, t, values)

    _, hidden, carry, arrays = tf.while_loop(
        lambda t, *_: t < count,
        step,
        (0, hidden, carry, arrays),
        maximum_iterations=count,
    )
    return {**arrays, "hidden": hidden, "carry": carry}


def _backward(kept, kernel, memories, of_hiddens, of_carries):
    """Returns the gradients of the initial state and of each step.

    Each step's are those of the `gates` [B, 4H], and of each memory's
    `scores` [B, S] and `contexts` [B, H], as `TensorArray`s.
    """
    count = tf.shape(of_hiddens)[0] - 1
    batch, units = tf.shape(of_hiddens)[1], of_hiddens.shape[2]
    arrays = {
        "gates": _array(count),
        "scores": [_array(count) for _ in memories],
        "contexts": [_array(count) for _ in memories],
    }
    transposed = tf.transpose(kernel)
    # The operator checks their shapes and reads nothing of them.
    nothing = {
        "x": tf.zeros([batch, len(memories) * units]),
        "w": kernel,
        "b": tf.zeros([4 * units]),
        **{n: tf.zeros([units]) for n in ("wci", "wcf", "wco")},
    }
    read_hidden = _array(count + 1).unstack(of_hiddens)
    read_carry = _array(count + 1).unstack(of_carries)

    def step(t, of_hidden, of_carry, arrays):
        before = kept["before"].read(t)
        i, c, f, o, squashed = (a.read(t) for a in kept["gates"])
        of_carry, of_gates, *_ = tf.raw_ops.LSTMBlockCellGrad(
            cs_prev=before,
            h_prev=before,
            i=i,
            cs=before,
            f=f,
            o=o,
            ci=c,
            co=squashed,
            cs_grad=of_carry + read_carry.read(t + 1),
            h_grad=of_hidden + read_hidden.read(t + 1),
            use_peephole=False,
            **nothing,
        )
        of_inputs = tf.matmul(of_gates, transposed)
        of_hidden, *contexts = tf.split(of_inputs, 1 + len(memories), axis=1)
        scores = []
        for memory, array, context in zip(
            memories, kept["attention"], contexts, strict=True
        ):
            weights = array.read(t)
            of_weights = _batch_matmul(context[:, None, :], memory, True)[:, 0]
            mean = tf.reduce_sum(weights * of_weights, axis=1, keepdims=True)
            scores.append(weights * (of_weights - mean))
            of_hidden += _batch_matmul(scores[-1][:, None, :], memory)[:, 0, :]
        values = {"gates": of_gates, "scores": scores, "contexts": contexts}
        return t - 1, of_hidden, of_carry, _written(arrays, t, values)

    zeros = tf.zeros([batch, units])
    _, of_hidden, of_carry, arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        step,
        (count - 1, zeros, zeros, arrays),
        maximum_iterations=count,
    )
    return {
        **arrays,
        "hidden": of_hidden + of_hiddens[0],
        "carry": of_carry + of_carries[0],
    }


def _of_memory(queries, attention, scores, contexts):
    """The gradient of a memory from all steps: [B, S, H].

    It is asked through its scores and summed through its weights: [T, B, S]
    each, as its `queries` and the gradients of `contexts` are [T, B, H].
    """
    left = tf.transpose(tf.concat([scores, attention], 0), [1, 2, 0])
    right = tf.transpose(tf.concat([queries, contexts], 0), [1, 0, 2])
    return _batch_matmul(left, right)


def _array(count):
    return tf.TensorArray(tf.float32, count, clear_after_read=False)


def _written(arrays, t, values):
    """Writes the values of a step into arrays of the same structure."""
    return tf.nest.map_structure(lambda a, v: a.write(t, v), arrays, values)


def _batch_matmul(x, y, transpose_y=False):
    # Version 3 of the operator is the one that oneDNN does not take over:
    # for one row a clip it is 4 times faster than `tf.matmul` (measured).
    return tf.raw_ops.BatchMatMulV3(
        x=x, y=y, adj_y=transpose_y, Tout=tf.float32
    )


def _softmax(scores):
    # oneDNN's, which `tf.nn.softmax` is, takes twice as long for these.
    powers = tf.exp(scores - tf.reduce_max(scores, axis=1, keepdims=True))
    return powers / tf.reduce_sum(powers, axis=1, keepdims=True)
