"""Experiments: several systems over several seeds, in several processes.

A run is one variant with one seed; it lives in `OUTPUT/runs/<variant>/seed<k>`
and is finished when its `run.json` is there (`experiment_run`). Finished runs
are never made again; one that was killed goes on from its last epoch.

    found = run(Plan("data", "out", variants("all"), 5, (), make_encoders))
    experiment_report.write(found)
"""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import pickle
import shutil
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

import emorec
from emorec.data import dataset, processes
from emorec.errors import ConfigError, EmorecError
from emorec.features import extract
from emorec.training import experiment_plan, experiment_run, train
from emorec.training.experiment_plan import (
    Plan,
    Variant,
    inputs_of,
    variants,
)
from emorec.training.experiment_run import DONE, Record, Task

__all__ = ["Plan", "Record", "Results", "Variant", "run", "variants"]

_LOCK = ".lock"
# TensorFlow never lets go of the graph of a training: some 30 MB of a network
# of a million parameters. A process ends after so many.
_RUNS_OF_A_PROCESS = 20


@dataclasses.dataclass(frozen=True)
class Results:
    """What came out.

    Attributes:
        plan: The plan.
        records: One for each run, in the order of the variants and seeds;
            a variant that is not possible has one alone.
        about: Data set, encoders, versions: JSON values.
        kept: How many runs were finished before.
    """

    plan: Plan
    records: list[Record]
    about: dict
    kept: int

    def of(self, variant: str, status: str = DONE) -> list[Record]:
        """Returns a variant's records of a status, by seed."""
        found = self.with_status(status)
        return [r for r in found if r.variant == variant]

    def with_status(self, status: str) -> list[Record]:
        """Returns the records that are `done`, `failed` or `not possible`."""
        return [r for r in self.records if r.status == status]


def run(
    plan: Plan,
    on_progress: Callable[[int, int, Record | None], None] | None = None,
    on_features: Callable[[str, int, int], None] | None = None,
) -> Results:
    """Makes all runs of a plan that are not finished.

    Args:
        plan: The plan.
        on_progress: Called with (runs done, all runs, the record), first with
            those that were finished before and None.
        on_features: Called with (split, shards done, all shards).

    Raises:
        ConfigError: The plan cannot be carried out at all.
        TrainingError: A run's folder holds another run.
        EmorecError: A worker process was killed; what is finished is kept.
    """
    data = dataset.load(plan.data_dir)
    experiment_plan.check(plan, data)
    with _alone(plan.output_dir):
        encoders = plan.make_encoders(inputs_of(plan.variants, plan.members))
        tasks, impossible = experiment_plan.tasks(plan, data, encoders)
        if not tasks:
            raise ConfigError(f"no system is possible: {impossible[0].error}")
        records = _kept(plan, tasks)
        kept = len(records)

        def tell(record):
            if on_progress is not None:
                on_progress(len(records), len(tasks), record)

        def finish(task, record):
            records[task.folder] = record
            tell(record)

        waiting = [t for t in tasks if t.folder not in records]
        _extract(plan, data, waiting, encoders, on_features)
        tell(None)
        is_short = len(waiting) <= _RUNS_OF_A_PROCESS
        if plan.workers > 1 or not is_short:
            _run_pool(plan, waiting, records, finish)
        else:
            for task in waiting:
                finish(task, _run_here(task, records, encoders))
    order = [v.id for v in plan.variants]
    found = sorted(
        [*records.values(), *impossible],
        key=lambda r: (order.index(r.variant), r.seed),
    )
    return Results(plan, found, _about(plan, data, encoders), kept)


@contextlib.contextmanager
def _alone(folder) -> Iterator[None]:
    """Keeps a second experiment out of the folder until this one ends."""
    path = pathlib.Path(folder) / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as e:
        raise EmorecError(
            f"{folder}: cannot be written ({e.strerror}); choose another "
            "--output_dir"
        ) from e
    try:
        # Let go of by the kernel, however this process ends. What cannot
        # lock at all (some network file systems) is used without.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                raise EmorecError(
                    f"{folder}: another experiment is at work there; wait for "
                    "its end, or choose another --output_dir"
                ) from e
        yield
    finally:
        os.close(descriptor)


