"""Shards as files: what is to be written, what became of it, and where it is.

A shard is a TFRecord file and, in the folder `shards` of its data set, a
summary in JSON, which is written last: a shard whose summary is there is done.
Folders may be remote.
"""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from emorec.config import Config, short_hash
from emorec.data import dataset, files
from emorec.errors import EmorecError, RecordError

SUMMARIES = "shards"
# Summaries of a remote folder that are read at a time: each waits some ten
# milliseconds for its store.
_READERS = 16
_WHAT = "summary of a shard"
_REMEDY = (
    "copy the data set whole, its folder `shards` too, or run `emorec "
    "prepare` again"
)


@dataclasses.dataclass(frozen=True)
class ShardRow:
    """What a worker needs to know of one manifest row.

    Attributes:
        id: The row's id.
        line: Its line in the manifest.
        video: The path as the manifest wrote it.
        path: The path to open; may be remote.
        sha256: Of the file.
        label: "" where there is none.
        label_id: -1 where there is none.
        start: Seconds.
        end: Seconds, or None for the video's end.
        identity: "" where it is unknown.
        source: The manifest's source column.
    """

    id: str
    line: int
    video: str
    path: str
    sha256: str
    label: str
    label_id: int
    start: float
    end: float | None
    identity: str
    source: str


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard to be written.

    Attributes:
        path: The TFRecord file; may be remote.
        split: The split it belongs to.
        people: `all` or `main`.
        config: `Config.to_dict()`.
        rows: The rows, as `ShardRow`s.
    """

    path: str
    split: str
    people: str
    config: dict
    rows: tuple[ShardRow, ...]

    @functools.cached_property
    def hash(self) -> str:
        """Names the task: an edited manifest or config is another task."""
        values = dataclasses.asdict(self)
        del values["path"]
        values["config"] = Config.from_dict(self.config).data_hash()
        # An absolute path says nothing of the content; sha256 does.
        values["rows"] = [{**row, "path": ""} for row in values["rows"]]
        return short_hash(values)

    @property
    def bounds(self) -> dict:
        """What decides whether a video can be read, beside the video."""
        return self.config["video"]


@dataclasses.dataclass(frozen=True)
class ShardSummary:
    """What became of a shard.

    Attributes:
        path: The TFRecord file.
        split: Its split.
        task: The task's hash.
        rows: Rows that were read.
        records: Clips written.
        frames_total: Sampled frames of these rows.
        frames_with_face: Sampled frames with somebody who is in a record.
        no_face: Rows in which no face was found.
        labels: Label -> rows.
        sources: Source -> rows.
        failures: Rows that could not be read: `line`, `video`, `split`,
            `reason`.
        damaged: Rows that were read in part, in the same form.
        bounds: `ShardTask.bounds` under which they could not be read.
        row_frames: Row's id -> (its sampled frames, those with somebody who
            is in a record). Its records do not tell: a window without the
            person gives none, and a frame of two people is in two.
    """

    path: str
    split: str
    task: str
    bounds: dict
    rows: int = 0
    records: int = 0
    frames_total: int = 0
    frames_with_face: int = 0
    no_face: int = 0
    labels: dict = dataclasses.field(default_factory=dict)
    sources: dict = dataclasses.field(default_factory=dict)
    failures: tuple = ()
    damaged: tuple = ()
    row_frames: dict = dataclasses.field(default_factory=dict)


def relative_name(path: str | os.PathLike) -> str:
    """Returns a shard's path below its data set: `[Split-<split>/]<name>`."""
    folder = files.name(files.parent(path))
    inner = folder.startswith(dataset.SPLIT_FOLDER)
    return f"{folder}/{files.name(path)}" if inner else files.name(path)


def summary_path(path: str | os.PathLike) -> str:
    """Where the summary of a shard lies: in `shards` of the data set's folder.

    That is beside the shard, or beside its folder `Split-<split>`.
    """
    root = files.parent(path)
    if "/" in relative_name(path):
        root = files.parent(root)
    stem = os.path.splitext(files.name(path).removesuffix(".gz"))[0]
    return files.join(root, SUMMARIES, f"{stem}.json")


