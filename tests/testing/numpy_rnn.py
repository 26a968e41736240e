"""The cascade as plain NumPy loops, one clip and one step at a time.

Written from the paper's text alone, to be compared with `emorec.models`.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def lstm_step(gates, carry):
    """One step from summed gates [4 H], in the order i, f, c, o."""
    i, f, c, o = np.split(gates, 4)
    carry = sigmoid(f) * carry + sigmoid(i) * np.tanh(c)
    return sigmoid(o) * np.tanh(carry), carry


def lstm(x, weights, state):
    """Reads [n, D]; returns all hidden states [n, H] and the last (h, c)."""
    kernel, recurrent, bias = weights
    hidden, carry = state
    found = []
    for step in x:
        gates = step @ kernel + hidden @ recurrent + bias
        hidden, carry = lstm_step(gates, carry)
        found.append(hidden)
    return np.array(found), (hidden, carry)


def attention_lstm(x, memories, weights, state):
    """The same, fed with attention over memories [n, H] each.

    Args:
        weights: Kernel, one attention kernel a memory, recurrent kernel, bias.

    Returns:
        `(hidden states, last (h, c), one [n, n] of weights a memory)`.
    """
    kernel, *attention, recurrent, bias = weights
    hidden, carry = state
    found, rows = [], [[] for _ in memories]
    for step in x:
        gates = step @ kernel + hidden @ recurrent + bias
        for memory, fed, row in zip(memories, attention, rows, strict=True):
            scores = np.array([hidden @ h for h in memory])
            row.append(softmax(scores))
            gates = gates + sum(
                w * h for w, h in zip(row[-1], memory, strict=True)
            ) @ np.asarray(fed)
        hidden, carry = lstm_step(gates, carry)
        found.append(hidden)
    return np.array(found), (hidden, carry), [np.array(r) for r in rows]


def cascade(model, clip):
    """Answers for one clip without padding as a `CascadeRNN` should.

    Args:
        model: Its `streams` and its layers' weights are read.
        clip: stream name -> [n, D].

    Returns:
        `(logits [K], attention weights [n, n] of the last stream, one for
        each earlier stream)`.
    """

    def weights(name):
        return [np.float64(w) for w in model.get_layer(name).get_weights()]

    zeros = np.zeros(model.units)
    memories, state, maps = [], (zeros, zeros), []
    for spec in model.streams:
        x, seed = np.float64(clip[spec.name]), state
        if spec.encoder_units:
            kernel, bias = weights(f"{spec.name}_encoder")
            x = np.maximum(x @ kernel + bias, 0)
        plain = spec.layers - 1 if memories else spec.layers
        for i in range(plain):
            x, state = lstm(x, weights(f"{spec.name}_lstm_{i + 1}"), seed)
        if memories:
            x, state, maps = attention_lstm(
                x, memories, weights(f"{spec.name}_attention_lstm"), seed
            )
        memories.append(x)
    kernel, bias = weights("logits")
    return state[0] @ kernel + bias, maps
