"""The unit of work: one shard of manifest rows to one TFRecord file.

`write_shard` is a plain function of a plain description, so that a process
pool, a Beam worker or a loop runs the same code. It writes under a temporary
name, renames, then leaves a summary; a shard whose summary is there is done.
"""

import contextlib
import dataclasses
import functools
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from emorec.config import Config, VideoConfig
from emorec.data import files, shard_files
from emorec.data.shard_files import (
    ShardRow,
    ShardSummary,
    ShardTask,
    adopt,
    finished,
    read_summary,
    relative_name,
    summary_path,
)
from emorec.errors import VideoError
from emorec.video import reader
from emorec.video.clip import ClipBuilder

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = [
    "TRAIN",
    "ShardRow",
    "ShardSummary",
    "ShardTask",
    "adopt",
    "finished",
    "read_summary",
    "relative_name",
    "summary_path",
    "write_shard",
]

TRAIN = "train"
# Records of one video that wait in memory; more of them wait on the disk.
_SPOOL_BYTES = 64 << 20
_LENGTH = struct.Struct("<Q")


def write_shard(
    task: ShardTask, progress: Callable[[ShardRow], None] | None = None
) -> ShardSummary:
    """Writes one shard, unless it is there; returns its summary.

    The shard and the videos may be remote. A row whose video cannot be read
    is listed in the summary and the others go on.

    Args:
        task: The shard.
        progress: Called with each row when it is done.

    Raises:
        EmorecError: The shard cannot be written, or the store of a remote
            video fails.
    """
    done = finished(task)
    if done is not None:
        return done
    config = Config.from_dict(task.config)
    summary = ShardSummary(task.path, task.split, task.hash, task.bounds)
    counts = dataclasses.asdict(summary)
    counts |= {"failures": [], "damaged": []}

    def examples():
        with _LocalVideos(config.video) as videos:
            for row in task.rows:
                yield from _row_examples(row, task, config, videos, counts)
                if progress is not None:
                    progress(row)

    # One of another task must not stand beside the new records.
    files.remove(summary_path(task.path))
    # TensorFlow comes with it, which who only plans shards does without.
    from emorec.data import records

    counts["records"] = records.write(task.path, examples())
    files.write_json(
        summary_path(task.path), {**counts, "path": files.name(task.path)}
    )
    return shard_files.summary_of(counts)


def _row_examples(
    row, task, config, videos, counts
) -> Iterator["tf.train.Example"]:
    """The records of one row: all, or none where its video is bad.

    A video may prove bad at its very end, so its records wait for that; not
    in memory, which a film would fill.
    """
    import tensorflow as tf

    folder = files.parent(task.path)
    if files.is_remote(folder):
        folder = None  # The one for temporary files.
    path = row.path
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=folder) as spool:
        try:
            path = videos.path(row.path)
            frames, with_face, damage = _spool_row(
                row, path, task, config, spool
            )
        except VideoError as e:
            reason = str(e).replace(path, row.path)
            counts["failures"].append(_fault(row, task, reason))
            return
        if damage is not None:
            reason = damage.replace(path, row.path)
            counts["damaged"].append(_fault(row, task, reason))
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


class _LocalVideos:
    """Local paths of a shard's videos.

    The last copy of a remote one is kept: a film's rows follow each other.
    """

    def __init__(self, config: VideoConfig):
        self._config = config
        self._name = self._path = ""
        self._copy = contextlib.ExitStack()

    def __enter__(self) -> "_LocalVideos":
        return self

    def __exit__(self, *_):
        self._copy.close()

    def path(self, name: str) -> str:
        """Returns a path from which a video can be decoded.

        Raises:
            VideoError: It is remote, and larger than the config allows.
            EmorecError: Its store fails, which is no fault of the video: this
                ends the run, and the next one goes on from here.
        """
        if not files.is_remote(name):
            return name
        if name != self._name:
            self._name = ""
            self._copy.close()
            size, _ = files.stat(name)
            if size > self._config.max_file_bytes:
                raise VideoError(
                    f"{name}: {size} bytes are over "
                    f"{self._config.max_file_bytes}; cut it, or raise "
                    "video.max_file_bytes"
                )
            copied = self._copy.enter_context(files.local_copy(name))
            self._name, self._path = name, str(copied)
        return self._path


def _fault(row, task, reason) -> dict:
    return {
        "line": row.line,
        "video": row.video,
        "split": task.split,
        "reason": reason,
    }


def _spool_row(row, path, task, config, spool: BinaryIO):
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
        path, config.video, start=row.start, end=row.end, fps=fps
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
    from emorec.features import detector
    from emorec.video.faces import FaceDetector

    return FaceDetector(config, detector.engine())


def _example(row, clip, config):
    from emorec.data import records

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
