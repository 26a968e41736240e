"""The cascade: the paper's sizes, a NumPy loop, and what must always hold."""

import dataclasses
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing import numpy_rnn

from emorec.config import ModelConfig
from emorec.errors import ConfigError
from emorec.models import presets
from emorec.models.caca_rnn import CascadeRNN, StreamSpec

SIZES = {"face": 5, "context": 3}
PAPER_SIZES = {
    "face": presets.PAPER_FACE_SIZE,
    "context": presets.PAPER_CONTEXT_SIZE,
}
THREE = "three_streams"
ALL = (*presets.SYSTEMS, THREE)


def build(name, units=4, dropout=0.0, seed=0):
    """Builds a small model, with biases away from 0 so that they count."""
    keras.utils.set_random_seed(seed)
    if name == THREE:
        specs = [
            StreamSpec("sound", 2, 4, 1),
            StreamSpec("context", 3, 0, 2),
            StreamSpec("face", 5, 4, 2),
        ]
        model = CascadeRNN(specs, units=units, num_classes=6, dropout=dropout)
    else:
        config = ModelConfig(name, units, units, dropout)
        model = presets.build(config, SIZES, 6)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))
    return model


def inputs_of(model, counts, length, seed=0, scale=1.0):
    """Random clips of `counts` steps; padding is zeros, as the pipeline's."""
    rng = np.random.default_rng(seed)
    mask = np.arange(length)[None] < np.array(counts)[:, None]
    made = {"mask": mask}
    for spec in model.streams:
        x = rng.normal(0, scale, (len(counts), length, spec.size))
        made[f"{spec.name}_features"] = np.float32(x * mask[..., None])
    return made


def rows(inputs, start, stop, steps=None):
    return {k: v[start:stop, :steps] for k, v in inputs.items()}


@dataclasses.dataclass
class Case:
    """A model, and the same as one graph of any batch size and length."""

    model: CascadeRNN
    graph: tf.types.experimental.GenericFunction

    def __call__(self, inputs) -> dict:
        outputs = self.graph(inputs)
        return {k: v.numpy() for k, v in outputs.items()}


def compiled(model) -> Case:
    spec = {
        i.name: tf.TensorSpec((None, None, *i.shape[2:]), i.dtype, i.name)
        for i in model.inputs
    }

    def call(inputs):
        return model(inputs, training=False)

    return Case(model, tf.function(call, input_signature=[spec]))


@pytest.fixture(scope="module", params=ALL)
def case(request) -> Case:
    return compiled(build(request.param))


@pytest.fixture(scope="module")
def caca_a() -> Case:
    return compiled(build("caca_rnn_a"))


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


def test_equals_a_numpy_loop(case):
    inputs = inputs_of(case.model, [6, 1, 3], 6)
    outputs = case(inputs)
    names = [s.name for s in case.model.streams]
    for row, n in enumerate([6, 1, 3]):
        clip = {m: inputs[f"{m}_features"][row, :n] for m in names}
        logits, maps = numpy_rnn.cascade(case.model, clip)
        np.testing.assert_allclose(outputs["logits"][row], logits, atol=5e-6)
        ours = outputs["attention"][row, :n, :n]
        np.testing.assert_allclose(ours, maps[-1], atol=5e-6)
        for name, found in zip(names, maps) if len(maps) > 1 else ():
            np.testing.assert_allclose(
                outputs[f"attention_{name}"][row, :n, :n], found, atol=5e-6
            )


def test_outputs_of_the_systems(case):
    outputs = case(inputs_of(case.model, [3, 2], 3))
    wanted = {"logits": (2, 6), "attention": (2, 3, 3)}
    if len(case.model.streams) > 2:
        earlier = [f"attention_{s.name}" for s in case.model.streams[:-1]]
        wanted |= dict.fromkeys(earlier, (2, 3, 3))
        np.testing.assert_array_equal(
            outputs["attention"], outputs[earlier[-1]]
        )
    assert {k: v.shape for k, v in outputs.items()} == wanted
    assert all(v.dtype == np.float32 for v in outputs.values())


def test_attention_sums_to_1_on_valid_steps_and_is_0_elsewhere(case):
    inputs = inputs_of(case.model, [5, 1, 0, 3], 5)
    mask = inputs["mask"]
    valid = mask[:, :, None] & mask[:, None, :]
    outputs = case(inputs)
    for name in [n for n in outputs if n != "logits"]:
        found = outputs[name]
        np.testing.assert_allclose(found.sum(2), mask, atol=1e-6)
        assert (found[~valid] == 0).all() and (found[valid] > 0).all()


def test_padding_never_changes_logits(case):
    inputs = inputs_of(case.model, [4, 2], 4)
    short = case(inputs)["logits"]
    padded = {
        k: np.pad(v, ((0, 0), (0, 9), (0, 0))[: v.ndim])
        for k, v in inputs.items()
    }
    np.testing.assert_allclose(case(padded)["logits"], short, atol=1e-6)
    # Whatever stands on the padding.
    for name, values in padded.items():
        if name != "mask":
            values[~padded["mask"]] = 1e4
    np.testing.assert_allclose(case(padded)["logits"], short, atol=1e-6)
    alone = case(rows(inputs, 1, 2, 2))["logits"]
    np.testing.assert_allclose(alone, short[1:], atol=1e-6)


