"""What an experiment runs: variants of systems, seeds, and a task for each."""

import dataclasses
import functools
import pathlib
import types
from collections.abc import Callable, Sequence

from emorec.config import Config, ModelConfig
from emorec.data import dataset, mixing
from emorec.errors import ConfigError
from emorec.features.encoders import Encoders
from emorec.models import presets
from emorec.training import experiment_run, train
from emorec.training.experiment_run import NOT_POSSIBLE, Record, Task

ALL = "all"
# The ablations of a cascade, and the fields that they set.
CUTS = {"no_attention": "model.attention", "no_seeding": "model.seeding"}
RUNS = "runs"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A system, or one with a part cut.

    Attributes:
        id: The system's id, or `<system>.no_attention`, `<system>.no_seeding`.
        system: The system's id.
        assignments: `section.field=value`, above those of the plan.
    """

    id: str
    system: str
    assignments: tuple[str, ...] = ()


def variants(systems: str, ablations: bool = False) -> list[Variant]:
    """Returns the variants that a `--systems` value names.

    Args:
        systems: `all`, or ids with commas between them.
        ablations: Add both cuts of every cascade of two streams or more that
            is named.

    Raises:
        ConfigError: An id is unknown, or there is none.
    """
    known = _known()
    found = {}
    for name in map(str.strip, systems.split(",")):
        for id_ in presets.SYSTEMS if name == ALL else [name]:
            if id_ not in known:
                raise ConfigError(
                    f"`systems` must be {ALL} or some of {', '.join(known)}. "
                    f"Received: {id_!r}"
                )
            cuts = [f"{id_}.{cut}" for cut in CUTS] if ablations else []
            for one in (id_, *cuts):
                if one in known:
                    found[one] = known[one]
    return list(found.values())


@functools.cache
def _known() -> dict[str, Variant]:
    """Returns all variants by id."""
    found = {name: Variant(name, name) for name in presets.SYSTEMS}
    for name, system in presets.SYSTEMS.items():
        if system.cascade:
            for cut, field in CUTS.items():
                id_ = f"{name}.{cut}"
                found[id_] = Variant(id_, name, (f"{field}=false",))
    return found


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        data_dir: A prepared data set.
        output_dir: Where runs and results go.
        variants: What is trained, each `seeds` times; what no seed changes
            (the mapping and the prior) once.
        seeds: S; the seeds are 0 to S - 1.
        assignments: `section.field=value` of every run's config.
        make_encoders: `(inputs) -> Encoders`; picklable, for it is called
            once in every worker (`experiment_run.keep` makes one).
        splits: The splits to measure.
        workers: Processes. With 1 a few runs are made in this one, more
            of them in another.
        members: Of the ensemble: ids of systems. Those among the variants
            are trained once.
        overwrite: Throw away what the planned runs' folders hold.
        notes: What must be said above the results.
    """

    data_dir: str
    output_dir: str
    variants: Sequence[Variant]
    seeds: int
    assignments: tuple[str, ...]
    make_encoders: Callable[[Sequence[str]], Encoders]
    splits: tuple[str, ...] = ("validation", "test")
    workers: int = 1
    members: tuple[str, ...] = presets.PAPER_MEMBERS
    overwrite: bool = False
    notes: tuple[str, ...] = ()


def inputs_of(
    variants: Sequence[Variant],
    members: Sequence[str] = presets.PAPER_MEMBERS,
) -> tuple[str, ...]:
    """Returns what some variants read of each step, `<stream>_<kind>`."""
    parts = [ModelConfig(m) for m in members]
    found = [
        name
        for v in variants
        for name in presets.inputs_of(ModelConfig(v.system), parts)
    ]
    return tuple(dict.fromkeys(found))


def seeds_of(plan: Plan, variant: Variant) -> range:
    """Returns a variant's seeds; what is not drawn has one."""
    how = presets.get(variant.system).training
    return range(1 if how in ("mapping", "prior") else plan.seeds)


