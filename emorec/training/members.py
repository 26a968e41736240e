"""The members of an ensemble: obtained, and held against each other."""

import os
from collections.abc import Callable, Iterable, Sequence

from emorec.config import Config
from emorec.data import dataset, files
from emorec.errors import ConfigError, TrainingError
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

    Everything is looked at before anything is trained.

    Args:
        names: Ids of systems, trained in `<output_dir>/members/<id>`, or
            model folders.
        data: The prepared data set.
        output_dir: The ensemble's model folder to be.
        config_of: Gives the config of a system's run.
        encoders: For the systems that are trained here.
        **arguments: Of `train.train`: `seed`, `overwrite`, `strategy`,
            callbacks.

    Raises:
        ConfigError: There are no members, one is an ensemble, or they do not
            fit each other or the data set.
        ModelError: A folder holds no model.
        TrainingError: The place of one that is trained here holds another
            run, or it cannot be trained.
    """
    _check_names(names)
    made = {n: _load(n) for n in names if n not in presets.SYSTEMS}
    check(list(made.values()))
    for name, member in made.items():
        dataset.check_fits(
            data, member.config, member.labels, f"the member {name}"
        )
    configs = {n: config_of(n) for n in names if n in presets.SYSTEMS}
    own = {
        n: encoders.only(presets.inputs_of(c.model)) for n, c in configs.items()
    }
    _merged([*(m.encoders for m in made.values()), *own.values()])
    place = files.join(output_dir, FOLDER)
    for name, config in configs.items():
        if not arguments.get("overwrite"):
            run = train.run_name(data, config, own[name], arguments["seed"])
            made[name] = _finished(files.join(place, name), run)
    for name, config in configs.items():
        if made.get(name) is None:
            made[name] = train.train(
                data, files.join(place, name), config, own[name], **arguments
            )
    return [made[name] for name in names]


def _check_names(names):
    """Refuses what is no member, as far as its name tells."""
    if not names:
        raise ConfigError(
            "an ensemble needs members: ids of systems or model folders"
        )
    if presets.ENSEMBLE in names:
        raise ConfigError(
            "the members of an ensemble must not be ensembles themselves. "
            f"Received: {', '.join(names)}"
        )
    for name in names:
        if name not in presets.SYSTEMS and not os.path.isdir(name):
            known = [s for s in presets.SYSTEMS if s != presets.ENSEMBLE]
            raise ConfigError(
                f"a member must be a system's id ({', '.join(known)}) or a "
                f"model folder. Received: {name!r}"
            )


def _load(folder) -> bundle.Bundle:
    """Reads a member that was trained elsewhere."""
    found = bundle.load(folder)
    if found.system == presets.ENSEMBLE:
        raise ConfigError(
            f"{folder}: holds an ensemble, and the members of an ensemble "
            "must not be ensembles themselves; name its members instead"
        )
    return found


def _finished(folder, run) -> bundle.Bundle | None:
    """Returns a member that an earlier start of the command has trained."""
    if not files.exists(files.join(folder, bundle.FILE)):
        return None
    found = bundle.load(folder)
    if found.info.get("run") != run:
        raise TrainingError(
            f"{folder}: holds a member with another config, data set, "
            "encoder or seed; choose another --output_dir, or give "
            "--overwrite"
        )
    return found


def check(members: Sequence[bundle.Bundle]) -> None:
    """Refuses members that do not fit each other.

    Raises:
        ConfigError: Labels, data configs or encoders differ.
    """
    for other in members[1:]:
        first = members[0]
        for what, of in (
            ("labels", lambda m: m.labels.names),
            ("config of the data", lambda m: m.config.data_hash()),
        ):
            if of(first) != of(other):
                raise ConfigError(
                    f"the members {first.system} and {other.system} differ in "
                    f"their {what}: train both on one data set. Received: "
                    f"{of(first)} and {of(other)}"
                )
    encoders_of(members)


def encoders_of(members: Sequence[bundle.Bundle]) -> Encoders:
    """Returns the encoders of all members.

    Raises:
        ConfigError: Two members have different ones for a stream.
    """
    return _merged(m.encoders for m in members)


def _merged(parts: Iterable[Encoders]) -> Encoders:
    found = {}
    for part in parts:
        for stream, encoder in part.items():
            known = found.setdefault(stream, encoder)
            if known.hash != encoder.hash:
                raise ConfigError(
                    f"the members have different {stream} encoders: train "
                    "them with one. Received: "
                    f"{known.id} {known.hash} and {encoder.id} {encoder.hash}"
                )
    return Encoders(**found)
