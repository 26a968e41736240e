"""One run of an experiment: train, measure, and `run.json` when it is done.

    runs/<variant>/seed<k>/
        started.json    what the run is: written first
        model.json ...  the model folder (`emorec.training.bundle`)
        <split>/        metrics.json and predictions.csv of each split
        run.json        config, seed, metrics, history: written last

A plain function of a plain description, for this process and for others.
"""

import dataclasses
import functools
import gc
import os
import pathlib
import pickle
import platform
import shutil
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

import emorec
from emorec.config import Config
from emorec.data import dataset, files
from emorec.errors import ConfigError, EmorecError, TrainingError
from emorec.evaluation import evaluate
from emorec.features import encoder, precomputed
from emorec.features.encoders import Encoders
from emorec.models import presets
from emorec.training import bundle, members, train

FILE = "run.json"
STARTED = "started.json"
_FORMAT = 1
_REMEDY = "delete it, and the run is made again"

DONE = "done"
FAILED = "failed"
NOT_POSSIBLE = "not possible"


@dataclasses.dataclass(frozen=True)
class Task:
    """What a process needs to know of one run.

    Attributes:
        variant: The id of the variant.
        system: The id of its system.
        seed: Of initialisation, shuffling, sampling and dropout.
        name: The run's name (`train.run_name`).
        identity: What makes that name, for messages: config, data, encoders.
        data_dir: The prepared data set.
        folder: The run's folder.
        assignments: `section.field=value` of the run's config.
        splits: The splits to measure.
        members: Of an ensemble: ids of systems to train, or model folders.
    """

    variant: str
    system: str
    seed: int
    name: str
    identity: dict
    data_dir: str
    folder: str
    assignments: tuple[str, ...]
    splits: tuple[str, ...]
    members: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of one run.

    Attributes:
        variant: The id of the variant.
        system: The id of its system.
        seed: The run's seed.
        folder: The run's folder.
        status: `done`, `failed` or `not possible`.
        error: Why it is not done, in one line; else None.
        parameters: Of the network.
        labels: The K class names.
        metrics: Split -> `evaluation.metrics.Metrics.to_dict()`.
        history: Epochs: `loss`, `accuracy`, `val_loss`, `val_accuracy`.
        notes: What must be said where its answers are shown.
        seconds: Wall time of training and measuring, since its last start.
    """

    variant: str
    system: str
    seed: int
    folder: str
    status: str = DONE
    error: str | None = None
    parameters: int | None = None
    labels: tuple[str, ...] = ()
    metrics: dict[str, dict] = dataclasses.field(default_factory=dict)
    history: list[dict] = dataclasses.field(default_factory=list)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def keep(
    encoders: Encoders, folder: str | os.PathLike
) -> Callable[[Sequence[str]], Encoders]:
    """Saves encoders, and returns what loads them in any process."""
    places = {}
    for stream, made in encoders.items():
        places[stream] = str(pathlib.Path(folder) / f"{stream}-{made.hash}")
        # Its last file, so that what a killed command left is written anew.
        if not os.path.exists(os.path.join(places[stream], encoder.JSON_FILE)):
            made.save(places[stream])
    return functools.partial(_load_kept, places)


def _load_kept(places: dict[str, str], inputs: Sequence[str]) -> Encoders:
    wanted = {name.partition("_")[0] for name in inputs}
    made = {}
    for stream, place in places.items():
        given = precomputed.is_saved(place)
        if stream in wanted:
            made[stream] = (precomputed if given else encoder).load(place)
    return Encoders(**made)


def in_worker(task: Task, pickled: bytes) -> Record:
    """`execute` in a process that makes its encoders once and keeps them.

    Args:
        task: The run.
        pickled: `(make_encoders, inputs)`.
    """
    return execute(task, lambda: _encoders_of(pickled))


@functools.lru_cache(maxsize=1)
def _encoders_of(pickled: bytes) -> Encoders:
    make, inputs = pickle.loads(pickled)
    return make(inputs)


def execute(task: Task, encoders: Callable[[], Encoders]) -> Record:
    """Trains and measures; an error that a user can mend is in the record.

    Args:
        task: The run.
        encoders: Gives the frozen encoders.
    """
    started = time.monotonic()
    record = Record(task.variant, task.system, task.seed, task.folder)
    try:
        return _execute(task, encoders(), started)
    except ConfigError as e:
        # Flags and configs were checked: here system and encoder do not fit.
        return dataclasses.replace(record, status=NOT_POSSIBLE, error=str(e))
    except EmorecError as e:
        return dataclasses.replace(record, status=FAILED, error=str(e))
    except tf.errors.OpError as e:
        reason = " ".join(str(e.message).split())[:300]
        return dataclasses.replace(record, status=FAILED, error=reason)
    finally:
        # Networks are circles; a worker makes dozens.
        gc.collect()


def _execute(task, encoders, started) -> Record:
    folder = pathlib.Path(task.folder)
    for name in (FILE, STARTED, "history.json", "checkpoints/last.npz"):
        files.remove_leftovers(folder / name)
    files.write_json(
        folder / STARTED, {"run": task.name, "identity": task.identity}
    )
    data = dataset.load(task.data_dir)
    made = _model(task, data, encoders)
    history = files.read_json(folder / "history.json", "history", _REMEDY)
    measured = {split: _measure(data, split, made) for split in task.splits}
    record = Record(
        variant=task.variant,
        system=task.system,
        seed=task.seed,
        folder=task.folder,
        parameters=made.model.count_params(),
        labels=made.labels.names,
        metrics={s: r.metrics.to_dict() for s, r in measured.items()},
        history=history["epochs"],
        notes=tuple(made.info["notes"]),
        seconds=time.monotonic() - started,
    )
    for split, report in measured.items():
        report.write(folder / split)
    files.write_json(folder / FILE, _describe(task, record, made, measured))
    # Nobody goes on from here, and it holds the network four times.
    for part in (folder, *folder.glob(f"{members.FOLDER}/*")):
        shutil.rmtree(part / "checkpoints", ignore_errors=True)
    return record


def _model(task, data, encoders) -> bundle.Bundle:
    """Trains the model, or reads that of an earlier start of this run."""
    if os.path.exists(os.path.join(task.folder, bundle.FILE)):
        found = bundle.load(task.folder)
        if found.info.get("run") == task.name:
            return found
        # Else `train.train` refuses the folder.

    def config_of(system: str) -> Config:
        return train.training_config(data, system, list(task.assignments))

    parts = []
    if task.system == presets.ENSEMBLE:
        parts = members.obtain(
            task.members,
            data,
            task.folder,
            config_of,
            encoders,
            seed=task.seed,
        )
    made = train.train(
        data,
        task.folder,
        config_of(task.system),
        encoders,
        members=parts,
        seed=task.seed,
    )
    if made.info["run"] != task.name:
        raise TrainingError(
            f"{task.folder}: the run is another than was planned; has the "
            "data set been changed meanwhile? Run the command again"
        )
    return made


def _measure(data, split, made) -> evaluate.Report:
    clips = evaluate.with_bundle(data, split, made)
    return evaluate.report(data, split, clips, made.describe())


def _describe(task, record, made, measured) -> dict:
    """What `run.json` holds."""
    values = dataclasses.asdict(record)
    for name in ("folder", "status", "error"):
        del values[name]
    return {
        "format": _FORMAT,
        "emorec": emorec.__version__,
        "run": task.name,
        "identity": task.identity,
        **values,
        "config": made.config.to_dict(),
        "encoders": {
            stream: {"id": e.id, "hash": e.hash, **e.weights}
            for stream, e in made.encoders.items()
        },
        "info": made.info,
        "coverage": {s: r.coverage for s, r in measured.items()},
        "versions": {
            **made.info["versions"],
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def recorded(task: Task) -> Record | None:
    """Returns the record of a finished run; None where it is to be made.

    A run of which a split is not yet measured is to be made: its model is
    there and is not trained again.

    Raises:
        EmorecError: The folder holds another run, or its file is damaged.
    """
    folder = pathlib.Path(task.folder)
    for name in (FILE, STARTED):
        if not (folder / name).exists():
            continue
        values = files.read_json(folder / name, "description of a run", _REMEDY)
        if values.get("run") != task.name:
            raise _other(folder, values.get("identity"), task.identity)
        if name == STARTED:
            return None
        record = _checked(folder, values)
        if all(split in record.metrics for split in task.splits):
            return record
        return None
    return None


def _checked(folder, values) -> Record:
    """Reads what `_describe` wrote."""
    try:
        if values["format"] != _FORMAT:
            raise ValueError(f"its format is {values['format']!r}")
        names = [f.name for f in dataclasses.fields(Record)]
        kept = {n: values[n] for n in names if n in values}
        record = Record(folder=str(folder), **kept)
        record = dataclasses.replace(
            record,
            labels=tuple(record.labels),
            notes=tuple(record.notes),
            seconds=float(record.seconds),
            parameters=int(record.parameters),
        )
        size = len(record.labels)
        for metrics in record.metrics.values():
            if np.shape(metrics["confusion"]) != (size, size + 1):
                raise ValueError("its confusion matrix is of another size")
            for name in ("map", "acc", "ranking_map", "macro_f1", "uar"):
                float(metrics[name])
        for epoch in record.history:
            float(epoch["loss"])
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise EmorecError(
            f"{folder / FILE}: not a run of this version ({e!r}); {_REMEDY}"
        ) from e
    return record


def _other(folder, theirs, ours) -> TrainingError:
    found = _flat(theirs)
    differ = [
        f"{name} is {found.get(name)}, not {value}"
        for name, value in _flat(ours).items()
        if found.get(name) != value
    ]
    return TrainingError(
        f"{folder}: holds another run ({'; '.join(differ[:3]) or 'changed'}); "
        "choose another --output_dir, or give --overwrite"
    )


def _flat(values, prefix="") -> dict[str, str]:
    """Returns dotted name -> value of a tree of dicts."""
    found = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = str(value)
    return found


def identity(
    data: dataset.Dataset,
    config: Config,
    encoders: Encoders,
    seed: int,
    parts: Sequence[str] = (),
) -> dict:
    """Says in words what `train.run_name` makes a hash of."""
    values = config.to_dict()
    return {
        "model": values["model"],
        "train": values["train"],
        "data fingerprint": data.fingerprint,
        "data config": config.data_hash(),
        "labels": ", ".join(data.labels.names),
        "encoders": {stream: e.hash for stream, e in encoders.items()},
        "seed": seed,
        "members": ", ".join(parts),
    }
