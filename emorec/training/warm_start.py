"""Begins a run with the weights of a model that was trained before."""

import dataclasses

import keras

from emorec.config import Config, ModelConfig
from emorec.errors import ConfigError
from emorec.features.encoders import Encoders
from emorec.labels import LabelSet
from emorec.models import presets
from emorec.training.bundle import Bundle

# What may differ: it has no weights.
_FREE = ("dropout",)


def check(
    base: Bundle, config: Config, labels: LabelSet, encoders: Encoders
) -> None:
    """Refuses a base whose weights would mean something else in the run.

    Args:
        base: The model that was trained before.
        config: The run's.
        labels: The run's.
        encoders: Those that the run's system reads.

    Raises:
        ConfigError: With all that differs, or the system has no weights that
            a gradient trains.
    """
    system = presets.get(config.model.system)
    if system.training != "gradient":
        raise ConfigError(
            "a warm start is for systems that a gradient trains, and "
            f"{system.id} is not one; train it without a base"
        )
    ours = {
        **_architecture(config.model),
        "labels": ", ".join(labels.names),
        **_hashes(encoders),
    }
    theirs = {
        **_architecture(base.config.model),
        "labels": ", ".join(base.labels.names),
        **_hashes(base.encoders),
    }
    differ = [
        f"{name} is {theirs.get(name)}, not {ours.get(name)}"
        for name in ours | theirs
        if ours.get(name) != theirs.get(name)
    ]
    if differ:
        raise ConfigError(
            "a warm start needs a base of the same architecture, labels and "
            f"encoders. Received one whose {'; '.join(differ)}; choose "
            "another base, or train without one"
        )


def _architecture(config: ModelConfig) -> dict:
    values = dataclasses.asdict(presets.resolve(config))
    return {f"model.{k}": v for k, v in values.items() if k not in _FREE}


def _hashes(encoders) -> dict:
    return {f"{stream} encoder": e.hash for stream, e in encoders.items()}


def apply(base: Bundle, model: keras.Model) -> None:
    """Copies the weights; the state of the dropouts stays the run's own.

    Args:
        base: What `check` let pass.
        model: The run's network.
    """
    for variable, value in zip(model.weights, base.model.weights, strict=True):
        variable.assign(value)