def _kept(plan, tasks) -> dict[str, Record]:
    """Returns the finished runs by folder; refuses what is another run."""
    found = {}
    for task in tasks:
        folder = pathlib.Path(task.folder)
        if plan.overwrite:
            if (folder / experiment_run.STARTED).exists():
                shutil.rmtree(folder)
            continue
        record = experiment_run.recorded(task)
        if record is not None:
            found[task.folder] = record
    return found


def _extract(plan, data, waiting, encoders, on_features):
    """Computes all features, once, before any process wants them."""
    of = [Variant(task.variant, task.system) for task in waiting]
    inputs = inputs_of(of, plan.members)
    config = train.training_config(data, "majority", list(plan.assignments))
    splits = ["train", *plan.splits]
    if data.splits.get("validation", {}).get("files"):
        splits.append("validation")
    for split in dict.fromkeys(splits if inputs else ()):
        extract.extract(
            data,
            split,
            encoders,
            inputs,
            config,
            progress=on_features and _bind(on_features, split),
        )


def _bind(callback, split):
    return lambda done, total: callback(split, done, total)


def _run_here(task, records, encoders) -> Record:
    return _without_member(task, records) or experiment_run.execute(
        task, lambda: encoders
    )


def _without_member(task, records) -> Record | None:
    """Returns the record of an ensemble whose member came to nothing."""
    for folder in task.members:
        member = records.get(folder)
        if member is not None and member.status != DONE:
            return Record(
                task.variant,
                task.system,
                task.seed,
                task.folder,
                status=member.status,
                error=f"its member {member.variant}: {member.error}",
            )
    return None


def _run_pool(plan, waiting, records, finish):
    """Makes runs in processes of their own, which are replaced at times."""
    planned, waiting = {t.folder for t in waiting}, list(waiting)

    def take() -> Task | None:
        """Returns the first run that waits for no other, if there is one."""
        for task in waiting:
            if all(m in records for m in task.members if m in planned):
                waiting.remove(task)
                return task
        return None

    made = processes.Processes()
    try:
        while waiting:
            _run_some(plan, made, take, records, finish)
    except concurrent.futures.process.BrokenProcessPool as e:
        raise EmorecError(
            "a worker process was killed, perhaps for want of memory; run "
            "the same command again to go on, with fewer --workers: finished "
            "runs are kept"
        ) from e


def _run_some(plan, made, take, records, finish):
    """Makes as many runs as a set of processes is to make.

    Args:
        plan: The plan.
        made: Makes the processes.
        take: Returns a task to do now, or None.
        records: Folder -> record, of what is done.
        finish: Called with (task, record).
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        plan.workers,
        mp_context=made,
        initializer=processes.begin_training_worker,
        initargs=(plan.workers,),
    )
    inputs = inputs_of(plan.variants, plan.members)
    pickled = pickle.dumps((plan.make_encoders, inputs))
    running, left = {}, plan.workers * _RUNS_OF_A_PROCESS
    try:
        while True:
            while left and len(running) < plan.workers and (task := take()):
                fault = _without_member(task, records)
                if fault is not None:
                    finish(task, fault)
                    continue
                future = pool.submit(experiment_run.in_worker, task, pickled)
                running[future] = task
                left -= 1
            if not running:
                return
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                finish(running.pop(future), future.result())
    except BaseException:
        # A run may take minutes: nobody who wants an end waits for it.
        made.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _about(plan, data, encoders) -> dict:
    """Returns what the results have to say of themselves."""
    return {
        "emorec": emorec.__version__,
        "data": {
            "name": pathlib.Path(plan.data_dir).resolve().name,
            "fingerprint": data.fingerprint,
            "config_hash": data.config.data_hash(),
            "sources": data.sources,
            "labels": data.labels.to_dict(),
            "splits": {
                split: {
                    "rows": values["rows"],
                    "frames_with_face_share": data.coverage(split),
                }
                for split, values in data.splits.items()
            },
            "unreadable_videos": len(data.failures),
        },
        "encoders": {
            stream: {"id": e.id, "hash": e.hash, **e.weights}
            for stream, e in encoders.items()
        },
        "random_weights": encoders.random_weights,
        "seeds": list(range(plan.seeds)),
        "settings": list(plan.assignments),
        "members": list(plan.members),
        "splits": list(plan.splits),
        "notes": list(plan.notes),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
