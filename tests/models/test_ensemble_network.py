"""The ensemble as a network; its fit is `emorec.training`'s."""

import keras
import numpy as np
import pytest
from testing import models

from emorec.config import ModelConfig
from emorec.models import presets
from emorec.models.ensemble import Ensemble
from emorec.models.untrained import Majority


def of_constants():
    """Two constant members, of which the first has weight 3/4."""
    members = []
    for shares in ([0.5, 0.25, 0.25], [0.2, 0.2, 0.6]):
        member = Majority(3)
        # Logits are known but for a constant: the softmax takes it off.
        member.get_layer("class_prior").log_prior.assign(np.log(shares) + 2)
        members.append(member)
    model = Ensemble(members)
    model.member_weights.assign([0.75, 0.25])
    return model


def test_a_case_by_hand():
    # .75 (.5, .25, .25) + .25 (.2, .2, .6) = (.425, .2375, .3375)
    outputs = of_constants()({"mask": np.ones((2, 3), bool)})
    assert list(outputs) == ["logits"]
    wanted = [-0.855666, -1.437588, -1.086190]
    np.testing.assert_allclose(outputs["logits"], [wanted] * 2, atol=2e-6)
    # They are logarithms of probabilities.
    np.testing.assert_allclose(
        keras.ops.softmax(outputs["logits"])[0], [0.425, 0.2375, 0.3375], 1e-6
    )


def test_a_share_of_0_is_finite():
    model = of_constants()
    for member in model.members:
        member.get_layer("class_prior").log_prior.assign([-200, 0, 0])
    logits = np.array(model({"mask": np.ones((1, 2), bool)})["logits"])
    np.testing.assert_allclose(logits[0, 0], np.log(1e-7), rtol=1e-6)


def test_it_starts_with_equal_weights_that_no_gradient_moves():
    model = models.plain("ensemble")
    np.testing.assert_array_equal(model.member_weights, [0.5, 0.5])
    assert not model.member_weights.trainable
    inner = [len(m.trainable_variables) for m in model.members]
    assert len(model.trainable_variables) == sum(inner)


@pytest.mark.parametrize("alone", [0, 1])
def test_the_whole_weight_on_one_member_gives_its_answer(alone):
    model = models.build("ensemble")
    model.member_weights.assign(np.eye(2)[alone])
    inputs = models.inputs_of(model, [3, 2], 3)
    member = model.members[alone]
    theirs = member({t.name: inputs[t.name] for t in member.inputs})
    np.testing.assert_allclose(
        model(inputs)["logits"],
        keras.ops.log_softmax(theirs["logits"]),
        atol=1e-6,
    )


def test_attention_is_that_of_the_first_member_that_has_one():
    members = [
        models.config(m) for m in ("face_rnn", "caca_rnn_b", "caca_rnn_a")
    ]
    model = presets.build(
        ModelConfig("ensemble"), models.SHAPES, 6, members=members
    )
    inputs = models.inputs_of(model, [3, 2], 3)
    second = model.members[1]
    theirs = second({t.name: inputs[t.name] for t in second.inputs})
    np.testing.assert_allclose(
        model(inputs)["attention"], theirs["attention"], atol=1e-6
    )


def test_any_members_and_one_system_twice(tmp_path):
    systems = ("face_average", "caca_rnn_a", "caca_rnn_a", "majority")
    members = [models.config(m) for m in systems]
    build = lambda: presets.build(  # noqa: E731
        ModelConfig("ensemble"), models.SHAPES, 6, members=members
    )
    model, other = build(), build()
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.uniform(0, 1, variable.shape))
    inputs = models.inputs_of(model, [3, 0, 2], 3)
    wanted = model(inputs)
    # The two of one system are apart: in the file too.
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(
        other(inputs)["logits"], wanted["logits"], atol=1e-6
    )


def test_no_members_are_refused():
    with pytest.raises(ValueError) as e:
        Ensemble([])
    assert str(e.value) == "`members` must not be empty. Received: []"
