"""The members of an ensemble: obtained, and held against each other."""

import os
import pathlib
from collections.abc import Callable, Sequence

from emorec.config import Config
from emorec.data import dataset
from emorec.errors import ConfigError
from emorec.features.encoders import Encoders
from emorec.models import presets
from emorec.training import bundle, train

FOLDER = "members"


def obtain(
    names: Sequence[str],
    data: dataset.Dataset,
    output_dir: str | os.PathLike,
    config_of: Callable[[str], Config],
    encoders: Encoders,
    **arguments,
) -> list[bundle.Bundle]:
    """Returns the members, trained where they are not yet.

    Args:
        names: Ids of systems, trained in `<output_dir>/members/<id>`, or
            model folders.
        data: The prepared data set.
        output_dir: The ensemble's model folder to be.
        config_of: Gives the config of a system's run.
        encoders: For the systems that are trained here.
        **arguments: Of `train.train`: `seed`, `overwrite`, callbacks.

    Raises:
        ConfigError: There are no members, one is an ensemble, or they do not
            fit each other.
        ModelError: A folder holds no model.
    """
    if presets.ENSEMBLE in names:
        raise ConfigError(
            "the members of an ensemble must not be ensembles themselves. "
            f"Received: {', '.join(names)}"
        )
    made = []
    for name in names:
        if name in presets.SYSTEMS:
            folder = pathlib.Path(output_dir) / FOLDER / name
            made.append(
                _trained(data, folder, config_of(name), encoders, arguments)
            )
        elif os.path.isdir(name):
            made.append(bundle.load(name))
        else:
            raise ConfigError(
                "a member must be a system's id "
                f"({', '.join(presets.SYSTEMS)}) or a model folder. "
                f"Received: {name!r}"
            )
    check(made)
    return made


def _trained(data, folder, config, encoders, arguments):
    """Trains a member, unless the very run is finished."""
    if (folder / bundle.FILE).exists() and not arguments.get("overwrite"):
        found = bundle.load(folder)
        name = train.run_name(
            data, config, encoders.only(found.inputs), arguments["seed"]
        )
        if found.info["run"] == name:
            return found
    return train.train(data, folder, config, encoders, **arguments)


def check(members: Sequence[bundle.Bundle]) -> None:
    """Refuses members that do not fit each other.

    Raises:
        ConfigError: There are none, or labels, data configs or encoders
            differ.
    """
    if not members:
        raise ConfigError(
            "an ensemble needs members: ids of systems or model folders"
        )
    first, *others = members
    for other in others:
        for what, of in (
            ("labels", lambda m: m.labels.names),
            ("config of the data", lambda m: m.config.data_hash()),
        ):
            if of(first) != of(other):
                raise ConfigError(
                    f"the members {first.system} and {other.system} have "
                    f"another {what}: train both on one data set. Received: "
                    f"{of(first)} and {of(other)}"
                )
    encoders_of(members)


def encoders_of(members: Sequence[bundle.Bundle]) -> Encoders:
    """Returns the encoders of all members.

    Raises:
        ConfigError: Two members have different ones for a stream.
    """
    found = {}
    for member in members:
        for stream, encoder in member.encoders.items():
            known = found.setdefault(stream, encoder)
            if known.hash != encoder.hash:
                raise ConfigError(
                    f"the members have different {stream} encoders: train "
                    "them with one. Received: "
                    f"{known.id} {known.hash} and {encoder.id} {encoder.hash}"
                )
    return Encoders(**found)
