"""Trains in a process of its own: on several devices, or one of a cluster.

python -m testing.training_worker TASK.json, whose values are:
    data: The folder of a data set of given features.
    devices: Logical CPU devices, which train by MirroredStrategy. Without it
        the process joins the cluster of its `TF_CONFIG`.
    runs: Arguments of `run_once`, one dict a run.
    report: Where the answers go: `seeds` (see there) and `runs`, a list of
        one dict a run.

A device can only be divided before TensorFlow is in use, and a cluster only
be joined then.
"""

import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import dataset, input_pipeline
from emorec.errors import EmorecError
from emorec.features import extract, precomputed
from emorec.training import distribution, loop, steps, train
from testing.pooled import Pooled, inputs_of_ones

# What a worker ends with that is told to vanish.
VANISHED = 7
# `run_once` trains it by the loop alone.
POOLED = "pooled"
_SIZES = ("model.encoder_units=4", "model.rnn_units=4")


class Killed(Exception):
    """Ends a run between two epochs."""


def run_once(
    data: dataset.Dataset,
    strategy: tf.distribute.Strategy,
    folder: str,
    assignments: list[str],
    *,
    system: str = POOLED,
    kill_after: int | None = None,
    vanish_after: int | None = None,
    **arguments,
) -> dict:
    """Trains a small network, and says what came of it.

    Args:
        data: The data set.
        strategy: Where.
        folder: Where the results go.
        assignments: Of the config.
        system: The id of a system, for `train.train`, or `pooled`.
        kill_after: The epoch after which it raises.
        vanish_after: The epoch after which its process is gone.
        **arguments: Of `train.train`, or of `fit`.

    Returns:
        `history` and `weights` (see `total`), or `error` and its `kind`.
    """
    history = []

    def on_epoch(epoch, figures):
        history.append(figures)
        if epoch == vanish_after:
            os._exit(VANISHED)
        if epoch == kill_after:
            raise Killed

    work = fit if system == POOLED else _train
    name = "face_rnn" if system == POOLED else system
    config = train.training_config(data, name, [*_SIZES, *assignments])
    try:
        model = work(data, config, folder, strategy, on_epoch, **arguments)
    except Killed:
        return {"history": history}
    except EmorecError as e:
        return {"error": str(e), "kind": type(e).__name__}
    return {"history": history, "weights": total(model)}


def _train(data, config, folder, strategy, on_epoch, **arguments):
    return train.train(
        data,
        folder,
        config,
        precomputed.encoders(data.path),
        strategy=strategy,
        on_epoch=on_epoch,
        **arguments,
    ).model


def fit(
    data: dataset.Dataset,
    config: Config,
    folder: str,
    strategy: tf.distribute.Strategy,
    on_epoch=None,
    *,
    splits=("train", "validation"),
) -> keras.Model:
    """Trains a `Pooled` by the loop; returns it."""
    encoders = precomputed.encoders(data.path)
    sources = {
        split: extract.extract(data, split, encoders, encoders.shapes, config)
        for split in splits
    }
    classes = len(data.labels)
    counts = input_pipeline.class_counts(sources["train"], classes)
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = Pooled(classes, config.model.dropout)
        model(inputs_of_ones(*(size for (size,) in encoders.shapes.values())))
    run = loop.Run(
        model=model,
        train=sources["train"],
        validation=sources.get("validation", []),
        config=config,
        class_counts=counts,
        seed=0,
        name="a run",
        folder=folder,
        strategy=strategy,
    )
    loop.fit(run, on_epoch)
    return model


def seeds(strategy: tf.distribute.Strategy) -> list[list[int]]:
    """Returns what each replica's dropout draws from; always the same."""
    with strategy.scope():
        model = Pooled()
        model(inputs_of_ones())
        state = model.dropout.seed_generator.state
        state.assign([5, 8])
    shape = (None, None, None)
    spec = {
        "face_features": tf.TensorSpec(shape),
        "context_features": tf.TensorSpec(shape),
        "mask": tf.TensorSpec(shape[:2], tf.bool),
    }
    steps.Steps(
        model,
        Config().train,
        np.ones(3, np.float32),
        (spec, tf.TensorSpec((None,), tf.int64)),
        strategy,
    ).spread_seeds()
    parts = strategy.experimental_local_results(state.value)
    return [part.numpy().tolist() for part in parts]


def total(model: keras.Model) -> float:
    """Names a model's weights by one number."""
    return float(sum(np.abs(w).sum() for w in model.get_weights()))


def _strategy(devices: int | None) -> tf.distribute.Strategy:
    if devices is None:
        return distribution.choose()
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])


def main(path: str):
    task = json.loads(pathlib.Path(path).read_text())
    strategy = _strategy(task.get("devices"))
    data = dataset.load(task["data"])
    report = pathlib.Path(task["report"])
    done = {"seeds": seeds(strategy), "runs": []}
    for run in task["runs"]:
        done["runs"].append(run_once(data, strategy, **run))
        # After each: a later one may end the process.
        report.write_text(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1])
