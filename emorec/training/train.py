"""From a prepared data set to a model folder, for every system."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from emorec.config import Config, short_hash
from emorec.data import dataset, files, mixing
from emorec.data.feature_files import FeatureFiles, shapes_of
from emorec.errors import ConfigError, TrainingError
from emorec.features import extract
from emorec.features.encoders import Encoders
from emorec.models import presets
from emorec.training import bundle, distribution, validation, warm_start
from emorec.training.job import Job

HISTORY = "history.json"
# Split -> records of features.
Sources = Mapping[str, Sequence[FeatureFiles]]


def train(
    data: dataset.Dataset,
    output_dir: str | os.PathLike,
    config: Config,
    encoders: Encoders,
    *,
    members: Sequence[bundle.Bundle] = (),
    sources: Sources | None = None,
    base: bundle.Bundle | None = None,
    strategy: tf.distribute.Strategy | None = None,
    run_dir: str | os.PathLike | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_features: Callable[[str, int, int], None] | None = None,
    on_epoch: Callable[[int, dict], None] | None = None,
) -> bundle.Bundle:
    """Extracts features where they are absent, trains, saves the model.

    The same seed, data and config give the same model on a CPU. A killed run
    goes on from its last epoch. Of several workers (`distribution`) all
    return the model and the chief alone writes it.

    Args:
        data: The prepared data set; its config decides the data sections.
        output_dir: The model folder to be, local or remote.
        config: The model's config; its batch is that of all devices together.
        encoders: The frozen encoders; those that the system does not read
            are left aside.
        members: Of an ensemble, its trained members.
        sources: Split -> records of features that are there already; then
            nothing is extracted, and the records of frames are not read.
        base: Gives the weights to begin with, and nothing else.
        strategy: Where a gradient trains; `distribution.choose()` by
            default. In a process of several workers it has to be made first.
        run_dir: Where checkpoints, logs and `history.json` go; `output_dir`
            by default.
        seed: Of initialisation, shuffling, sampling and dropout.
        overwrite: Throw away an earlier model or run in the folders.
        on_features: Called with (split, shards done, all shards).
        on_epoch: Called with (epoch, figures).

    Raises:
        ConfigError: An encoder is absent or does not give what is read, the
            base or the sources do not fit, or Keras runs on another backend
            than TensorFlow.
        TrainingError: The folder holds another run, there is nothing to
            train on, the loss is not finite, or another worker has stopped.
    """
    check_backend("training")
    strategy = strategy or distribution.choose()
    run_dir = run_dir or output_dir
    with distribution.together(strategy):
        dataset.check_fits(data, config, data.labels, "this training config")
        mixing.check(config.train.source_weights, data.sources)
        inputs = presets.inputs_of(
            config.model, [m.config.model for m in members]
        )
        encoders = encoders.only(inputs)
        if sources is not None:
            _check_sources(sources, {n: encoders.shapes[n] for n in inputs})
        if base is not None:
            warm_start.check(base, config, data.labels, encoders)
        name = run_name(data, config, encoders, seed, members, base)
        if distribution.is_chief(strategy):
            _claim(output_dir, run_dir, overwrite)
    distribution.agree(
        strategy, int(name[:6], 16), "runs: give all the same flags and data"
    )
    if sources is None:
        sources = _extract(
            data, encoders, inputs, config, on_features, strategy
        )
    job = Job(data, config, encoders, members, base, strategy, seed, name)
    made, history = job.work(sources, str(run_dir), on_epoch)
    with distribution.together(strategy):
        made = _with_what_is_known(made, data, sources)
        if distribution.is_chief(strategy):
            history_path = files.join(run_dir, HISTORY)
            files.write_json(history_path, {"epochs": history})
            made.save(output_dir)
    return made


def _with_what_is_known(made, data, sources) -> bundle.Bundle:
    """Adds the calibration, and what a model card and a data card tell."""
    described = {
        **made.info["data"],
        "labels": {s: v.get("labels", {}) for s, v in data.splits.items()},
        "coverage": {s: round(data.coverage(s), 6) for s in data.splits},
        "unreadable": len(data.failures),
    }
    measured = validation.measure(made, sources.get(validation.SPLIT, ()))
    info = {**made.info, "data": described, **measured}
    return dataclasses.replace(made, info=info)


def _check_sources(sources, shapes):
    """Refuses records of features that are not what the system reads."""
    if not sources.get("train"):
        raise TrainingError(
            "the features that were given must have the split 'train'. "
            f"Received: {', '.join(sources) or 'none'}"
        )
    for split, given in sources.items():
        found = {n: tuple(s) for n, s in shapes_of(given).items()}
        if given and found != shapes:
            raise ConfigError(
                f"the features that were given of {split!r} must hold what "
                f"the system reads, {_text(shapes)}. Received: {_text(found)}"
            )


def _text(shapes) -> str:
    return ", ".join(f"{n} {list(s)}" for n, s in shapes.items()) or "nothing"


def _extract(data, encoders, inputs, config, on_features, strategy) -> Sources:
    """Extracts what is absent: the chief, and then who sees other files."""
    found = {}
    for turn in (True, False):
        with distribution.together(strategy):
            if distribution.is_chief(strategy) != turn:
                continue
            for split in ("train", "validation"):
                if split == "train" or data.splits.get(split, {}).get("files"):
                    found[split] = extract.extract(
                        data,
                        split,
                        encoders,
                        inputs,
                        config,
                        progress=on_features and _bind(on_features, split),
                    )
    return found


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
    base: bundle.Bundle | None = None,
) -> str:
    """Names a run by all that decides its result."""
    values = config.to_dict()
    # Absent where there is none, so that older runs keep their names.
    begins = {"base": base.info["run"]} if base is not None else {}
    return short_hash(
        {
            **begins,
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


def _claim(output_dir, run_dir, overwrite: bool):
    """Refuses to train over a finished model."""
    model = files.join(output_dir, bundle.FILE)
    if overwrite:
        for folder, names in (
            (output_dir, (bundle.FILE, bundle.WEIGHTS, "encoders")),
            (run_dir, ("checkpoints", "logs", HISTORY)),
        ):
            for name in names:
                files.remove(files.join(folder, name))
    elif files.exists(model):
        raise TrainingError(
            f"{output_dir}: holds a trained model; choose another "
            "--output_dir, or give --overwrite"
        )


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
