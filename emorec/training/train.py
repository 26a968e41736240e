"""From a prepared data set to a model folder, for every system."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from emorec.config import Config, short_hash
from emorec.data import dataset, files, input_pipeline, mixing
from emorec.errors import ConfigError, TrainingError
from emorec.features import extract
from emorec.features.encoders import Encoders
from emorec.models import presets
from emorec.training import bundle, fitted, loop


def train(
    data: dataset.Dataset,
    output_dir: str | os.PathLike,
    config: Config,
    encoders: Encoders,
    *,
    members: Sequence[bundle.Bundle] = (),
    seed: int = 0,
    overwrite: bool = False,
    on_features: Callable[[str, int, int], None] | None = None,
    on_epoch: Callable[[int, dict], None] | None = None,
) -> bundle.Bundle:
    """Extracts features where they are absent, trains, saves the model.

    The same seed, data and config give the same model on a CPU. A killed run
    goes on from its last epoch.

    Args:
        data: The prepared data set; its config decides the data sections.
        output_dir: The model folder to be.
        config: The model's config.
        encoders: The frozen encoders; those that the system does not read
            are left aside.
        members: Of an ensemble, its trained members.
        seed: Of initialisation, shuffling, sampling and dropout.
        overwrite: Throw away an earlier model or run in the folder.
        on_features: Called with (split, shards done, all shards).
        on_epoch: Called with (epoch, figures).

    Raises:
        ConfigError: An encoder is absent or does not give what is read, or
            Keras runs on another backend than TensorFlow.
        TrainingError: The folder holds another run, there is nothing to
            train on, or the loss is not finite.
    """
    check_backend("training")
    dataset.check_fits(data, config, data.labels, "this training config")
    mixing.check(config.train.source_weights, data.sources)
    of_members = tuple(m.config.model for m in members)
    inputs = presets.inputs_of(config.model, of_members)
    encoders = encoders.only(inputs)
    name = run_name(data, config, encoders, seed, members)
    folder = pathlib.Path(output_dir)
    _claim(folder, overwrite)
    sources = {
        split: extract.extract(
            data,
            split,
            encoders,
            inputs,
            config,
            progress=on_features and _bind(on_features, split),
        )
        for split in ("train", "validation")
        if split == "train" or data.splits.get(split, {}).get("files")
    }
    keras.utils.set_random_seed(seed)
    # CPU kernels that sum in any order are the one other source of change.
    tf.config.experimental.enable_op_determinism()
    run = loop.Run(
        model=presets.build(
            config.model,
            encoders.shapes,
            len(data.labels),
            members=of_members,
        ),
        train=sources["train"],
        validation=sources.get("validation", []),
        config=config,
        class_counts=input_pipeline.class_counts(
            sources["train"], len(data.labels), config.train.source_weights
        ),
        seed=seed,
        name=name,
        folder=folder,
    )
    history, notes = [], {}
    if presets.get(config.model.system).training == "gradient":
        history = loop.fit(run, on_epoch)
    else:
        notes = fitted.fit(run, encoders, data.labels, members)
    made = bundle.Bundle(
        run.model,
        encoders,
        config,
        data.labels,
        {**_info(data, seed, name, history), **notes},
        of_members,
    )
    files.write_json(folder / "history.json", {"epochs": history})
    made.save(folder)
    return made


def check_backend(what: str) -> None:
    """Refuses a Keras backend on which the work does not run.

    Args:
        what: The work, for the message.

    Raises:
        ConfigError: The backend is not TensorFlow.
    """
    found = keras.backend.backend()
    if found != "tensorflow":
        raise ConfigError(
            f"{what} needs Keras' backend tensorflow; the networks of "
            "emorec.models alone run on jax too. "
            f"Received: {found!r}; unset KERAS_BACKEND"
        )


def _bind(callback, split):
    return lambda done, total: callback(split, done, total)


def run_name(
    data: dataset.Dataset,
    config: Config,
    encoders: Encoders,
    seed: int,
    members: Sequence[bundle.Bundle] = (),
) -> str:
    """Names a run by all that decides its result."""
    values = config.to_dict()
    return short_hash(
        {
            "data": data.fingerprint,
            "data_config": config.data_hash(),
            "model": values["model"],
            "train": values["train"],
            "encoders": encoders.hash,
            "labels": list(data.labels.names),
            "seed": seed,
            "members": [m.info["run"] for m in members],
        }
    )


def _claim(folder: pathlib.Path, overwrite: bool):
    """Refuses to train over a finished model."""
    if overwrite:
        for name in ("checkpoints", "logs", "encoders"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (bundle.FILE, bundle.WEIGHTS, "history.json"):
            (folder / name).unlink(missing_ok=True)
    elif (folder / bundle.FILE).exists():
        raise TrainingError(
            f"{folder}: holds a trained model; choose another --output_dir, "
            "or give --overwrite"
        )


def _info(data, seed, name, history) -> dict:
    values = {
        "run": name,
        "seed": seed,
        "epochs": len(history),
        "best_epoch": None,
        "best": {},
        "notes": [],
        "data": {
            "fingerprint": data.fingerprint,
            "sources": data.sources,
            "rows": {s: v["rows"] for s, v in data.splits.items()},
        },
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    if history:
        best = int(np.argmin([h.get("val_loss", h["loss"]) for h in history]))
        values |= {"best_epoch": best, "best": history[best]}
    return values


def training_config(
    data: dataset.Dataset, system: str, assignments: list[str]
) -> Config:
    """The config of a run: the data's, with the run's own fields set.

    Raises:
        ConfigError: There is no such system, or an assignment would change
            it or how the data was made.
    """
    presets.get(system)
    config = data.config.override([f"model.system={system}", *assignments])
    if config.model.system != system:
        raise ConfigError(
            "`--set` must not change model.system, which the command names. "
            f"Received: {config.model.system!r} for {system!r}"
        )
    config = dataclasses.replace(config, model=presets.resolve(config.model))
    if config.data_hash() != data.config.data_hash():
        raise ConfigError(
            "`--set` of `train` must not change how the records were made. "
            f"Received: {', '.join(assignments)}; give it to `emorec prepare`"
        )
    return config
