"""The planted task (`emorec.data.planted`) as a data set.

Records without pictures, and the features beside them: what `emorec prepare`
and the encoders leave of videos.
"""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from emorec.config import Config, short_hash
from emorec.data import dataset, files, keys, planted, records, shards
from emorec.errors import RecordError
from emorec.features import precomputed
from emorec.features.encoders import STREAMS, Encoders
from emorec.video.clip import Clip

FPS = 8.0
DEFAULT = planted.Task()


def write(
    folder: str | os.PathLike,
    seed: int = 0,
    task: planted.Task = DEFAULT,
) -> dataset.Dataset:
    """Writes the task as a data set whose features are there already.

    It goes through training and evaluation as any other does, with
    `precomputed.encoders(folder)` for its encoders. It holds no pictures.

    Args:
        folder: Where; a data set of the same seed and task is left alone.
        seed: Of directions and clips.
        task: The sizes.

    Raises:
        EmorecError: Another data set is there, or it cannot be written.
    """
    folder = pathlib.Path(folder)
    config = Config().override(
        [
            f"video.fps={FPS}",
            f"clip.clip_frames={task.frames[1]}",
            f"data.train_frames={task.frames[1]}",
            # Another phase would take other steps than those that were drawn.
            "data.train_phases=1",
        ]
    )
    drawn = {split: planted.draw(split, seed, task) for split in planted.SPLITS}
    fingerprint = short_hash(
        [dataclasses.asdict(task), seed, [_sha256(c) for c in drawn.values()]]
    )
    if (folder / dataset.FILE).exists():
        found = dataset.load(folder)
        if found.fingerprint == fingerprint:
            return found
        raise RecordError(
            f"{folder}: holds another data set; choose another folder"
        )
    name = f"{planted.SOURCE} {fingerprint}"
    given = Encoders(
        face=precomputed.Precomputed(f"{name} face", task.size),
        context=precomputed.Precomputed(f"{name} context", task.size),
    )
    made = dataset.Dataset(
        path=str(folder),
        config=config,
        labels=planted.LABELS,
        splits={
            split: _write_shard(folder, split, clips, config)
            for split, clips in drawn.items()
        },
        failures=[],
        sources={planted.SOURCE: sum(task.clips)},
        fingerprint=fingerprint,
    )
    for split, clips in drawn.items():
        precomputed.deposit(made, split, given, _features(split, clips))
    made.write()
    return made


def _sha256(clips) -> str:
    arrays = (clips.face, clips.context, clips.counts, clips.label_ids)
    data = b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    return hashlib.sha256(data).hexdigest()


def _clip_id(split, i) -> str:
    return f"{split}-{i:05d}/t0/w0"


def _features(split, clips) -> dict:
    """Returns `clip/id` -> input -> float32 [n, D]."""
    return {
        _clip_id(split, i): {
            "face_features": clips.face[i, :count],
            "context_features": clips.context[i, :count],
        }
        for i, count in enumerate(clips.counts)
    }


def _write_shard(folder, split, clips, config) -> dict:
    """Writes a split's records and their summary; returns its description."""
    path = folder / f"{split}-00000-of-00001.tfrecord"
    rows = [_row(split, i, clips) for i in range(len(clips.counts))]
    task = shards.ShardTask(
        str(path), split, "main", config.to_dict(), tuple(rows)
    )
    frames = int(clips.counts.sum())
    labels = [planted.LABELS.names[i] for i in clips.label_ids]
    summary = shards.ShardSummary(
        path=path.name,
        split=split,
        task=task.hash,
        bounds=task.bounds,
        rows=len(rows),
        records=records.write(
            path, (_example(row, config) for row in zip(rows, clips.counts))
        ),
        frames_total=frames,
        frames_with_face=frames,
        labels={name: labels.count(name) for name in planted.LABELS.names},
        sources={planted.SOURCE: len(rows)},
        row_frames={
            row.id: (int(n), int(n)) for row, n in zip(rows, clips.counts)
        },
    )
    files.write_json(shards.summary_path(path), dataclasses.asdict(summary))
    return {
        "files": [path.name],
        "rows": summary.rows,
        "records": summary.records,
        "frames_total": frames,
        "frames_with_face": frames,
        "no_face": 0,
        "labels": summary.labels,
    }


def _row(split, i, clips) -> shards.ShardRow:
    count, label_id = int(clips.counts[i]), int(clips.label_ids[i])
    name, _, _ = _clip_id(split, i).partition("/")
    content = np.concatenate([clips.face[i], clips.context[i]])
    return shards.ShardRow(
        id=name,
        line=i + 2,
        video=f"{name}.none",
        path="",
        sha256=hashlib.sha256(content.tobytes()).hexdigest(),
        label=planted.LABELS.names[label_id],
        label_id=label_id,
        start=0.0,
        end=count / FPS,
        identity="",
        source=planted.SOURCE,
    )


def _example(row_and_count, config):
    """The record of one clip: times and label, and no picture."""
    row, count = row_and_count
    clip = Clip(
        track=0,
        window=0,
        start=row.start,
        end=row.end,
        times=np.arange(count, dtype=np.float32) / FPS,
        boxes=np.zeros((count, 4), np.float32),
        face=(b"",) * count,
        context=(b"",) * count,
        frames_total=int(count),
        frame_size=(0, 0),
    )
    made = records.to_example(
        clip,
        clip_id=f"{row.id}/t0/w0",
        label=row.label,
        label_id=row.label_id,
        source=row.source,
        video_path=row.video,
        video_sha256=row.sha256,
        config_hash=config.data_hash(),
    )
    for stream in STREAMS:
        made.features.feature.pop(keys.jpeg_key(stream))
    return made
