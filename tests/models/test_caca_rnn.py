"""The cascade: how one stack reaches the next, and what it refuses."""

import threading

import numpy as np
import pytest
from testing.models import build, inputs_of

from emorec.models.baselines import ConcatenatedRNN, ParallelRNN
from emorec.models.caca_rnn import CascadeRNN
from emorec.models.parts import StreamSpec


def effect_of_the_context(model) -> float:
    inputs = inputs_of(model, [4], 4)
    changed = {**inputs, "context_features": -inputs["context_features"]}
    a, b = model(inputs)["logits"], model(changed)["logits"]
    return np.abs(np.array(a - b)).max()


def test_the_first_stream_reaches_the_second_by_both_ways():
    model = build("caca_rnn_a")
    attention = model.get_layer("face_attention_lstm")
    kernel = attention.attention_kernels[0]
    fed = np.array(kernel)
    both = effect_of_the_context(model)
    kernel.assign(np.zeros_like(fed))
    seeded = effect_of_the_context(model)
    # The seed alone reaches it, and the feeding changes what it does.
    assert seeded > 1e-3 and abs(both - seeded) > 1e-4
    # Closed on both ways, nothing comes through: the second stack forgets
    # its seed (forget gates shut, no recurrence).
    recurrent = attention.recurrent_kernel
    recurrent.assign(np.zeros(recurrent.shape))
    bias = np.array(attention.bias)
    bias[4:8] = -1e9
    attention.bias.assign(bias)
    assert effect_of_the_context(model) == 0
    kernel.assign(fed)
    assert effect_of_the_context(model) > 1e-3


def test_cutting_the_seeding_leaves_the_attention():
    model = build("no_seeding")
    assert effect_of_the_context(model) > 1e-3
    kernel = model.get_layer("face_attention_lstm").attention_kernels[0]
    kernel.assign(np.zeros(kernel.shape))
    assert effect_of_the_context(model) == 0


def test_cutting_the_attention_leaves_the_seeding():
    model = build("no_attention")
    assert effect_of_the_context(model) > 1e-3
    kernel, recurrent, bias = model.get_layer("face_lstm_1").weights
    recurrent.assign(np.zeros(recurrent.shape))
    shut = np.array(bias)
    shut[4:8] = -1e9  # The forget gates.
    bias.assign(shut)
    assert effect_of_the_context(model) == 0


def test_every_layer_of_a_later_stack_is_seeded():
    model = build("caca_rnn_mec2017")
    seeds = {}
    for name in ("face_lstm_1", "face_attention_lstm"):
        (node,) = model.get_layer(name)._inbound_nodes
        state = node.arguments.kwargs.get("initial_state")
        state = state or node.arguments.args[2]
        seeds[name] = [s._keras_history.operation.name for s in state]
    assert seeds == {
        "face_lstm_1": ["context_lstm_1"] * 2,
        "face_attention_lstm": ["context_lstm_1"] * 2,
    }


@pytest.mark.parametrize("name", ["caca_rnn_a", "parallel_rnn", "cnn_2d3d"])
def test_dropout_is_for_training_alone(name):
    model = build(name, units=16, dropout=0.5)
    inputs = inputs_of(model, [3], 3)
    a, b = (np.array(model(inputs, training=True)["logits"]) for _ in "ab")
    assert np.abs(a - b).max() > 1e-3
    a, b = (np.array(model(inputs, training=False)["logits"]) for _ in "ab")
    np.testing.assert_array_equal(a, b)


def test_two_threads_may_call_one_model():
    """Two calls at once must not see each other's memories."""
    model = build("caca_rnn_a")
    many = [inputs_of(model, [5], 5, seed=s) for s in range(2)]
    alone = [np.array(model(i)["logits"]) for i in many]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    wrong, barrier = [], threading.Barrier(2)

    def call(which):
        barrier.wait()
        for _ in range(8):
            found = np.array(model(many[which])["logits"])
            if not np.allclose(found, alone[which], atol=1e-6):
                wrong.append(which)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_one_stream_has_no_attention():
    model = CascadeRNN([StreamSpec("face", 5)], units=4, num_classes=3)
    outputs = model(inputs_of(model, [2], 2))
    assert list(outputs) == ["logits"] and outputs["logits"].shape == (1, 3)


def test_a_cascade_cut_on_both_ways_is_refused():
    streams = [StreamSpec("context", 3), StreamSpec("face", 5)]
    with pytest.raises(ValueError) as e:
        CascadeRNN(streams, attention=False, seeding=False)
    assert str(e.value) == (
        "`attention` and `seeding` must not both be cut: nothing would be "
        "left of the earlier streams. Received: False, False"
    )
    # With one stream there is nothing to cut.
    CascadeRNN(streams[:1], attention=False, seeding=False)


@pytest.mark.parametrize(
    "streams, message",
    [
        ([], "`streams` must not be empty. Received: []"),
        (
            [StreamSpec("face", 2), StreamSpec("face", 3)],
            "`streams` must have different names. Received: ['face', 'face']",
        ),
        (
            [StreamSpec("face", 2, layers=0)],
            "`streams` must have 1 layer or more each. Received: [0]",
        ),
    ],
)
@pytest.mark.parametrize("network", [CascadeRNN, ParallelRNN, ConcatenatedRNN])
def test_streams_that_make_no_network_are_refused(network, streams, message):
    with pytest.raises(ValueError) as e:
        network(streams)
    assert str(e.value) == message
