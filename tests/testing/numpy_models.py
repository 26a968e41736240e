"""Every network as plain NumPy loops, one clip without padding at a time.

Written from the paper's text and the networks' docstrings, to be compared
with `emorec.models`; of a model only its config and its arrays are read.
"""

import itertools
import math

import numpy as np

from testing import numpy_rnn
from testing.numpy_rnn import head, softmax, weights_of

SMALLEST = 1e-7


def conv3d(x, kernel, bias):
    """Correlates [n, h, w, C] with [a, b, c, C, F], zeros around; ReLU."""
    sizes = kernel.shape[:3]
    around = [((s - 1) // 2, s // 2) for s in sizes]
    x = np.pad(x, [*around, (0, 0)])
    places = [n - s + 1 for n, s in zip(x.shape, sizes)]
    found = np.zeros((*places, kernel.shape[-1]))
    for t, i, j in itertools.product(*map(range, places)):
        part = x[t : t + sizes[0], i : i + sizes[1], j : j + sizes[2]]
        found[t, i, j] = np.tensordot(part, kernel, 4) + bias
    return np.maximum(found, 0)


def halve(x):
    """The largest of each 2 x 2 places; the last is cut where odd."""
    n, h, w, c = x.shape
    found = np.zeros((n, math.ceil(h / 2), math.ceil(w / 2), c))
    for i, j in itertools.product(*map(range, found.shape[1:3])):
        part = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        found[:, i, j] = part.max((1, 2))
    return found


def adaptive_pooling(x, bins):
    """The means of `bins` parts of [n, C], side by side."""
    n = len(x)
    return np.concatenate(
        [
            x[math.floor(p * n / bins) : math.ceil((p + 1) * n / bins)].mean(0)
            for p in range(bins)
        ]
    )


def cnn_2d3d(model, clip):
    x = conv3d(np.float64(clip["face_maps"]), *weights_of(model, "reduce"))
    x = halve(conv3d(x, *weights_of(model, "conv3d_1")))
    x = conv3d(x, *weights_of(model, "conv3d_2"))
    return head(model, adaptive_pooling(x.mean((1, 2)), model.bins))


def face_average(model, clip):
    (mapping,) = weights_of(model, "label_average")
    shares = np.float64(clip["face_probabilities"]).mean(0) @ mapping
    return np.log(np.maximum(shares / shares.sum(), SMALLEST))


def ensemble(model, clip):
    (shares,) = weights_of(model, "weighted_sum")
    answers = [answer(m, clip) for m in model.members]
    total = sum(s * softmax(a[0]) for s, a in zip(shares, answers, strict=True))
    return np.log(np.maximum(total, SMALLEST)), answers[0][1]


def answer(model, clip):
    """Answers for one clip as its network should.

    Args:
        model: Any network of `emorec.models`.
        clip: input name -> [n, ...].

    Returns:
        `(logits [K], [n, n] of attention weights, one an earlier stream)`.
    """
    kind = type(model).__name__
    if kind == "CascadeRNN":
        return numpy_rnn.cascade(model, clip)
    if kind == "Ensemble":
        return ensemble(model, clip)
    if kind == "Majority":
        return weights_of(model, "class_prior")[0], []
    plain = {
        "ParallelRNN": numpy_rnn.parallel,
        "ConcatenatedRNN": numpy_rnn.concatenated,
        "CNN2D3D": cnn_2d3d,
        "FaceAverage": face_average,
    }
    return plain[kind](model, clip), []
