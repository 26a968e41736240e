"""What must hold for every cascade."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing import numpy_rnn
from testing.models import build, inputs_of, rows

from emorec.models.caca_rnn import CascadeRNN


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


def test_the_same_seed_builds_the_same_model(case):
    same, other = build(case.name), build(case.name, seed=1)
    for a, b, c in zip(case.model.variables, same.variables, other.variables):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_weights_are_saved_and_loaded(case, tmp_path):
    inputs = inputs_of(case.model, [4, 2], 4)
    case.model.save_weights(tmp_path / "model.weights.h5")
    other = build(case.name, seed=3)
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
