"""The table at the end of a run: what ran, what was blessed, what is served.

It is read from ML Metadata alone, so that a run that failed, or was killed,
has one as well.
"""

import dataclasses
from collections.abc import Sequence

import ml_metadata as mlmd

from emorec.data import files
from emorec.errors import EmorecError
from tfx_pipeline import metadata_store, node_outcomes, pushes
from tfx_pipeline.evaluation_figures import run_file
from tfx_pipeline.metadata_store import Execution

__all__ = ["NodeRow", "RunTable", "collect", "load", "rows", "run_file"]

RAN, CACHED, FAILED = "ran", "cached", "failed"
KILLED = "killed or still running"
NOT_REACHED, SKIPPED = "not reached", "skipped"
_STATES = {
    Execution.COMPLETE: RAN,
    Execution.CACHED: CACHED,
    Execution.FAILED: FAILED,
    Execution.CANCELED: "cancelled",
}
_HEADS = ("node", "state", "seconds", "outcome")


@dataclasses.dataclass(frozen=True)
class NodeRow:
    """A node of a run.

    Attributes:
        node: Its id.
        state: `ran`, `cached`, `failed`, `killed or still running`, `not
            reached`, `skipped` or `cancelled`.
        seconds: How long it took; None where it did not end.
        outcome: One line, may be empty.
        details: What the outcome was told from, JSON values.
    """

    node: str
    state: str
    seconds: float | None = None
    outcome: str = ""
    details: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RunTable:
    """What became of a run.

    Attributes:
        pipeline: The pipeline's name.
        run_id: The run.
        started: ISO 8601.
        seconds: From the first node's begin to the last one's end.
        rows: The nodes, in their order.
        pushed: The version of this run's model; also one that was pushed by
            an earlier run and answered from the cache. None where its model
            was not pushed.
        serving_dir: The base path of the server; "" where it is unknown.
        served: The version that a server takes there, or None.
        served_again: The version that `served` is again by a rollback.
    """

    pipeline: str
    run_id: str
    started: str
    seconds: float
    rows: list[NodeRow]
    pushed: int | None
    serving_dir: str
    served: int | None
    served_again: int | None

    def to_dict(self) -> dict:
        """Returns JSON values; `from_dict` reads them."""
        return {**dataclasses.asdict(self), "note": self.note()}

    @classmethod
    def from_dict(cls, values: dict) -> "RunTable":
        """Builds a table from `to_dict`'s form."""
        kept = {k: v for k, v in values.items() if k != "note"}
        return cls(**{**kept, "rows": [NodeRow(**r) for r in values["rows"]]})

    def text(self, then: bool = False) -> str:
        """Returns the table and, as its last line, what is served.

        Args:
            then: As of `note`.
        """
        states = [row.state for row in self.rows]
        counts = ", ".join(
            f"{states.count(s)} {s}" for s in dict.fromkeys(states)
        )
        return "\n".join(
            [
                f"run {self.run_id} of {self.pipeline}: {counts}; "
                f"{self.seconds:.0f} s",
                *format_table(self.rows),
                self.note(then),
            ]
        )

    def note(self, then: bool = False) -> str:
        """Returns in one line what was pushed and what is served.

        Args:
            then: Whether the table is that of the run's end, and another
                version may be served by now.
        """
        place = f" in {self.serving_dir}" if self.serving_dir else ""
        if self.served is None:
            is_served = (
                "nothing was served then" if then else "nothing is served yet"
            )
        else:
            is_served = f"version {self.served}"
            if self.served_again is not None:
                is_served += f" (version {self.served_again} again)"
            is_served += " was served then" if then else " is still served"
            is_served += place
        if self.pushed is None:
            return f"nothing was pushed; {is_served}"
        if self.pushed == self.served:
            if self._pushed_now():
                return f"pushed and served: version {self.served}{place}"
            return f"nothing new to push; {is_served}"
        if self._pushed_now():
            return f"version {self.pushed} was pushed, but {is_served}"
        return f"version {self.pushed} was pushed earlier; {is_served}"

    def _pushed_now(self) -> bool:
        return any(
            r.state == RAN and r.details.get("pushed") for r in self.rows
        )


