"""Runs the pipeline on this machine: LocalDagRunner and SQLite.

  python -m tfx_pipeline.local_runner --config=pipeline.json

The same as `emorec pipeline run`, with its flags.
"""

import contextlib
import dataclasses
import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator

from emorec.data import files
from emorec.errors import ConfigError, EmorecError
from tfx_pipeline import metadata_store, run_list, run_table
from tfx_pipeline.settings import Settings


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What became of a run.

    Attributes:
        run_id: Its id.
        table: Its nodes, and what is served (`run_table`).
        error: What ended it early, or None.
    """

    run_id: str
    table: run_table.RunTable
    error: BaseException | None


def run(
    settings: Settings, on_node: Callable[[str, bool], None] | None = None
) -> RunResult:
    """Runs the pipeline; what is already there is answered from the cache.

    Args:
        settings: With absolute paths.
        on_node: Called with (node, False) when a node begins and with
            (node, True) when it has ended.

    Raises:
        ConfigError: The settings do not fit together; nothing was run.
        EmorecError: Another run of this pipeline is going on.
    """
    if files.is_remote(settings.metadata_path):
        raise ConfigError(
            "pipeline settings: `metadata_path` must be a local file. "
            f"Received: {settings.metadata_path!r}"
        )
    for name in ("pipeline_root", "serving_dir"):
        _check_place(name, getattr(settings, name))
    files.open_file_system(settings.pipeline_root)
    with _alone(settings.metadata_path), _watched(on_node):
        _check_devices()
        from tfx import v1 as tfx

        from tfx_pipeline import pipeline

        made = pipeline.create(settings)
        pipeline.check_machine(settings)
        before = _newest(settings)
        error = None
        try:
            tfx.orchestration.LocalDagRunner().run(made)
        except Exception as e:
            # Told by the caller, after what became of the other nodes.
            error = e
        run_id = _newest(settings)
        if run_id is None or run_id == before:
            raise error or EmorecError("the runner recorded no run")
        nodes = [n.id for n in made.components]
        table = _table(settings, run_id, nodes, error)
        return RunResult(run_id, table, error)


def _check_place(name: str, path: str):
    """Refuses, before the work, a place where nothing can be written."""
    if files.is_remote(path):
        return
    place = path
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place) or not os.access(place, os.W_OK):
        raise ConfigError(
            f"pipeline settings: `{name}` must be a folder that can be "
            f"written. Received: {path}, and {place} is not; choose another"
        )


def _check_devices():
    """Refuses a cluster, whose workers would wait for each other for ever."""
    from emorec.training import distribution

    size = distribution.cluster_size()
    if size > 1:
        raise ConfigError(
            f"${distribution.VARIABLE} names {size} workers, and a pipeline "
            "on one machine is one process; unset it, or train on them with "
            "`emorec train`"
        )


def _table(settings, run_id, nodes, error) -> run_table.RunTable:
    with metadata_store.opened(settings.metadata_path) as store:
        table = run_table.collect(
            store,
            settings.pipeline_name,
            run_id,
            nodes,
            serving_dir=settings.serving_dir,
            error="" if error is None else str(error),
        )
    files.write_json(
        run_table.run_file(settings.pipeline_root, run_id), table.to_dict()
    )
    return table


def _newest(settings) -> str | None:
    path = settings.metadata_path
    # Empty where a run was killed as it began; TFX fills it.
    if not os.path.exists(path) or not os.path.getsize(path):
        return None
    with metadata_store.opened(path) as store:
        runs = run_list.runs(store, settings.pipeline_name, 1)
    return runs[0].id if runs else None


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Refuses a second run on the same metadata; ends with the process."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        lock = open(f"{path}.lock", "w")  # noqa: SIM115
    except OSError as e:
        raise EmorecError(
            f"{path}: cannot be written ({e.strerror}); choose another "
            "`metadata_path`"
        ) from e
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise EmorecError(
                f"{path}: another run of this pipeline is going on; wait for "
                "its end"
            ) from e
        except OSError:
            pass  # A file system without locks; SQLite has its own.
        yield


class _Nodes(logging.Filter):
    """Hears the runner begin and end a node: it has no other way to tell.

    Lets nothing through that would not be shown without it.
    """

    def __init__(self, on_node, logger: logging.Logger):
        super().__init__()
        self._on_node = on_node
        self._logger = logger

    def filter(self, record) -> bool:
        if record.msg in _SAID and len(record.args or ()) == 1:
            self._on_node(str(record.args[0]), _SAID[record.msg])
        return record.levelno >= self._logger.getEffectiveLevel()


_SAID = {"Component %s is running.": False, "Component %s is finished.": True}


@contextlib.contextmanager
def _watched(on_node) -> Iterator[None]:
    """Tells `on_node` of the nodes, which TFX's runner logs at INFO alone."""
    if on_node is None:
        yield
        return
    from absl import logging as absl_logging

    logger = absl_logging.get_absl_logger()
    nodes = _Nodes(on_node, logger)
    logger.addFilter(nodes)
    # Not by its level: TensorFlow sets that anew while a model is exported.
    logger.isEnabledFor = lambda level: True
    try:
        yield
    finally:
        del logger.isEnabledFor
        logger.removeFilter(nodes)


if __name__ == "__main__":
    from emorec.cli import app

    sys.exit(app.run("pipeline_run", sys.argv[1:], "pipeline run"))
