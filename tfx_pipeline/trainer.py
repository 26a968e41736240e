"""What the Trainer runs: `emorec.training.train` on a feature set.

    Trainer(run_fn="tfx_pipeline.trainer.run_fn", examples=features,
            custom_config=trainer.custom_config("caca_rnn_a"), ...)

Its outputs, for TFX's artifacts `model` and `model_run`:

    <model>/Format-Serving/        the proven SavedModel, all signatures
        assets.extra/emorec_model/ its weights, for a warm start
    <model_run>/model/             the model folder (`training.bundle`)
        checkpoints/ logs/         the run's state, TensorBoard's curves
        members/                   of an ensemble, the same of each
        history.json               figures of each epoch
        predictions.json           the Keras model's answers for some clips
        started.json               what the run is; a killed one is taken up
"""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from emorec import labels as label_sets
from emorec.config import Config, short_hash
from emorec.data import dataset, files, processes
from emorec.errors import ConfigError, EmorecError, RecordError
from emorec.features import feature_set
from emorec.models import presets
from emorec.training import bundle, distribution, train
from emorec.training import members as ensembles
from tfx_pipeline import executions, trained
from tfx_pipeline.code_hash import code_hash

MODEL = "model"
STARTED = "started.json"
_CODE = (
    "emorec/config.py",
    "emorec/config_check.py",
    "emorec/config_values.py",
    "emorec/data",
    "emorec/evaluation/calibration.py",
    "emorec/evaluation/metrics.py",
    "emorec/export",
    "emorec/features",
    "emorec/labels.py",
    "emorec/models",
    "emorec/training",
    "tfx_pipeline/executions.py",
    "tfx_pipeline/trained.py",
    "tfx_pipeline/trainer.py",
    "tfx_pipeline/tuner.py",
    "tfx_pipeline/tuner_space.py",
)
_FIELDS = {
    "system": str,
    "assignments": list,
    "seed": int,
    "warm_start": bool,
    "members": list,
    "code": str,
    "config": str,
}


