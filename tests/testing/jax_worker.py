"""Answers and learns under JAX what another process left in a folder.

python -m testing.jax_worker FOLDER, with KERAS_BACKEND=jax; for each
`<name>.weights.h5` it writes `<name>.jax.npz`:
    <case>/<output>: the answer to the inputs in `<name>.inputs.npz`.
    losses: before and after some steps of Adam, where there are labels.
    changed: of each trainable array, whether the first step changed it.
Its process has no TensorFlow, nor anything of emorec but its networks.
"""

import pathlib
import random
import sys

import jax
import keras
import numpy as np

from testing import models

# One step under dropout may be a bad one.
STEPS = 8


def unpacked(path: pathlib.Path) -> dict[str, dict]:
    """Reads arrays of `<case>/<name>` as case -> name -> array."""
    found = {}
    with np.load(path) as arrays:
        for key in arrays:
            case, _, name = key.partition("/")
            found.setdefault(case, {})[name] = arrays[key]
    return found


def values(variables):
    return [v.value for v in variables]


def forward(model):
    """Compiles the network: trained arrays and inputs to outputs."""
    rest = values(model.non_trainable_variables)

    @jax.jit
    def call(trained, inputs):
        return model.stateless_call(trained, rest, inputs, training=False)[0]

    return call


def loss_of(outputs, labels):
    return keras.ops.mean(
        keras.losses.sparse_categorical_crossentropy(
            labels, outputs["logits"], from_logits=True
        )
    )


def learn(model, inputs, labels) -> list:
    """Takes steps of Adam; returns the trained arrays after each."""
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    def loss(trained, rest):
        outputs, rest = model.stateless_call(
            trained, rest, inputs, training=True
        )
        return loss_of(outputs, labels), rest

    @jax.jit
    def step(trained, rest, state):
        gradient = jax.value_and_grad(loss, has_aux=True)
        (_, rest), gradients = gradient(trained, rest)
        trained, state = optimizer.stateless_apply(state, gradients, trained)
        return trained, rest, state

    arrays = (
        values(model.trainable_variables),
        values(model.non_trainable_variables),
        values(optimizer.variables),
    )
    found = []
    for _ in range(STEPS):
        arrays = step(*arrays)
        found.append(arrays[0])
    for variable, value in zip(optimizer.variables, arrays[2], strict=True):
        variable.assign(value)
    assert int(optimizer.iterations) == STEPS
    return found


def work(model, cases, labels) -> dict:
    """Returns what is written of one network."""
    call, before = forward(model), values(model.trainable_variables)
    answers = {case: call(before, inputs) for case, inputs in cases.items()}
    found = {
        f"{case}/{name}": np.asarray(array)
        for case, outputs in answers.items()
        for name, array in outputs.items()
    }
    if labels is None:
        return found
    first, *_, last = learn(model, cases[models.LEARNT], labels)
    found["losses"] = np.array(
        [
            loss_of(answers[models.LEARNT], labels),
            loss_of(call(last, cases[models.LEARNT]), labels),
        ]
    )
    found["changed"] = np.array(
        [
            bool((np.asarray(a) != np.asarray(b)).any())
            for a, b in zip(before, first, strict=True)
        ]
    )
    return found


def run(folder: pathlib.Path):
    assert keras.backend.backend() == "jax", keras.backend.backend()
    # Dropout takes its seeds from it; Keras' own function would import
    # TensorFlow, where there is one.
    random.seed(0)
    for weights in sorted(folder.glob("*.weights.h5")):
        name = weights.name.removesuffix(".weights.h5")
        model = models.plain(name, dropout=models.DROPOUT)
        model.load_weights(weights)
        cases = unpacked(folder / f"{name}.inputs.npz")
        labels = cases[models.LEARNT].pop("labels", None)
        found = work(model, cases, labels)
        np.savez(folder / f"{name}.jax.npz", **found)
    roots = {name.partition(".")[0] for name in sys.modules}
    assert "tensorflow" not in roots, "something has imported TensorFlow"
    parts = {n.split(".")[1] for n in sys.modules if n.startswith("emorec.")}
    configs = {"config", "config_check", "config_values"}
    assert parts <= {*configs, "errors", "models"}, parts


if __name__ == "__main__":
    run(pathlib.Path(sys.argv[1]))