def finished(task: ShardTask) -> ShardSummary | None:
    """Returns the summary of a shard that is already there, else None.

    One with failures is done again under other bounds (`video.max_pixels`
    or a longer `video.frame_timeout_s`, say).
    """
    path = summary_path(task.path)
    if not (files.exists(task.path) and files.exists(path)):
        return None
    values = files.read_json(path, _WHAT, "delete it")
    if not _is_of(values, task):
        return None
    return summary_of({**values, "path": task.path})


def _is_of(values, task) -> bool:
    """Whether a summary is that of the task, and need not be done again."""
    if values.get("task") != task.hash or "row_frames" not in values:
        return False
    return not values["failures"] or values["bounds"] == task.bounds


def adopt(
    tasks: Sequence[ShardTask], folders: Sequence[str | os.PathLike]
) -> int:
    """Copies shards that another run has finished into their places.

    A shard is taken whose task is the same, whatever its file is called: a
    plan of another total names its shards otherwise. Shards that are there
    already are left alone. No folder is looked at once all are there.

    Args:
        tasks: The shards to be.
        folders: Data sets, finished or not; may be absent. The first that
            has a shard gives it.

    Returns:
        How many were copied.

    Raises:
        EmorecError: A shard cannot be read or written.
    """
    waiting = {task.hash: task for task in tasks if finished(task) is None}
    count = 0
    for folder in folders:
        if not waiting:
            break
        for values in _summaries(folder, {t.split for t in waiting.values()}):
            task = waiting.get(values.get("task"))
            if task is None or not _is_of(values, task):
                continue
            source = _shard_of(folder, values)
            if source is not None:
                del waiting[task.hash]
                # The summary last: with it the shard is done.
                files.remove(summary_path(task.path))
                files.copy(source, task.path)
                values["path"] = files.name(task.path)
                files.write_json(summary_path(task.path), values)
                count += 1
            if not waiting:
                break
    return count


def _summaries(folder, splits: Collection[str]) -> Iterator[dict]:
    """Yields the summaries of a folder's shards of some splits."""
    place = files.join(folder, SUMMARIES)
    starts = tuple(f"{split}-" for split in splits)
    paths = [
        files.join(place, name)
        for name in files.listing(place)
        if name.startswith(starts) and name.endswith(".json")
    ]
    if not files.is_remote(place):
        yield from map(_adoptable, paths)
        return
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        # Not all at once: whoever has found what he wants reads no further.
        for i in range(0, len(paths), _READERS):
            yield from pool.map(_adoptable, paths[i : i + _READERS])


def _adoptable(path) -> dict:
    try:
        return files.read_json(path, _WHAT, "delete it")
    except EmorecError:
        return {}  # Damaged: its shard is made anew instead.


def _shard_of(folder, values) -> str | None:
    """Returns the file that a summary in `folder` describes."""
    name, split = str(values.get("path")), str(values.get("split"))
    for place in (f"{dataset.SPLIT_FOLDER}{split}/{name}", name):
        path = files.join(folder, place)
        if dataset.is_shard_name(place) and files.exists(path):
            return path
    return None


def read_summary(path: str | os.PathLike) -> ShardSummary:
    """Returns the summary that lies beside a shard.

    Raises:
        EmorecError: There is none, or it is not one of this version.
    """
    found = summary_path(path)
    values = files.read_json(found, _WHAT, _REMEDY)
    try:
        return summary_of({**values, "path": str(path)})
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise RecordError(
            f"{found}: is not one of this version ({e!r}); {_REMEDY}"
        ) from e


def summary_of(values: Mapping) -> ShardSummary:
    """Returns a summary of its JSON values."""
    lists = {k: tuple(values[k]) for k in ("failures", "damaged")}
    row_frames = {
        row: (int(total), int(with_face))
        for row, (total, with_face) in values["row_frames"].items()
    }
    return ShardSummary(**{**values, **lists, "row_frames": row_frames})
