"""What `emorec pipeline status` tells: runs, pushed versions, lineage."""

import dataclasses

import ml_metadata as mlmd

from emorec.data import files
from emorec.errors import UsageError
from tfx_pipeline import (
    evaluation_figures,
    lineage,
    lineage_text,
    metadata_store,
    pushes,
    run_list,
    run_table,
)

_NOW, _AT_ITS_END = "now", "at its end"


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a pipeline.

    Attributes:
        pipeline: Its name.
        serving_dir: The base path of the server; "" where nothing was pushed.
        served: The version that a server takes there, or None.
        runs: The newest first.
        pushed: What was pushed to any base path, the newest first.
        run: What became of the run that was asked for, or None. Its `served`
            is of `run_seen`.
        run_seen: `at its end` where the run has left its table, `now` where
            ML Metadata alone tells; "" without a run.
        version: The version whose lineage is told, or None.
        lineage: Of that version, or None.
        videos: Those of that version, or None where they were not asked for.
    """

    pipeline: str
    serving_dir: str
    served: int | None
    runs: list[run_list.Run]
    pushed: list[pushes.PushedVersion]
    run: run_table.RunTable | None
    run_seen: str
    version: int | None
    lineage: lineage.Lineage | None
    videos: list[dict] | None

    def to_dict(self) -> dict:
        """Returns JSON values."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """Returns what people read."""
        if self.run is not None:
            if self.run_seen == _NOW:
                return self.run.text()
            return f"{self.run.text(then=True)}\nnow: {self._served_line()}"
        lines = [f"pipeline {self.pipeline}", "", "runs, the newest first"]
        lines += [f"  {_run_line(r)}" for r in self.runs] or ["  none"]
        lines += ["", "pushed versions, the newest first"]
        lines += [f"  {self._pushed_line(p)}" for p in self.pushed] or [
            "  none"
        ]
        lines += ["", self._served_line()]
        if self.lineage is not None:
            lines += ["", f"version {self.version} is made of"]
            lines += [f"  {x}" for x in lineage_text.lines(self.lineage)]
        for video in self.videos or ():
            lines.append(
                "  {split}  {video}  {label}  {sha256}".format(**video)
            )
        return "\n".join(lines)

    def _pushed_line(self, pushed) -> str:
        parts = [
            f"{pushed.version}",
            pushed.pushed_at,
            f"model {pushed.model_id}",
        ]
        if pushed.rolled_back_to is not None:
            parts.append(f"rollback: version {pushed.rolled_back_to} again")
        parts.append(
            f"blessed by {' and '.join(pushed.blessed_by) or 'nobody'}"
        )
        if not pushes.same_folder(pushed.base, self.serving_dir):
            parts.append(f"in {pushed.base}")
        elif pushed.version == self.served:
            parts.append("SERVED")
        return "  ".join(parts)

    def _served_line(self) -> str:
        if not self.serving_dir:
            return "nothing was pushed yet"
        if self.served is None:
            return f"nothing is served in {self.serving_dir}"
        text = f"version {self.served} is served in {self.serving_dir}"
        if self.served not in {p.version for p in self.pushed}:
            text += ", which this pipeline did not push"
        return text


def _run_line(run) -> str:
    parts = [
        run.id,
        f"{run.seconds:.0f} s",
        f"{run.ran} ran, {run.cached} cached",
        run.state,
    ]
    if run.pushed is not None:
        parts.append(f"pushed version {run.pushed}")
    return "  ".join(parts)


def collect(
    store: mlmd.MetadataStore,
    pipeline_name: str,
    *,
    serving_dir: str = "",
    pipeline_root: str = "",
    limit: int = 10,
    run_id: str | None = None,
    version: int | None = None,
    videos: bool = False,
) -> Status:
    """Reads the state of a pipeline.

    Args:
        store: The store.
        pipeline_name: The pipeline.
        serving_dir: The base path of the server; without, that of the last
            push.
        pipeline_root: Where runs have left their tables; without, that of
            the newest artifact.
        limit: Most runs and most pushed versions.
        run_id: A run whose table is wanted; then there is no lineage.
        version: The version whose lineage is wanted; without, that of the
            served one, else of the newest.
        videos: Whether its videos are listed, which reads all records.

    Raises:
        UsageError: There is no such run or version.
    """
    pushed = pushes.pushed_versions(store, pipeline_name)
    serving_dir = serving_dir or (pushed[0].base if pushed else "")
    served = pushes.served(serving_dir) if serving_dir else None
    table = chosen = found = listed = None
    seen = ""
    if run_id is not None:
        root = pipeline_root or _root(store, pipeline_name)
        table, seen = _table(store, pipeline_name, run_id, serving_dir, root)
    else:
        chosen = _choose(pushed, serving_dir, served, version)
    if chosen is not None:
        model = lineage.model_artifact(store, chosen)
        found = lineage.lineage_of(store, model, chosen)
        listed = lineage.videos(found) if videos else None
    return Status(
        pipeline=pipeline_name,
        serving_dir=serving_dir,
        served=served,
        runs=run_list.runs(store, pipeline_name, limit),
        pushed=pushed[:limit],
        run=table,
        run_seen=seen,
        version=chosen and chosen.version,
        lineage=found,
        videos=listed,
    )


def _table(store, pipeline_name, run_id, serving_dir, root):
    """The table that the run has left, else one out of ML Metadata.

    And what its `served` is of.
    """
    path = run_table.run_file(root, run_id)
    if root and files.exists(path):
        return run_table.load(path), _AT_ITS_END
    table = run_table.collect(
        store, pipeline_name, run_id, serving_dir=serving_dir
    )
    return table, _NOW


def _root(store, pipeline_name) -> str:
    """The pipeline's root, by any artifact; also where nothing was pushed."""
    context = metadata_store.pipeline_context(store, pipeline_name)
    if context is None:
        return ""
    found = store.get_artifacts_by_context(context.id)
    uris = {a.id: a.uri for a in found if a.uri}
    return evaluation_figures.root_of(uris[max(uris)]) if uris else ""


def _choose(pushed, base, served, version):
    here = [p for p in pushed if pushes.same_folder(p.base, base)]
    wanted = served if version is None else version
    for push in here:
        if push.version == wanted:
            return push
    if version is not None:
        raise UsageError(
            "`--model_version` must be a version that this pipeline pushed: "
            f"{', '.join(str(p.version) for p in here) or 'none yet'}. "
            f"Received: {version}"
        )
    return here[0] if here and served is None else None