def rows(
    store: mlmd.MetadataStore,
    pipeline_name: str,
    run_id: str,
    node_ids: Sequence[str] | None = None,
) -> list[NodeRow]:
    """Returns what became of each node of a run.

    Args:
        store: The store.
        pipeline_name: The pipeline.
        run_id: The run.
        node_ids: All nodes in their order; without, those that were reached.

    Raises:
        EmorecError: There is no such run.
    """
    context = _context(store, pipeline_name, run_id)
    found = {
        metadata_store.node_of(store, e): e
        for e in sorted(
            store.get_executions_by_context(context.id), key=lambda e: e.id
        )
    }
    nodes = list(found if node_ids is None else node_ids)
    reached = max((i for i, n in enumerate(nodes) if n in found), default=-1)
    return [
        _row(store, node, found[node])
        if node in found
        # A node leaves no trace where the runner passes over it.
        else NodeRow(node, SKIPPED if i < reached else NOT_REACHED)
        for i, node in enumerate(nodes)
    ]


def _context(store, pipeline_name, run_id):
    contexts = metadata_store.run_contexts(store, pipeline_name)
    for context in contexts:
        if context.name == run_id:
            return context
    raise EmorecError(
        f"`--run` must be a run of {pipeline_name}; the newest are "
        f"{', '.join(c.name for c in contexts[:3]) or 'none'}. Received: "
        f"{run_id}"
    )


def _row(store, node, execution) -> NodeRow:
    state = _STATES.get(execution.last_known_state, KILLED)
    if state == KILLED:
        return NodeRow(node, state)
    took = (
        execution.last_update_time_since_epoch
        - execution.create_time_since_epoch
    ) / 1000
    if state in (RAN, CACHED):
        found = node_outcomes.outcome(store, execution)
    else:
        found = node_outcomes.failure(execution)
    return NodeRow(node, state, took, found.words, found.details)


def collect(
    store: mlmd.MetadataStore,
    pipeline_name: str,
    run_id: str,
    node_ids: Sequence[str] | None = None,
    serving_dir: str = "",
    error: str = "",
) -> RunTable:
    """Returns what became of a run.

    Args:
        store: The store.
        pipeline_name: The pipeline.
        run_id: The run.
        node_ids: As of `rows`.
        serving_dir: The base path of the server; without, that of the last
            push.
        error: What ended the run, which ML Metadata does not keep.

    Raises:
        EmorecError: There is no such run.
    """
    found = [
        _told(row, error)
        for row in rows(store, pipeline_name, run_id, node_ids)
    ]
    pushed = pushes.pushed_versions(store, pipeline_name)
    if not serving_dir and pushed:
        serving_dir = pushed[0].base
    ids = {r.details["artifact"] for r in found if r.details.get("pushed")}
    ours = [p.version for p in pushed if p.artifact_id in ids]
    served = pushes.served(serving_dir) if serving_dir else None
    again = [p for p in pushed if p.version == served]
    context = _context(store, pipeline_name, run_id)
    executions = store.get_executions_by_context(context.id)
    begun = context.create_time_since_epoch
    ended = max(
        (e.last_update_time_since_epoch for e in executions), default=begun
    )
    return RunTable(
        pipeline=pipeline_name,
        run_id=run_id,
        started=metadata_store.when(begun),
        seconds=(ended - begun) / 1000,
        rows=found,
        pushed=ours[0] if ours else None,
        serving_dir=serving_dir,
        served=served,
        served_again=again[0].rolled_back_to if again else None,
    )


def _told(row: NodeRow, error: str) -> NodeRow:
    """Puts the first line of an error into the row of the node that failed."""
    if row.state != FAILED or not error.strip():
        return row
    first = " ".join(error.strip().splitlines()[0].split())
    return dataclasses.replace(
        row, outcome=first, details={**row.details, "error": error}
    )


def load(path: str) -> RunTable:
    """Reads the table that a run has left.

    Raises:
        EmorecError: There is none, or it is not one of this version.
    """
    what, remedy = "table of a run", "leave --run away"
    values = files.read_json(path, what, remedy)
    try:
        return RunTable.from_dict(values)
    except (AttributeError, KeyError, TypeError) as e:
        raise EmorecError(f"{path}: no {what} ({e!r}); {remedy}") from e


def format_table(found: Sequence[NodeRow]) -> list[str]:
    """Returns the lines of a table of nodes, its head first."""
    cells = [
        (
            row.node,
            row.state,
            "" if row.seconds is None else f"{row.seconds:.1f}",
            " ".join(row.outcome.split()),
        )
        for row in found
    ]
    widths = [
        max(map(len, column)) for column in zip(_HEADS, *cells, strict=True)
    ]
    return [
        f"{node:<{widths[0]}}  {state:<{widths[1]}}  "
        f"{seconds:>{widths[2]}}  {outcome}".rstrip()
        for node, state, seconds, outcome in [_HEADS, *cells]
    ]
