"""The recurrent networks as plain NumPy loops, one clip, one step at a time.

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


def weights_of(model, name):
    return [np.float64(w) for w in model.get_layer(name).get_weights()]


def encoded(model, spec, clip):
    """The stream's features, through its dense encoding where it has one."""
    x = np.float64(clip[f"{spec.name}_features"])
    if not spec.encoder_units:
        return x
    kernel, bias = weights_of(model, f"{spec.name}_encoder")
    return np.maximum(x @ kernel + bias, 0)


def head(model, x):
    kernel, bias = weights_of(model, "logits")
    return x @ kernel + bias


def stack(model, x, names):
    """Reads a stack of plain LSTMs from zeros; returns its last state."""
    for name in names:
        zeros = np.zeros(model.units)
        x, state = lstm(x, weights_of(model, name), (zeros, zeros))
    return state[0]


def cascade(model, clip):
    """Answers for one clip without padding as a `CascadeRNN` should.

    Args:
        model: Its config and its layers' weights are read.
        clip: input name -> [n, D].

    Returns:
        `(logits [K], attention weights [n, n] of the last stream, one for
        each earlier stream)`.
    """
    zeros = np.zeros(model.units)
    memories, state, maps = [], (zeros, zeros), []
    for spec in model.streams:
        x = encoded(model, spec, clip)
        seed = state if model.seeding else (zeros, zeros)
        attends = memories if model.attention else []
        for i in range(spec.layers - bool(attends)):
            layer = weights_of(model, f"{spec.name}_lstm_{i + 1}")
            x, state = lstm(x, layer, seed)
        if attends:
            layer = weights_of(model, f"{spec.name}_attention_lstm")
            x, state, maps = attention_lstm(x, attends, layer, seed)
        memories.append(x)
    return head(model, state[0]), maps


def parallel(model, clip):
    """The logits [K] of one clip as a `ParallelRNN` should give them."""
    states = [
        stack(
            model,
            encoded(model, spec, clip),
            [f"{spec.name}_lstm_{i + 1}" for i in range(spec.layers)],
        )
        for spec in model.streams
    ]
    return head(model, np.concatenate(states))


def concatenated(model, clip):
    """The same of a `ConcatenatedRNN`."""
    x = np.concatenate([encoded(model, s, clip) for s in model.streams], 1)
    layers = max(s.layers for s in model.streams)
    return head(
        model, stack(model, x, [f"lstm_{i + 1}" for i in range(layers)])
    )
