"""AttentionLSTM against hand-worked numbers and a NumPy loop."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from testing import numpy_rnn

from emorec.models.attention import AttentionLSTM

RNG = np.random.default_rng(0)


def normal(*shape, scale=1.0):
    return RNG.normal(0, scale, shape).astype(np.float32)


def mask_of(counts, length):
    return np.arange(length)[None] < np.array(counts)[:, None]


@pytest.fixture(scope="module")
def layer():
    """Three units over two memories, with every weight away from 0."""
    layer = AttentionLSTM(3, num_memories=2)
    layer.build((None, None, 2))
    layer.set_weights([normal(*w.shape) for w in layer.weights])
    return layer


@pytest.fixture(scope="module")
def call():
    """Inputs of 3 clips of 4, 2 and 0 valid steps, memories of 5 and 4."""
    return {
        "inputs": normal(3, 4, 2),
        "memories": [normal(3, 5, 3), normal(3, 4, 3)],
        "initial_state": [normal(3, 3), normal(3, 3)],
        "mask": mask_of([4, 2, 0], 4),
        "memory_masks": [mask_of([5, 3, 0], 5), mask_of([1, 4, 0], 4)],
    }


def run(layer, call, **changes):
    outputs, state, weights = layer(**{**call, **changes})
    return (
        outputs.numpy(),
        [s.numpy() for s in state],
        [w.numpy() for w in weights],
    )


def test_a_case_worked_by_hand():
    layer = AttentionLSTM(1)
    layer.build((None, None, 1))
    # Gates i, f, o are sigmoid(0) = 1/2; the candidate is tanh(v_t): the
    # input x and the recurrent weights count for nothing.
    zeros = np.zeros((1, 4), np.float32)
    feeding = np.array([[0, 0, 1, 0]], np.float32)
    layer.set_weights([zeros, feeding, zeros, zeros[0]])
    outputs, state, (weights,) = layer(
        np.ones((1, 2, 1), np.float32),
        [np.array([[[0.0], [2.0]]], np.float32)],
        [np.zeros((1, 1), np.float32)] * 2,
    )
    # g_0 = 0: equal weights, v_1 = 1, c_1 = tanh(1) / 2 = 0.380797,
    # g_1 = tanh(c_1) / 2 = 0.181700. Then a = (0, 2 g_1), so
    # w = (0.410137, 0.589863), v_2 = 1.179726, tanh(v_2) = 0.827365,
    # c_2 = (c_1 + 0.827365) / 2 = 0.604081, g_2 = tanh(c_2) / 2 = 0.269974.
    np.testing.assert_allclose(
        weights, [[[0.5, 0.5], [0.410137, 0.589863]]], atol=2e-6
    )
    np.testing.assert_allclose(outputs, [[[0.181700], [0.269974]]], atol=2e-6)
    np.testing.assert_allclose(state[0], [[0.269974]], atol=2e-6)
    np.testing.assert_allclose(state[1], [[0.604081]], atol=2e-6)


def test_equals_a_numpy_loop(layer, call):
    outputs, state, weights = run(layer, call)
    for row, n in enumerate((4, 2)):
        found, last, maps = numpy_rnn.attention_lstm(
            call["inputs"][row, :n],
            [
                memory[row][mask[row]]
                for memory, mask in zip(
                    call["memories"], call["memory_masks"], strict=True
                )
            ],
            layer.get_weights(),
            [s[row] for s in call["initial_state"]],
        )
        np.testing.assert_allclose(outputs[row, :n], found, atol=2e-6)
        for ours, theirs in zip(state, last, strict=True):
            np.testing.assert_allclose(ours[row], theirs, atol=2e-6)
        for ours, theirs in zip(weights, maps, strict=True):
            np.testing.assert_allclose(
                ours[row, :n, : theirs.shape[1]], theirs, atol=2e-6
            )


def test_weights_sum_to_1_on_valid_steps_and_are_0_elsewhere(layer, call):
    _, _, weights = run(layer, call)
    for found, memory_mask in zip(weights, call["memory_masks"], strict=True):
        valid = call["mask"][:, :, None] & memory_mask[:, None, :]
        assert (found[~valid] == 0).all()
        assert (found[valid] > 0).all()
        np.testing.assert_allclose(
            found.sum(2), call["mask"].astype(np.float32), atol=1e-6
        )


def test_an_empty_row_is_finite_and_keeps_its_state(layer, call):
    outputs, state, weights = run(layer, call)
    for values in (outputs, *state, *weights):
        assert np.isfinite(values[2]).all()
    for found, first in zip(state, call["initial_state"], strict=True):
        np.testing.assert_array_equal(found[2], first[2])


def test_padding_changes_nothing(layer, call):
    outputs, state, weights = run(layer, call)
    padded = {
        **call,
        "inputs": np.concatenate([call["inputs"], normal(3, 3, 2) * 1e3], 1),
        "mask": np.pad(call["mask"], ((0, 0), (0, 3))),
        "memories": [
            np.concatenate([m, normal(3, 2, 3) * 1e3], 1)
            for m in call["memories"]
        ],
        "memory_masks": [
            np.pad(m, ((0, 0), (0, 2))) for m in call["memory_masks"]
        ],
    }
    # What stands on padded steps does not count either.
    for m, mask in zip(padded["memories"], padded["memory_masks"]):
        m[:2][~mask[:2]] = 7.0
    longer, longer_state, longer_weights = run(layer, padded)
    valid = call["mask"][:2]
    np.testing.assert_allclose(longer[:2, :4][valid], outputs[:2][valid], 1e-6)
    for a, b in zip(longer_state, state, strict=True):
        np.testing.assert_allclose(a[:2], b[:2], atol=1e-6)
    for a, b in zip(longer_weights, weights, strict=True):
        np.testing.assert_allclose(a[:2, :4, : b.shape[2]], b[:2], atol=1e-6)
        assert not a[:, 4:].any() and not a[:, :, b.shape[2] :].any()


def test_no_mask_means_that_all_is_valid(layer, call):
    every = run(
        layer,
        call,
        mask=np.ones((3, 4), bool),
        memory_masks=[np.ones((3, 5), bool), np.ones((3, 4), bool)],
    )
    none = run(layer, call, mask=None, memory_masks=None)
    for a, b in zip(tf.nest.flatten(every), tf.nest.flatten(none)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("changed", [0, 1])
def test_each_memory_alone_changes_the_output(layer, call, changed):
    memories = list(call["memories"])
    memories[changed] = memories[changed] + 0.5
    ours, _, _ = run(layer, call)
    theirs, _, _ = run(layer, call, memories=memories)
    assert np.abs(ours - theirs)[:2, 1].min() > 1e-3


def test_the_initial_state_counts(layer, call):
    ours, _, weights = run(layer, call)
    zeros = [np.zeros((3, 3), np.float32)] * 2
    theirs, _, others = run(layer, call, initial_state=zeros)
    assert np.abs(ours - theirs)[0, 0].min() > 1e-3
    # It is also the first query: that of zeros attends equally.
    np.testing.assert_allclose(others[0][0, 0], np.full(5, 0.2), atol=1e-6)
    assert np.ptp(weights[0][0, 0]) > 0.01


def test_one_step_warns_of_nothing(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, _, weights = layer(
            normal(1, 1, 2),
            [normal(1, 1, 3), normal(1, 1, 3)],
            [normal(1, 3), normal(1, 3)],
        )
    np.testing.assert_array_equal(weights[0], [[[1.0]]])


def test_starts_as_a_keras_lstm_does():
    layer = AttentionLSTM(2)
    layer.build((None, None, 3))
    np.testing.assert_array_equal(layer.bias, [0, 0, 1, 1, 0, 0, 0, 0])
    recurrent = np.array(layer.recurrent_kernel)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(2), atol=1e-6)
    assert [w.name for w in layer.weights] == [
        "kernel",
        "attention_kernel_0",
        "recurrent_kernel",
        "bias",
    ]


def test_config_round_trip(layer, call):
    other = AttentionLSTM.from_config(layer.get_config())
    assert (other.units, other.num_memories) == (3, 2)
    other.build((None, None, 2))
    other.set_weights(layer.get_weights())
    np.testing.assert_array_equal(run(other, call)[0], run(layer, call)[0])


def test_memories_are_let_go_of_even_after_an_error(layer, call):
    with pytest.raises(Exception, match="(?i)dimension|incompatible|shape"):
        layer(**{**call, "memories": [normal(3, 5, 9), normal(3, 4, 9)]})
    assert layer.cell.scope.tensors is None
    assert np.isfinite(run(layer, call)[0]).all()
