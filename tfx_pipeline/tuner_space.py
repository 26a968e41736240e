"""The space of a search: fields of the config, and the values to try.

{
  "model.rnn_units": [32, 64],
  "model.dropout": {"min": 0.1, "max": 0.5},
  "train.learning_rate": {"min": 1e-4, "max": 1e-2, "log": true}
}
"""

import json
import math
from collections.abc import Mapping

import keras_tuner

from emorec.config import Config
from emorec.errors import ConfigError

# Others decide the data, or what is measured.
_SECTIONS = ("model", "train")
_FIXED = ("model.system", "train.epochs", "train.patience")
_SIZES = ("model.encoder_units", "model.rnn_units")
_RANGE = ("min", "max", "log", "step")


def default(config: Config) -> dict:
    """Returns the space of a system: its sizes, dropout, learning rate.

    Args:
        config: Of the run, with the system's own sizes in place.
    """
    sections = config.to_dict()
    space = {}
    for field in _SIZES:
        own = _field(sections, field)
        if own:
            space[field] = sorted({max(own // 2, 1), own, own * 2})
    if not space:
        filters = config.model.conv_filters
        space["model.conv_filters"] = [max(filters // 2, 1), filters]
    space["model.dropout"] = {"min": 0.1, "max": 0.5}
    space["train.learning_rate"] = {"min": 1e-4, "max": 1e-2, "log": True}
    return space


def parse(space: Mapping, config: Config) -> keras_tuner.HyperParameters:
    """Turns a space into keras-tuner's form.

    Args:
        space: Field of the config -> a list of values, or a range: `min`,
            `max`, and perhaps `log` and `step`.
        config: Of the run, into which each value has to fit.

    Raises:
        ConfigError: A field is unknown or not to be tuned, or a value or a
            range does not fit it; the message names the field.
    """
    made = keras_tuner.HyperParameters()
    if not isinstance(space, Mapping) or not space:
        raise ConfigError(
            "the Tuner's `space` must be an object of config fields. "
            f"Received: {space!r}"
        )
    for field, values in space.items():
        _check_field(field, config)
        if isinstance(values, Mapping):
            _add_range(made, field, values, config)
        else:
            _add_choice(made, field, values, config)
    return made


def _field(sections, field):
    section, _, name = field.partition(".")
    return sections[section][name]


def _check_field(field, config):
    section, _, name = str(field).partition(".")
    fields = config.to_dict().get(section, {})
    if section not in _SECTIONS or name not in fields or field in _FIXED:
        known = [
            f"{s}.{f}"
            for s in _SECTIONS
            for f in config.to_dict()[s]
            if f"{s}.{f}" not in _FIXED
        ]
        raise _bad(field, f"one of {', '.join(known)}", field)


def _bad(field, rule, value) -> ConfigError:
    return ConfigError(
        f"the Tuner's space: `{field}` must be {rule}. Received: {value!r}"
    )


def _add_choice(made, field, values, config):
    if not isinstance(values, list | tuple) or not values:
        raise _bad(field, "a list of values, or a range of min and max", values)
    wanted = type(_field(config.to_dict(), field))
    for value in values:
        _check_value(field, value, config)
    # keras-tuner wants one type; [1, 0.5] is fine for a float.
    made.Choice(field, [wanted(value) for value in values])


def _check_value(field, value, config):
    try:
        config.override([f"{field}={json.dumps(value)}"])
    except (ConfigError, TypeError, ValueError) as e:
        raise ConfigError(f"the Tuner's space: {e}") from e


def _add_range(made, field, values, config):
    wanted = type(_field(config.to_dict(), field))
    unknown = sorted(set(values) - set(_RANGE))
    if unknown or not {"min", "max"} <= set(values):
        raise _bad(field, f"a range of {', '.join(_RANGE)}", dict(values))
    low, high, step = values["min"], values["max"], values.get("step")
    log = values.get("log", False)
    if wanted not in (int, float) or not isinstance(log, bool):
        raise _bad(field, "a list of values", dict(values))
    for value in (low, high):
        _check_value(field, value, config)
    if not low < high or (log and low <= 0):
        rule = "a range of min below max" + (", above 0" if log else "")
        raise _bad(field, rule, dict(values))
    arguments = {"sampling": "log" if log else "linear"}
    if step is not None:
        least = 1 if log else 0
        fits = isinstance(step, int | float) and not isinstance(step, bool)
        if not fits or not least < step < math.inf or wanted(step) != step:
            raise _bad(field, f"a range with a step above {least}", values)
        arguments["step"] = wanted(step)
    add = made.Int if wanted is int else made.Float
    add(field, wanted(low), wanted(high), **arguments)