def test_logits_are_equal_for_any_batch_size(case):
    inputs = inputs_of(case.model, [4, 3, 1, 4, 2, 4, 4], 4)
    every = case(inputs)["logits"]
    for size in (1, 2, 3):
        parts = [
            case(rows(inputs, i, min(i + size, 7)))["logits"]
            for i in range(0, 7, size)
        ]
        np.testing.assert_allclose(np.concatenate(parts), every, atol=1e-6)
    assert np.ptp(every, axis=0).min() > 1e-3


@pytest.mark.parametrize("length", [1, 2, 33, 200])
def test_any_length(case, length):
    outputs = case(inputs_of(case.model, [length], length))
    assert outputs["attention"].shape == (1, length, length)
    assert np.isfinite(outputs["logits"]).all()
    np.testing.assert_allclose(outputs["attention"].sum(2), 1, atol=1e-5)


def test_clips_without_a_face_give_finite_logits(case):
    inputs = inputs_of(case.model, [0, 3], 3)
    outputs = case(inputs)
    assert all(np.isfinite(v).all() for v in outputs.values())
    assert not outputs["attention"][0].any()
    # They leave the other clips alone.
    np.testing.assert_allclose(
        outputs["logits"][1:], case(rows(inputs, 1, 2))["logits"], atol=1e-6
    )


def test_a_batch_of_faceless_clips_alone(case):
    inputs = inputs_of(case.model, [0, 0], 0)
    for outputs in (case(inputs), case.model(inputs)):
        assert outputs["logits"].shape == (2, 6)
        assert outputs["attention"].shape == (2, 0, 0)
        assert np.isfinite(outputs["logits"]).all()


def test_every_stream_and_every_step_counts(case):
    inputs = inputs_of(case.model, [4], 4)
    before = case(inputs)["logits"]
    for spec in case.model.streams:
        for step in range(4):
            changed = inputs[f"{spec.name}_features"].copy()
            changed[0, step] += 1.0
            after = case({**inputs, f"{spec.name}_features": changed})
            assert np.abs(after["logits"] - before).max() > 1e-4


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


def test_every_weight_gets_a_gradient(case):
    variables = case.model.trainable_variables

    @tf.function(reduce_retracing=True)
    def gradients(inputs):
        with tf.GradientTape() as tape:
            logits = case.model(inputs, training=True)["logits"]
            loss = tf.reduce_sum(logits * tf.range(1.0, 7.0))
        return tape.gradient(loss, [v.value for v in variables])

    sums = [np.zeros(v.shape) for v in variables]
    for seed in range(6):
        inputs = inputs_of(case.model, [6] * 8, 6, seed=seed, scale=2.0)
        for total, gradient in zip(sums, gradients(inputs), strict=True):
            assert gradient is not None and np.isfinite(gradient).all()
            total += np.abs(gradient)
    for variable, total in zip(variables, sums, strict=True):
        assert (total > 0).all(), variable.path


def test_dropout_is_for_training_alone():
    model = build("caca_rnn_a", units=16, dropout=0.5)
    inputs = inputs_of(model, [3], 3)
    a, b = (np.array(model(inputs, training=True)["logits"]) for _ in "ab")
    assert np.abs(a - b).max() > 1e-3
    a, b = (np.array(model(inputs, training=False)["logits"]) for _ in "ab")
    np.testing.assert_array_equal(a, b)


def test_the_same_seed_builds_the_same_model(case):
    name = next(n for n in ALL if build(n).streams == case.model.streams)
    same, other = build(name), build(name, seed=1)
    for a, b, c in zip(case.model.variables, same.variables, other.variables):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_weights_are_saved_and_loaded(case, tmp_path):
    inputs = inputs_of(case.model, [4, 2], 4)
    case.model.save_weights(tmp_path / "model.weights.h5")
    name = next(n for n in ALL if build(n).streams == case.model.streams)
    other = build(name, seed=3)
    before = np.array(other(inputs)["logits"])
    assert np.abs(before - case(inputs)["logits"]).max() > 1e-3
    other.load_weights(tmp_path / "model.weights.h5")
    for key, values in other(inputs).items():
        np.testing.assert_allclose(values, case(inputs)[key], atol=1e-6)


def test_keras_saves_and_loads_the_model(case, tmp_path):
    case.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, CascadeRNN)
    assert loaded.get_config() == case.model.get_config()
    inputs = inputs_of(case.model, [4, 2], 4)
    for key, values in loaded(inputs).items():
        np.testing.assert_allclose(values, case(inputs)[key], atol=1e-6)


def test_two_threads_may_call_one_model(caca_a):
    """Two calls at once must not see each other's memories."""
    many = [inputs_of(caca_a.model, [5], 5, seed=s) for s in range(2)]
    alone = [np.array(caca_a.model(i)["logits"]) for i in many]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    wrong, barrier = [], threading.Barrier(2)

    def call(which):
        barrier.wait()
        for _ in range(8):
            found = np.array(caca_a.model(many[which])["logits"])
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