def check(plan: Plan, data: dataset.Dataset) -> None:
    """Refuses a plan that cannot be carried out, before any work.

    Raises:
        ConfigError: A number, a member, a field or a split is wrong.
        RecordError: The data set lacks a split.
    """
    for name in ("seeds", "workers"):
        if getattr(plan, name) < 1:
            raise ConfigError(
                f"`{name}` must be 1 or more. Received: {getattr(plan, name)}"
            )
    for name in ("variants", "splits"):
        if not getattr(plan, name):
            raise ConfigError(f"`{name}` must not be empty. Received: none")
    if any(v.system == presets.ENSEMBLE for v in plan.variants):
        check_members(plan.members)
    for variant in plan.variants:
        config = _config(plan, data, variant)
        mixing.check(config.train.source_weights, data.sources)
    for split in dict.fromkeys(("train", *plan.splits)):
        data.files(split)
        if not any(data.splits[split]["labels"].values()):
            raise ConfigError(
                f"{data.path}: no video of the split {split!r} has a label, "
                "so that nothing can be learnt or measured there"
            )


def check_members(members: Sequence[str]) -> None:
    """Refuses an ensemble of what cannot be its members."""
    ids = [s for s in presets.SYSTEMS if s != presets.ENSEMBLE]
    is_right = bool(members) and len(set(members)) == len(members)
    if not is_right or not set(members) <= set(ids):
        raise ConfigError(
            f"`members` must be different ones of {', '.join(ids)}. "
            f"Received: {', '.join(members) or 'none'}"
        )


def _config(plan, data, variant) -> Config:
    return train.training_config(
        data, variant.system, [*plan.assignments, *variant.assignments]
    )


def tasks(
    plan: Plan, data: dataset.Dataset, encoders: Encoders
) -> tuple[list[Task], list[Record]]:
    """Returns the runs, and a record for each variant that cannot be.

    Seed by seed, so that a look at an experiment on its way sees all
    systems; ensembles after their members.
    """
    possible, impossible = [], []
    for variant in plan.variants:
        reason = _reason_against(plan, data, encoders, variant)
        if reason is None:
            possible.append(variant)
        else:
            folder = folder_of(plan, variant.id, 0)
            impossible.append(
                Record(
                    variant.id,
                    variant.system,
                    0,
                    folder,
                    status=NOT_POSSIBLE,
                    error=reason,
                )
            )
    possible.sort(key=lambda v: v.system == presets.ENSEMBLE)
    found = [
        _task(plan, data, encoders, variant, seed)
        for seed in range(plan.seeds)
        for variant in possible
        if seed in seeds_of(plan, variant)
    ]
    return found, impossible


def _reason_against(plan, data, encoders, variant) -> str | None:
    """Says why a variant is not possible, as far as can be seen by now."""
    try:
        encoders.only(inputs_of([variant], plan.members))
    except ConfigError as e:
        return str(e)
    is_ensemble = variant.system == presets.ENSEMBLE
    if is_ensemble and not data.splits.get("validation", {}).get("files"):
        return (
            "the weights of an ensemble are fitted on the validation split, "
            "and the data set has none"
        )
    return None


def folder_of(plan: Plan, variant: str, seed: int) -> str:
    """Returns the folder of a run."""
    place = pathlib.Path(plan.output_dir) / RUNS / variant / f"seed{seed}"
    return str(place)


def _task(plan, data, encoders, variant, seed) -> Task:
    config = _config(plan, data, variant)
    encoders = encoders.only(inputs_of([variant], plan.members))
    parts = _parts(plan, data, encoders, variant, seed)
    return Task(
        variant=variant.id,
        system=variant.system,
        seed=seed,
        name=train.run_name(
            data,
            config,
            encoders,
            seed,
            [types.SimpleNamespace(info={"run": t.name}) for _, t in parts],
        ),
        identity=experiment_run.identity(
            data, config, encoders, seed, [t.system for _, t in parts]
        ),
        data_dir=plan.data_dir,
        folder=folder_of(plan, variant.id, seed),
        assignments=(*plan.assignments, *variant.assignments),
        splits=tuple(plan.splits),
        members=tuple(name for name, _ in parts),
    )


def _parts(plan, data, encoders, variant, seed) -> list[tuple[str, Task]]:
    """Returns an ensemble's members as `members.obtain` takes them.

    Returns:
        For each the folder of its run in this experiment, or its id if it is
        none of the variants; and its task.
    """
    if variant.system != presets.ENSEMBLE:
        return []
    listed = {v.id: v for v in plan.variants}
    found = []
    for id_ in plan.members:
        if id_ in listed:
            last = seeds_of(plan, listed[id_])[-1]
            task = _task(plan, data, encoders, listed[id_], min(seed, last))
            found.append((task.folder, task))
        else:
            task = _task(plan, data, encoders, Variant(id_, id_), seed)
            found.append((id_, task))
    return found
