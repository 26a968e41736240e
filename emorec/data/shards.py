"""The unit of work: one shard of manifest rows to one TFRecord file.

`write_shard` is a plain function of a plain description, so that a process
pool, a Beam worker or a loop runs the same code. It writes under a temporary
name, renames, then leaves a summary; a shard whose summary is there is done.
"""

import dataclasses
import functools
import os
import pathlib
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

import tensorflow as tf

from emorec.config import Config, short_hash
from emorec.data import files, records
from emorec.errors import RecordError, VideoError
from emorec.video import reader
from emorec.video.clip import ClipBuilder

TRAIN = "train"
# Records of one video that wait in memory; more of them wait on the disk.
_SPOOL_BYTES = 64 << 20
_LENGTH = struct.Struct("<Q")
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
        path: The path to open.
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
        path: The TFRecord file.
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


def summary_path(path: str | os.PathLike) -> pathlib.Path:
    """Where the summary of a shard lies: in a folder beside the shards."""
    path = pathlib.Path(path)
    return path.parent / "shards" / f"{path.stem}.json"


def finished(task: ShardTask) -> ShardSummary | None:
    """Returns the summary of a shard that is already there, else None.

    One with failures is done again under other bounds (`video.max_pixels`
    or a longer `video.frame_timeout_s`, say).
    """
    path = summary_path(task.path)
    if not (os.path.exists(task.path) and path.exists()):
        return None
    values = files.read_json(path, "summary of a shard", "delete it")
    if values.get("task") != task.hash or "row_frames" not in values:
        return None
    if values["failures"] and values["bounds"] != task.bounds:
        return None
    return _summary({**values, "path": task.path})


def read_summary(path: str | os.PathLike) -> ShardSummary:
    """Returns the summary that lies beside a shard.

    Raises:
        EmorecError: There is none, or it is not one of this version.
    """
    found = summary_path(path)
    values = files.read_json(found, "summary of a shard", _REMEDY)
    try:
        return _summary({**values, "path": str(path)})
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise RecordError(
            f"{found}: is not one of this version ({e!r}); {_REMEDY}"
        ) from e


def _summary(values) -> ShardSummary:
    lists = {k: tuple(values[k]) for k in ("failures", "damaged")}
    row_frames = {
        row: (int(total), int(with_face))
        for row, (total, with_face) in values["row_frames"].items()
    }
    return ShardSummary(**{**values, **lists, "row_frames": row_frames})


def write_shard(
    task: ShardTask, progress: Callable[[ShardRow], None] | None = None
) -> ShardSummary:
    """Writes one shard, unless it is there; returns its summary.

    A row whose video cannot be read is listed in the summary and the others
    go on.

    Args:
        task: The shard.
        progress: Called with each row when it is done.
    """
    done = finished(task)
    if done is not None:
        return done
    config = Config.from_dict(task.config)
    summary = ShardSummary(task.path, task.split, task.hash, task.bounds)
    counts = dataclasses.asdict(summary)
    counts |= {"failures": [], "damaged": []}

    def examples():
        for row in task.rows:
            yield from _row_examples(row, task, config, counts)
            if progress is not None:
                progress(row)

    counts["records"] = records.write(task.path, examples())
    files.write_json(
        summary_path(task.path),
        {**counts, "path": os.path.basename(task.path)},
    )
    return _summary(counts)


def _row_examples(row, task, config, counts) -> Iterator[tf.train.Example]:
    """The records of one row: all, or none where its video is bad.

    A video may prove bad at its very end, so its records wait for that; not
    in memory, which a film would fill.
    """
    folder = pathlib.Path(task.path).parent
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=folder) as spool:
        try:
            frames, with_face, damage = _spool_row(row, task, config, spool)
        except VideoError as e:
            counts["failures"].append(_fault(row, task, str(e)))
            return
        if damage is not None:
            counts["damaged"].append(_fault(row, task, damage))
        counts["rows"] += 1
        counts["frames_total"] += frames
        counts["frames_with_face"] += with_face
        counts["row_frames"][row.id] = (frames, with_face)
        counts["no_face"] += not with_face
        for key, value in (("labels", row.label), ("sources", row.source)):
            counts[key][value] = counts[key].get(value, 0) + 1
        spool.seek(0)
        while length := spool.read(_LENGTH.size):
            data = spool.read(*_LENGTH.unpack(length))
            yield tf.train.Example.FromString(data)


def _fault(row, task, reason) -> dict:
    return {
        "line": row.line,
        "video": row.video,
        "split": task.split,
        "reason": reason,
    }


def _spool_row(row, task, config, spool: BinaryIO):
    """Writes a row's records; returns its frames, those with a face, damage.

    Training's clips are sampled densely and kept long.
    """
    training = task.split == TRAIN
    phases = config.data.train_phases if training else 1
    length = config.data.train_frames if training else config.clip.clip_frames
    fps = config.video.fps * phases
    builder = ClipBuilder(
        _detector(config.detector),
        config,
        fps=fps,
        window_frames=length * phases,
        people=task.people,
        origin=row.start,
    )
    with reader.read_frames(
        row.path, config.video, start=row.start, end=row.end, fps=fps
    ) as frames:
        times = set()
        for clip in builder.build(frames):
            data = _example(row, clip, config).SerializeToString()
            spool.write(_LENGTH.pack(len(data)) + data)
            times.update(clip.times.tolist())
        damage = frames.damage()
    return builder.frames_total, len(times), damage


@functools.lru_cache(maxsize=1)
def _detector(config):
    # One detector a process: its networks take 2 s to load and trace.
    from emorec.video.faces import FaceDetector

    return FaceDetector(config)


def _example(row, clip, config):
    return records.to_example(
        clip,
        clip_id=f"{row.id}/t{max(clip.track, 0)}/w{clip.window}",
        label=row.label,
        label_id=row.label_id,
        source=row.source,
        identity=row.identity,
        video_path=row.video,
        video_sha256=row.sha256,
        config_hash=config.data_hash(),
    )
