"""The recurrent loops of training on a CPU, with a gradient of their own.

TensorFlow's own gradient of a loop adds up the gradients of the weights and
of the memories step by step. Here the loop backward computes only what
depends on the step after it, as the loop forward does: what it multiplies by
is computed before it for all steps, and each gradient of weights is one
matrix product over all steps after it. The numbers are those of
`keras.layers.LSTM` and of `AttentionLSTM`, but for rounding.
"""

import tensorflow as tf

# Steps of one iteration of a loop: each iteration costs about as much time
# beside its steps as one of them. What lies beyond the last step is zeros.
BLOCK = 4


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
    # The gradient of a split is one copy; that of a slice takes long.
    _, outputs = tf.split(hiddens, [1, count])
    return tf.transpose(outputs, [1, 0, 2]), [
        tf.gather_nd(hiddens, at),
        tf.gather_nd(carries, at),
    ]


def _ordered(weights):
    """Gates i, f, c, o of the last axis in the order i, f, o, c.

    The sigmoids are side by side then.
    """
    i, f, c, o = tf.split(weights, 4, axis=-1)
    return tf.concat([i, f, o, c], axis=-1)


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
        i, f, o = tf.split(kept["sigmoids"], 3, axis=2)
        c, squashed = kept["candidate"], kept["squashed"]
        hiddens = tf.concat([hidden[None], o * squashed], 0)
        carries = tf.concat([carry[None], kept["carry"]], 0)

        def gradient(of_hiddens, of_carries):
            # What a step's gradients of carry and output are multiplied by.
            factors = {
                "carry": o * (1 - squashed * squashed),
                "before": f,
                "gates": tf.concat(
                    [
                        c * i * (1 - i),
                        carries[:-1] * f * (1 - f),
                        squashed * o * (1 - o),
                        i * (1 - c * c),
                    ],
                    axis=2,
                ),
                "of_hidden": of_hiddens[1:],
                "of_carry": of_carries[1:],
                "attention": kept["attention"],
            }
            of_hidden, of_carry, found = _backward(factors, kernel, memories)
            inputs = tf.concat([hiddens[:-1], *kept["contexts"]], 2)
            of_kernel = tf.matmul(
                tf.reshape(inputs, [-1, kernel.shape[0]]),
                tf.reshape(found["gates"], [-1, kernel.shape[1]]),
                transpose_a=True,
            )
            of_memories = [
                _of_memory(
                    hiddens[:-1],
                    kept["attention"][m],
                    found["scores"][m],
                    found["contexts"][m],
                )
                for m in range(number)
            ]
            return (
                found["gates"],
                of_hidden + of_hiddens[0],
                of_carry + of_carries[0],
                of_kernel,
                *of_memories,
            )

        return (hiddens, carries), gradient

    return run(projected, hidden, carry, kernel, *memories)


def _forward(projected, hidden, carry, kernel, memories, biases):
    """Returns what each step had.

    They are [T, B, ...]: the `sigmoids` 3H (i, f, o), the `candidate` H (c),
    the `carry` H after the step and `squashed`, its tanh; of each memory the
    `attention` weights S and the `contexts` H.
    """
    units = hidden.shape[1]
    projected, count, blocks = _blocks(projected)
    arrays = {
        name: _array(blocks)
        for name in ("sigmoids", "candidate", "carry", "squashed")
    }
    arrays["attention"] = [_array(blocks) for _ in memories]
    arrays["contexts"] = [_array(blocks) for _ in memories]

    def block(number, hidden, carry, arrays):
        for k, row in enumerate(tf.unstack(projected[number], BLOCK)):
            contexts, attention = [], []
            for memory, bias in zip(memories, biases, strict=True):
                scores = _batch_matmul(hidden[:, None, :], memory, True)
                attention.append(_softmax(scores[:, 0, :] + bias))
                means = _batch_matmul(attention[-1][:, None, :], memory)
                contexts.append(means[:, 0, :])
            inputs = tf.concat([hidden, *contexts], 1) if memories else hidden
            gates = row + tf.matmul(inputs, kernel)
            gates, c = tf.split(gates, [3 * units, units], axis=1)
            sigmoids, c = tf.sigmoid(gates), tf.tanh(c)
            i, f, o = tf.split(sigmoids, 3, axis=1)
            carry = f * carry + i * c
            squashed = tf.tanh(carry)
            hidden = o * squashed
            values = {
                "sigmoids": sigmoids,
                "candidate": c,
                "carry": carry,
                "squashed": squashed,
                "attention": attention,
                "contexts": contexts,
            }
            arrays = _written(arrays, number * BLOCK + k, values)
        return number + 1, hidden, carry, arrays

    *_, arrays = tf.while_loop(
        lambda number, *_: number < blocks,
        block,
        (0, hidden, carry, arrays),
    )
    return _read(arrays, count)


