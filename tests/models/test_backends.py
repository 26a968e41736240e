"""One weight file on every backend: TensorFlow writes it, JAX reads it."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from testing import models

TESTS = pathlib.Path(__file__).resolve().parents[1]
# case -> valid steps of each clip, and T.
CASES = {
    "masked": ([6, 1, 0, 3], 6),
    "longer": ([9, 4], 9),
    "one_step": ([1, 0], 1),
    "no_step": ([0, 0], 0),
}
CLOSE = 1e-5


def write(name, folder: pathlib.Path) -> dict:
    """Leaves weights and inputs of a network; returns TensorFlow's answers."""
    model = models.build(name, dropout=models.DROPOUT)
    model.save_weights(folder / f"{name}.weights.h5")
    arrays, answers = {}, {}
    for case, (counts, length) in CASES.items():
        inputs = models.inputs_of(model, counts, length)
        arrays |= {f"{case}/{k}": v for k, v in inputs.items()}
        outputs = model(inputs, training=False)
        answers |= {f"{case}/{k}": np.array(v) for k, v in outputs.items()}
    if name in models.TRAINED:
        arrays[f"{models.LEARNT}/labels"] = np.arange(4)
    np.savez(folder / f"{name}.inputs.npz", **arrays)
    return answers


# One process of JAX that runs every system: half a minute.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> dict:
    """name -> (TensorFlow's answers, JAX's answers and steps)."""
    folder = tmp_path_factory.mktemp("backends")
    ours = {name: write(name, folder) for name in models.ALL}
    done = subprocess.run(
        [sys.executable, "-m", "testing.jax_worker", str(folder)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            # Compiling is all that takes time: 27 s of CPU against 46.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        },
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = {}
    for name, answers in ours.items():
        with np.load(folder / f"{name}.jax.npz") as arrays:
            found[name] = answers, dict(arrays)
    return found


@pytest.mark.parametrize("name", models.ALL)
def test_jax_answers_as_tensorflow_does(both, name):
    ours, theirs = both[name]
    assert set(ours) <= set(theirs)
    assert {k.partition("/")[0] for k in ours} == set(CASES)
    assert ("masked/attention" in ours) == (name in models.ATTENDING)
    for key, values in ours.items():
        assert values.shape == theirs[key].shape, key
        np.testing.assert_allclose(
            theirs[key], values, rtol=0, atol=CLOSE, err_msg=key
        )
    # The weights tell two clips apart.
    first, second, *_ = ours["masked/logits"]
    assert (np.abs(first - second).max() > 1e-3) != (name == "majority")


@pytest.mark.parametrize("name", models.TRAINED)
def test_steps_under_jax_learn(both, name):
    _, found = both[name]
    before, after = found["losses"]
    assert np.isfinite([before, after]).all() and after < before
    assert len(found["changed"]) > 0 and found["changed"].all()