def custom_config(
    system: str,
    assignments: Sequence[str] = (),
    *,
    seed: int = 0,
    warm_start: bool = False,
    members: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the `custom_config` of the Trainer and of the Tuner.

    TFX sees neither that code nor that a default has changed, and would
    answer from its cache: so their hashes are in it.

    Args:
        system: The system's id.
        assignments: `section.field=value` of the run's config.
        seed: Of initialisation, shuffling, sampling and dropout.
        warm_start: Begin from the weights of `base_model`, if there is one.
        members: Of an ensemble, ids of systems; none are the paper's.

    Raises:
        ConfigError: There is no such system or field, a value is bad, or it
            would change how the records were made.
    """
    names = list(members)
    if names and system != presets.ENSEMBLE:
        raise ConfigError(
            f"the Trainer's `members` are for the system {presets.ENSEMBLE}. "
            f"Received: {', '.join(names)} for {system!r}"
        )
    if system == presets.ENSEMBLE:
        names = names or list(presets.PAPER_MEMBERS)
    if presets.ENSEMBLE in names:
        raise ConfigError(
            "the Trainer's `members` must not be ensembles themselves. "
            f"Received: {', '.join(names)}"
        )
    used = {
        name: _config_of(_no_data(), name, assignments).to_dict()
        for name in (*names, system)
    }
    return {
        "system": system,
        "assignments": list(assignments),
        "seed": seed,
        "warm_start": warm_start,
        "members": names,
        "code": code_hash(*_CODE),
        "config": short_hash(used),
    }


def _no_data() -> dataset.Dataset:
    """A data set of the default config, to hold a run's config against."""
    labels = label_sets.resolve("mec2017")
    return dataset.Dataset("", Config(), labels, {}, [], {}, "")


def _config_of(data, system, assignments) -> Config:
    return train.training_config(data, system, list(assignments))


def read_custom(fn_args) -> dict[str, Any]:
    """Returns the `custom_config` of TFX's `FnArgs`, checked.

    Raises:
        ConfigError: A field is absent or of another type.
    """
    given = fn_args.custom_config or {}
    for name, wanted in _FIELDS.items():
        if type(given.get(name)) is not wanted:
            raise ConfigError(
                f"custom_config `{name}` must be {wanted.__name__}; make it "
                "by tfx_pipeline.trainer.custom_config. "
                f"Received: {given.get(name)!r}"
            )
    # A copy: TFX's own is not ours to change.
    return copy.deepcopy({name: given[name] for name in _FIELDS})


def features_of(fn_args) -> feature_set.FeatureSet:
    """Reads the feature set that TFX gave as `examples`.

    Raises:
        EmorecError: There are several, or it is not one of ours.
    """
    # <feature set>/Split-train/*
    roots = {files.parent(files.parent(p)) for p in fn_args.train_files or ()}
    if len(roots) != 1:
        raise RecordError(
            "training reads one output of FeatureExtractor. "
            f"Received: {', '.join(sorted(roots)) or 'none'}"
        )
    return feature_set.load(roots.pop())


def hyperparameter_assignments(values: Mapping[str, Any]) -> list[str]:
    """Returns keras-tuner's values as `section.field=value`."""
    return [
        f"{name}={json.dumps(value)}"
        for name, value in sorted(values.items())
        # keras-tuner's own notes, of hyperband.
        if not name.startswith("tuner/")
    ]


def run_fn(fn_args) -> None:
    """Trains a model and exports it; TFX's Trainer calls it.

    Under `TF_CONFIG` each worker calls it with the same arguments, and the
    chief alone writes.

    Args:
        fn_args: TFX's `FnArgs`; `custom_config` of the function of that
            name. The best values of a Tuner (`hyperparameters`) go over its
            assignments. The data set's `validation` split is found beside
            `train`, so `eval_files` are not read.

    Raises:
        EmorecError: One line that says what cannot be done; nothing is then
            exported.
    """
    processes.begin_training()
    # TensorFlow joins a cluster before its first operation only.
    strategy = distribution.choose()
    with distribution.together(strategy):
        run = _Run.of(fn_args, strategy)
        if run.is_chief:
            _begin(run.folder, run.identity)
    made = run.train()
    with distribution.together(strategy):
        if run.is_chief:
            trained.publish(
                made,
                run.features,
                run.folder,
                run.model_dir,
                fn_args.serving_model_dir,
            )
            files.write_json(
                files.join(run.folder, STARTED),
                {**run.identity, "finished": True},
            )
    # TFX looks for the SavedModel in every worker.
    distribution.barrier(strategy)


@dataclasses.dataclass(frozen=True)
class _Run:
    """What TFX's arguments ask for.

    Attributes:
        custom: Of `read_custom`; assignments with a Tuner's values.
        features: The feature set.
        base: What a warm start begins from.
        folder: The artifact `model_run`.
        strategy: Where it runs.
    """

    custom: dict[str, Any]
    features: feature_set.FeatureSet
    base: bundle.Bundle | None
    folder: str
    strategy: tf.distribute.Strategy

    @classmethod
    def of(cls, fn_args, strategy) -> "_Run":
        custom = read_custom(fn_args)
        best = (fn_args.hyperparameters or {}).get("values", {})
        custom["assignments"] += hyperparameter_assignments(best)
        features = features_of(fn_args)
        base = None
        if custom["warm_start"] and fn_args.base_model:
            base = trained.read_base(fn_args.base_model, features)
        elif custom["warm_start"]:
            logging.info("warm start: no model was blessed, so from scratch")
        return cls(custom, features, base, fn_args.model_run_dir, strategy)

    @property
    def is_chief(self) -> bool:
        return distribution.is_chief(self.strategy)

    @property
    def model_dir(self) -> str:
        return files.join(self.folder, MODEL)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the result, as JSON values."""
        return {
            **self.custom,
            "data": self.features.data.fingerprint,
            "encoders": self.features.encoders.hash,
            "base": self.base and self.base.info["run"],
        }

    def train(self) -> bundle.Bundle:
        """Trains the system, and before it the members of an ensemble."""
        place = files.join(self.folder, ensembles.FOLDER)
        members = [
            self._train(name, files.join(place, name))
            for name in self.custom["members"]
        ]
        ensembles.check(members)
        return self._train(
            self.custom["system"],
            self.model_dir,
            members=members,
            base=self.base,
            run_dir=self.folder,
        )

    def _train(self, system, folder, *, members=(), **more) -> bundle.Bundle:
        data = self.features.data
        config = _config_of(data, system, self.custom["assignments"])
        inputs = presets.inputs_of(
            config.model, [m.config.model for m in members]
        )
        return train.train(
            data,
            folder,
            config,
            self.features.encoders.only(inputs),
            members=members,
            sources=self.features.sources(inputs),
            strategy=self.strategy,
            seed=self.custom["seed"],
            on_epoch=lambda epoch, figures: logging.info(
                "%s, epoch %d: %s", system, epoch + 1, json.dumps(figures)
            ),
            **more,
        )


def _begin(folder, identity) -> None:
    """Takes up the state of an execution of this very run that was killed."""
    for place in executions.beside(folder):
        path = files.join(place, STARTED)
        if not files.exists(path):
            continue
        try:
            found = files.read_json(path, "description of a run", "delete it")
        except EmorecError as e:
            logging.warning("%s; it is not taken up", e)
            continue
        if found == {**identity, "finished": False}:
            logging.info("goes on with the run of %s", place)
            _copy_state(place, folder)
            break
    files.write_json(
        files.join(folder, STARTED), {**identity, "finished": False}
    )


def _copy_state(source, target) -> None:
    members = [
        files.join(ensembles.FOLDER, name)
        for name in files.listing(files.join(source, ensembles.FOLDER))
    ]
    for part in ("", *members):
        for name in ("logs", "checkpoints"):
            here = [n for n in (part, name) if n]
            if files.listing(files.join(source, *here)):
                files.copy_tree(
                    files.join(source, *here), files.join(target, *here)
                )