def _backward(factors, kernel, memories):
    """Goes through the steps from the last.

    Args:
        factors: [T, B, ...] by name, see `_loop`.
        kernel: See `_loop`, as for the next.
        memories: The same.

    Returns:
        The gradients of the initial hidden state and carry by the steps, and
        of each step, [T, B, ...]: of the `gates` 4H, and of each memory's
        `scores` S and `contexts` H.
    """
    batch, units = tf.shape(factors["carry"])[1], kernel.shape[1] // 4
    cut = tf.nest.map_structure(lambda x: _blocks(x)[0], factors)
    _, count, blocks = _blocks(factors["carry"])
    arrays = {
        "gates": _array(blocks),
        "scores": [_array(blocks) for _ in memories],
        "contexts": [_array(blocks) for _ in memories],
    }
    transposed = tf.transpose(kernel)

    def block(number, of_hidden, of_carry, arrays):
        rows = tf.nest.map_structure(
            lambda x: tf.unstack(x[number], BLOCK), cut
        )
        for k in reversed(range(BLOCK)):
            of_hidden += rows["of_hidden"][k]
            of_carry += rows["of_carry"][k] + of_hidden * rows["carry"][k]
            of_gates = rows["gates"][k] * tf.concat(
                [of_carry, of_carry, of_hidden, of_carry], axis=1
            )
            of_carry *= rows["before"][k]
            of_inputs = tf.matmul(of_gates, transposed)
            of_hidden, *contexts = tf.split(
                of_inputs, 1 + len(memories), axis=1
            )
            scores = []
            for memory, weights, context in zip(
                memories, rows["attention"], contexts, strict=True
            ):
                of_weights = _batch_matmul(context[:, None, :], memory, True)
                of_weights = of_weights[:, 0, :] * weights[k]
                mean = tf.reduce_sum(of_weights, axis=1, keepdims=True)
                scores.append(of_weights - weights[k] * mean)
                asked = _batch_matmul(scores[-1][:, None, :], memory)
                of_hidden += asked[:, 0, :]
            values = {"gates": of_gates, "scores": scores, "contexts": contexts}
            arrays = _written(arrays, number * BLOCK + k, values)
        return number - 1, of_hidden, of_carry, arrays

    zeros = tf.zeros([batch, units])
    _, of_hidden, of_carry, arrays = tf.while_loop(
        lambda number, *_: number >= 0,
        block,
        (blocks - 1, zeros, zeros, arrays),
    )
    return of_hidden, of_carry, _read(arrays, count)


def _of_memory(queries, attention, scores, contexts):
    """The gradient of a memory from all steps: [B, S, H].

    It is asked through its scores and summed through its weights: [T, B, S]
    each, as its `queries` and the gradients of `contexts` are [T, B, H].
    """
    left = tf.transpose(tf.concat([scores, attention], 0), [1, 2, 0])
    right = tf.transpose(tf.concat([queries, contexts], 0), [1, 0, 2])
    return _batch_matmul(left, right)


def _blocks(x):
    """Cuts [T, B, ...] into [blocks, BLOCK, B, ...]; also T and the blocks."""
    count = tf.shape(x)[0]
    blocks = -(-count // BLOCK)
    padded = tf.pad(x, [[0, blocks * BLOCK - count], [0, 0], [0, 0]])
    shape = tf.concat([[blocks, BLOCK], tf.shape(x)[1:]], 0)
    return tf.reshape(padded, shape), count, blocks


def _array(blocks):
    return tf.TensorArray(tf.float32, blocks * BLOCK)


def _written(arrays, t, values):
    """Writes the values of a step into arrays of the same structure."""
    return tf.nest.map_structure(lambda a, v: a.write(t, v), arrays, values)


def _read(arrays, count):
    return tf.nest.map_structure(lambda a: a.stack()[:count], arrays)


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
