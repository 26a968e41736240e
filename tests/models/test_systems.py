"""What must hold for every system, for ablations and for a long cascade."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing import models, numpy_models
from testing.models import ATTENDING, ROUNDING, THREE, inputs_of, rows

CLASSES = models.CLASSES


def attention_of(outputs):
    return {k: v for k, v in outputs.items() if k.startswith("attention")}


def test_equals_plain_numpy(case):
    counts = [6, 1, 3, 5]
    inputs = inputs_of(case.model, counts, 6)
    outputs = case(inputs)
    for row, n in enumerate(counts):
        clip = {k: v[row, :n] for k, v in inputs.items()}
        logits, maps = numpy_models.answer(case.model, clip)
        np.testing.assert_allclose(
            outputs["logits"][row], logits, atol=ROUNDING
        )
        assert bool(maps) == (case.name in ATTENDING)
        if not maps:
            continue
        ours = outputs["attention"][row, :n, :n]
        np.testing.assert_allclose(ours, maps[-1], atol=ROUNDING)
        if case.name == THREE:
            for name, found in zip(("sound", "context"), maps, strict=True):
                ours = outputs[f"attention_{name}"][row, :n, :n]
                np.testing.assert_allclose(ours, found, atol=ROUNDING)


def test_outputs(case):
    outputs = case(inputs_of(case.model, [3, 2], 3))
    wanted = {"logits": (2, CLASSES)}
    if case.name in ATTENDING:
        wanted["attention"] = (2, 3, 3)
    if case.name == THREE:
        earlier = ("attention_sound", "attention_context")
        wanted |= dict.fromkeys(earlier, (2, 3, 3))
        np.testing.assert_array_equal(
            outputs["attention"], outputs["attention_context"]
        )
    assert {k: v.shape for k, v in outputs.items()} == wanted
    assert all(v.dtype == np.float32 for v in outputs.values())


def test_attention_sums_to_1_on_valid_steps_and_is_0_elsewhere(case):
    inputs = inputs_of(case.model, [5, 1, 0, 3], 5)
    mask = inputs["mask"]
    valid = mask[:, :, None] & mask[:, None, :]
    maps = attention_of(case(inputs))
    assert bool(maps) == (case.name in ATTENDING)
    for found in maps.values():
        np.testing.assert_allclose(found.sum(2), mask, atol=1e-6)
        assert (found[~valid] == 0).all() and (found[valid] > 0).all()


def test_padding_never_changes_logits(case):
    inputs = inputs_of(case.model, [4, 2], 4)
    short = case(inputs)["logits"]
    padded = {
        k: np.pad(v, ((0, 0), (0, 9), *[(0, 0)] * (v.ndim - 2)))
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
    # Clips differ, but for what reads none.
    differ = np.ptp(every, axis=0).min()
    assert differ == 0 if case.name == "majority" else differ > 1e-3


@pytest.mark.parametrize("length", [1, 2, 33, 200])
def test_any_length(case, length):
    outputs = case(inputs_of(case.model, [length], length))
    assert outputs["logits"].shape == (1, CLASSES)
    assert np.isfinite(outputs["logits"]).all()
    for found in attention_of(outputs).values():
        assert found.shape == (1, length, length)
        np.testing.assert_allclose(found.sum(2), 1, atol=1e-5)


def test_clips_without_a_face_give_finite_logits(case):
    inputs = inputs_of(case.model, [0, 3], 3)
    outputs = case(inputs)
    assert all(np.isfinite(v).all() for v in outputs.values())
    assert not any(v[0].any() for v in attention_of(outputs).values())
    # They leave the other clips alone.
    np.testing.assert_allclose(
        outputs["logits"][1:], case(rows(inputs, 1, 2))["logits"], atol=1e-6
    )


def test_a_batch_of_faceless_clips_alone(case):
    inputs = inputs_of(case.model, [0, 0], 0)
    for outputs in (case(inputs), case.model(inputs)):
        assert outputs["logits"].shape == (2, CLASSES)
        assert np.isfinite(outputs["logits"]).all()
        for found in attention_of(outputs).values():
            assert found.shape == (2, 0, 0)


def test_one_answer_to_one_question(case):
    inputs = inputs_of(case.model, [4, 2], 4)
    once, again, eager = case(inputs), case(inputs), case.model(inputs)
    for key, values in once.items():
        np.testing.assert_array_equal(values, again[key])
        np.testing.assert_allclose(values, eager[key], atol=1e-6)


def test_every_input_and_every_step_counts(case):
    inputs = inputs_of(case.model, [4], 4)
    before = case(inputs)["logits"]
    assert (set(inputs) == {"mask"}) is (case.name == "majority")
    for name in set(inputs) - {"mask"}:
        for step in range(4):
            changed = inputs[name].copy()
            changed[0, step] += 1.0
            after = case({**inputs, name: changed})
            assert np.abs(after["logits"] - before).max() > 1e-4, name


def test_every_weight_gets_a_gradient(case):
    variables = case.model.trainable_variables
    if case.name in models.UNTRAINED:
        assert not variables
        return

    inputs = inputs_of(case.model, [6] * 64, 6, scale=2.0)
    with tf.GradientTape() as tape:
        logits = case.model(inputs, training=True)["logits"]
        loss = tf.reduce_sum(logits * tf.range(1.0, CLASSES + 1))
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        # Each single number of it.
        assert np.abs(gradient).min() > 0, variable.path


def test_the_same_seed_builds_the_same_model(case):
    same, other = models.build(case.name), models.build(case.name, seed=1)
    assert case.model.variables
    for a, b, c in zip(
        case.model.variables, same.variables, other.variables, strict=True
    ):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c), a.path


def test_a_config_rebuilds_the_network(case):
    config = case.model.get_config()
    other = type(case.model).from_config(config)
    assert other.get_config() == config
    assert json.loads(json.dumps(config))["name"] == case.model.name
    other.set_weights(case.model.get_weights())
    inputs = inputs_of(case.model, [4, 2], 4)
    for key, values in other(inputs).items():
        np.testing.assert_allclose(values, case(inputs)[key], atol=1e-6)


def test_weights_are_saved_and_loaded(case, tmp_path):
    inputs = inputs_of(case.model, [4, 2], 4)
    case.model.save_weights(tmp_path / "model.weights.h5")
    other = models.build(case.name, seed=3)
    before = np.array(other(inputs)["logits"])
    assert np.abs(before - case(inputs)["logits"]).max() > 1e-3
    other.load_weights(tmp_path / "model.weights.h5")
    for key, values in other(inputs).items():
        np.testing.assert_allclose(values, case(inputs)[key], atol=1e-6)


def test_keras_saves_and_loads_the_model(case, tmp_path):
    case.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(case.model)
    assert loaded.get_config() == case.model.get_config()
    inputs = inputs_of(case.model, [4, 2], 4)
    for key, values in loaded(inputs).items():
        np.testing.assert_allclose(values, case(inputs)[key], atol=1e-6)
