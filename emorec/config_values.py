"""JSON values to the config tree's dataclasses, with each type checked."""

import dataclasses
import json
import types
import typing

from emorec.errors import ConfigError


def parse(text: str):
    """Returns the value of a `--set`: JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def from_dict(cls, values: dict, prefix: str = ""):
    """Builds a dataclass, and those in it, from JSON values.

    Args:
        cls: The dataclass.
        values: Field -> value; absent fields keep their defaults.
        prefix: Where it stands in the tree, for messages.

    Raises:
        ConfigError: A field is unknown or has a value of another type.
    """
    if not isinstance(values, dict):
        raise ConfigError(
            f"config `{prefix.rstrip('.') or 'config'}` must be an object. "
            f"Received: {values!r}"
        )
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(
            f"config has no field {prefix}{unknown[0]}; "
            f"there is {', '.join(hints)}"
        )
    kwargs = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            kwargs[name] = from_dict(hint, value, f"{prefix}{name}.")
        else:
            kwargs[name] = _coerce(hint, value, prefix + name)
    return cls(**kwargs)


def _coerce(hint, value, name):
    """Turns a JSON value into the field's type, or says what was expected."""
    if isinstance(hint, types.GenericAlias):
        items = typing.get_args(hint)
        if isinstance(value, list | tuple) and len(value) == len(items):
            return tuple(
                _coerce(h, v, name) for h, v in zip(items, value, strict=True)
            )
    elif hint is float and isinstance(value, int | float):
        if not isinstance(value, bool):
            return float(value)
    elif type(value) is hint:
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"config `{name}` must be {wanted}. Received: {value!r}")
