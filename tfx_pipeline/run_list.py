"""The runs of a pipeline, as ML Metadata knows them."""

import dataclasses

import ml_metadata as mlmd

from tfx_pipeline import metadata_store, pushes

_States = metadata_store.Execution


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
        id: Its id, which is the time at which it was begun.
        started: ISO 8601.
        seconds: From its first node's begin to its last node's end.
        state: In words.
        ran: Nodes that did their work.
        cached: Nodes that were answered from the cache.
        pushed: The version that it pushed, or None.
    """

    id: str
    started: str
    seconds: float
    state: str
    ran: int
    cached: int
    pushed: int | None


def runs(
    store: mlmd.MetadataStore, pipeline_name: str, limit: int | None = None
) -> list[Run]:
    """Returns the runs of a pipeline, the newest first.

    Args:
        store: The store.
        pipeline_name: The pipeline; one that never ran has none.
        limit: Only so many.
    """
    contexts = metadata_store.run_contexts(store, pipeline_name)[:limit]
    pushed = {}
    if contexts:
        found = pushes.pushed_versions(store, pipeline_name)
        pushed = {p.run_id: p.version for p in found}
    return [_run(store, c, pushed.get(c.name)) for c in contexts]


def _run(store, context, pushed) -> Run:
    found = store.get_executions_by_context(context.id)
    started = context.create_time_since_epoch
    ends = [e.last_update_time_since_epoch for e in found]
    states = [e.last_known_state for e in found]
    return Run(
        id=context.name,
        started=metadata_store.when(started),
        seconds=(max(ends, default=started) - started) / 1000,
        state=_state(store, found),
        ran=states.count(_States.COMPLETE),
        cached=states.count(_States.CACHED),
        pushed=pushed,
    )


def _state(store, executions) -> str:
    """Returns a run's state in words."""
    words = {
        _States.FAILED: "failed in",
        _States.RUNNING: "killed or still running in",
        _States.NEW: "killed or still running in",
        _States.CANCELED: "cancelled in",
    }
    for execution in sorted(executions, key=lambda e: e.id):
        if execution.last_known_state in words:
            node = metadata_store.node_of(store, execution)
            return f"{words[execution.last_known_state]} {node}"
    # Where it was killed between two nodes, nothing else tells.
    nodes = {metadata_store.node_of(store, e) for e in executions}
    return "complete" if "Pusher" in nodes else "ended before the Pusher"
