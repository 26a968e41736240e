"""The cascade of the paper: its sizes, its parts, and what it can learn."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing.models import SIZES, build, inputs_of

from emorec.config import ModelConfig
from emorec.errors import ConfigError
from emorec.models import presets
from emorec.models.caca_rnn import CascadeRNN, StreamSpec

PAPER_SIZES = {
    "face": presets.PAPER_FACE_SIZE,
    "context": presets.PAPER_CONTEXT_SIZE,
}


@pytest.mark.parametrize("system", ["caca_rnn_a", "caca_rnn_b"])
def test_parameters_at_the_paper_sizes(system):
    # encoders   512 x 128 + 128 + 2048 x 128 + 128             = 327 936
    # stack 1    2 LSTMs of 4 (128 x 128 + 128 x 128 + 128)     = 263 168
    # stack 2    4 (128 x 128 [x] + 128 x 128 [v] + 128 x 128 [g] + 128)
    #                                                           = 197 120
    # output     128 x 8 + 8                                    =   1 032
    model = presets.build(ModelConfig(system=system), PAPER_SIZES, 8)
    assert 327_936 + 263_168 + 197_120 + 1_032 == 789_256
    assert model.count_params() == 789_256
    # The paper's framework has two bias vectors in each of the three LSTMs.
    assert f"{(789_256 + 3 * 512) / 1e6:.2f}M" == "0.79M"
    assert presets.SYSTEMS[system].paper_params == "0.79M"
    second = {"caca_rnn_a": "face", "caca_rnn_b": "context"}[system]
    attention = model.get_layer(f"{second}_attention_lstm")
    assert attention.count_params() == 197_120


def test_parameters_as_submitted_to_mec2017():
    # context LSTM on 512 as they are  4 (512 x 128 + 128 x 128 + 128) = 328 192
    # face encoder                     2048 x 128 + 128               = 262 272
    # face LSTM 131 584, attention LSTM 197 120, output 1 032
    model = presets.build(
        ModelConfig(system="caca_rnn_mec2017"), PAPER_SIZES, 8
    )
    assert model.count_params() == 920_200
    names = [layer.name for layer in model.layers]
    assert "context_encoder" not in names
    assert {"face_lstm_1", "face_attention_lstm"} < set(names)


def test_a_case_with_constant_weights():
    model = CascadeRNN(
        [StreamSpec("context", 1, 0, 1), StreamSpec("face", 1, 0, 1)],
        units=1,
        num_classes=2,
    )
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 0.5, np.float32))
    outputs = model(
        {
            "context_features": np.array([[[1.0], [-1.0]]], np.float32),
            "face_features": np.array([[[2.0], [0.0]]], np.float32),
            "mask": np.ones((1, 2), bool),
        }
    )
    # Every gate gets the same sum s, and s(x) is the logistic function:
    #   context  s_1 = .5 (1) + .5         = 1       c = .556770
    #            h_1 = s(1) tanh(.556770)  = .369606
    #            s_2 = .5 (-1 + h_1) + .5  = .184803 c = .403817
    #            h_2 = s(s_2) tanh(c)      = .209260
    # which seeds the face: g_0 = .209260, c_0 = .403817
    #   w_1 = softmax(g_0 h) = (.508388, .491612), v_1 = .290778
    #   s_1 = .5 (2 + v_1 + g_0) + .5 = 1.750019
    #   c_1 = s(s_1) (c_0 + tanh(s_1)) = 1.146046, g_1 = .695570
    #   w_2 = softmax(g_1 h) = (.527854, .472146), v_2 = .293899
    #   s_2 = .5 (0 + v_2 + g_1) + .5 = .994735
    #   c_2 = s(s_2) (c_1 + tanh(s_2)) = 1.390999, g_2 = .644895
    # and the logits are .5 g_2 + .5.
    np.testing.assert_allclose(
        outputs["attention"],
        [[[0.508388, 0.491612], [0.527854, 0.472146]]],
        atol=2e-6,
    )
    np.testing.assert_allclose(
        outputs["logits"], [[0.822447, 0.822447]], atol=2e-6
    )


def test_the_first_stream_reaches_the_second_by_both_ways():
    model = build("caca_rnn_a")
    inputs = inputs_of(model, [4], 4)
    changed = {**inputs, "context_features": -inputs["context_features"]}

    def effect():
        a, b = model(inputs)["logits"], model(changed)["logits"]
        return np.abs(np.array(a - b)).max()

    attention = model.get_layer("face_attention_lstm")
    kernel = attention.attention_kernels[0]
    fed = np.array(kernel)
    both = effect()
    kernel.assign(np.zeros_like(fed))
    seeded = effect()
    # The seed alone reaches it, and the feeding changes what it does.
    assert seeded > 1e-3 and abs(both - seeded) > 1e-4
    # Closed on both ways, nothing comes through: the second stack forgets
    # its seed (forget gates shut, no recurrence).
    recurrent = attention.recurrent_kernel
    recurrent.assign(np.zeros(recurrent.shape))
    bias = np.array(attention.bias)
    bias[4:8] = -1e9
    attention.bias.assign(bias)
    assert effect() == 0
    kernel.assign(fed)
    assert effect() > 1e-3


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


def test_dropout_is_for_training_alone():
    model = build("caca_rnn_a", units=16, dropout=0.5)
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


def test_eight_clips_can_be_overfitted():
    keras.utils.set_random_seed(0)
    model = CascadeRNN(
        [StreamSpec("context", 3, 16, 2), StreamSpec("face", 5, 16, 1)],
        units=16,
        num_classes=8,
    )
    inputs = inputs_of(model, [6, 5, 4, 3, 6, 5, 4, 3], 6)
    labels = np.arange(8)
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)["logits"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, logits
            )
            loss = tf.reduce_mean(losses)
        variables = model.trainable_variables
        optimizer.apply(
            tape.gradient(loss, [v.value for v in variables]), variables
        )
        return loss

    losses = [float(step()) for _ in range(120)]
    assert losses[0] > 1.5 and losses[-1] < 0.05
    logits = np.array(model(inputs)["logits"])
    np.testing.assert_array_equal(logits.argmax(1), labels)


def test_one_stream_has_no_attention():
    model = CascadeRNN([StreamSpec("face", 5)], units=4, num_classes=3)
    outputs = model(inputs_of(model, [2], 2))
    assert list(outputs) == ["logits"] and outputs["logits"].shape == (1, 3)


def test_an_unknown_system_is_refused():
    with pytest.raises(ConfigError) as e:
        presets.build(ModelConfig(system="caca_rnn_c"), SIZES, 8)
    assert str(e.value) == (
        "`system` must be one of caca_rnn_a, caca_rnn_b, caca_rnn_mec2017. "
        "Received: 'caca_rnn_c'"
    )


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
def test_streams_that_make_no_cascade_are_refused(streams, message):
    with pytest.raises(ValueError) as e:
        CascadeRNN(streams)
    assert str(e.value) == message
