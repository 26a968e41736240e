"""The planted task: two streams in which *when* things happen is the answer.

What is planted. Each clip is a pair of sequences of 12 to 16 steps, noise but
for short pulses, each one step long and along a direction of its own:

    face      one expression, a smile or a frown, and one or two blinks
    context   one bang, and one or two flickers

The label says which expression it is and whether it comes after the bang or
before it: an answer to the event, or there already. The two are 1 to 3 steps
apart, never at once; blinks and flickers fall anywhere and mean nothing.

    the face alone      knows smile or frown, but not when the bang was: 2 of
                        the 4 labels stay open
    the context alone   knows when the bang was, but nothing of the face
    pooling over time   sees that each happened, once, and not in what order:
                        the mean, the maximum and any other moment of a stream
                        over its steps have the same distribution before and
                        after
    an oracle           that knows the directions finds both and compares

A little is left to one stream: an expression late in the clip is likelier
to come after the bang (`Task.single_stream_bound`). No task that a sum of one
score for each stream can solve, as Parallel-RNN's last layer is, is free of
that: if the order decides, the mean position of at least one of the two
differs between the labels.

The events lie behind the first quarter of a clip, which training may skip
(`emorec.data.input_pipeline`), so that no cut changes a label.
"""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from emorec.config import Config, short_hash
from emorec.data import (
    dataset,
    files,
    input_pipeline,
    keys,
    records,
    shards,
)
from emorec.errors import RecordError
from emorec.features import precomputed
from emorec.features.encoders import STREAMS, Encoders
from emorec.labels import LabelSet
from emorec.video.clip import Clip

SOURCE = "emorec-planted"
LABELS = LabelSet(
    SOURCE, ("smile_after", "frown_after", "smile_before", "frown_before")
)
# Directions of the pulses of each stream, in this order.
FACE = ("smile", "frown", "blink")
CONTEXT = ("bang", "flicker")
SPLITS = ("train", "validation", "test")
_FPS = 8.0


@dataclasses.dataclass(frozen=True)
class Task:
    """The sizes of the task.

    Attributes:
        clips: Clips of the training, validation and test split.
        frames: Fewest and most steps of a clip.
        gap: Fewest and most steps between expression and bang.
        distractors: Fewest and most blinks of a face, and flickers.
        size: D, values of a step, the same in both streams.
        noise: Standard deviation of each value; a pulse is 1 long.
    """

    clips: tuple[int, int, int] = (1000, 200, 600)
    frames: tuple[int, int] = (12, 16)
    gap: tuple[int, int] = (1, 3)
    distractors: tuple[int, int] = (1, 2)
    size: int = 8
    noise: float = 0.15


@dataclasses.dataclass(frozen=True)
class Clips:
    """Drawn clips.

    Attributes:
        face: float32 [N, T, D]; 0 behind a clip's end.
        context: float32 [N, T, D].
        counts: int [N], steps of each clip.
        label_ids: int [N].
        directions: `face` float32 [3, D] and `context` [2, D], of the pulses.
    """

    face: np.ndarray
    context: np.ndarray
    counts: np.ndarray
    label_ids: np.ndarray
    directions: dict[str, np.ndarray]

    @property
    def mask(self) -> np.ndarray:
        """bool [N, T], True at the clips' steps."""
        return np.arange(self.face.shape[1]) < self.counts[:, None]


def draw(split: str, seed: int = 0, task: Task = Task()) -> Clips:
    """Draws a split of the task; the same seed and task give the same.

    Args:
        split: One of `SPLITS`.
        seed: Of directions and clips.
        task: The sizes.
    """
    place = SPLITS.index(split)
    directions = _directions(seed, task)
    rng = np.random.default_rng([seed, place + 1])
    number, longest = task.clips[place], task.frames[1]
    streams = {
        name: np.zeros((number, longest, task.size), np.float32)
        for name in directions
    }
    label_ids = rng.permutation(np.arange(number) % len(LABELS))
    counts = rng.integers(*task.frames, number, endpoint=True)
    for i, (label_id, count) in enumerate(zip(label_ids, counts)):
        for name, pulses in _pulses(rng, label_id, count, task).items():
            values = rng.normal(0, task.noise, (count, task.size))
            for step, kind in pulses:
                values[step] += directions[name][kind]
            streams[name][i, :count] = values
    return Clips(
        **streams, counts=counts, label_ids=label_ids, directions=directions
    )


def _directions(seed, task) -> dict[str, np.ndarray]:
    """Draws orthogonal directions of length 1, a row a kind of pulse."""
    rng = np.random.default_rng([seed, 0])
    return {
        name: np.linalg.qr(rng.normal(size=(task.size, task.size)))[0][
            : len(kinds)
        ].astype(np.float32)
        for name, kinds in (("face", FACE), ("context", CONTEXT))
    }


def _pulses(rng, label_id, count, task) -> dict[str, list[tuple[int, int]]]:
    """Draws the pulses of a clip: (step, kind) of each stream."""
    is_before, expression = divmod(int(label_id), 2)
    gap = int(rng.integers(*task.gap, endpoint=True))
    first = int(rng.integers(quiet_steps(count), count - gap))
    face, bang = (first, first + gap)[:: 1 if is_before else -1]
    made = {}
    for name, step, kind, other in (
        ("face", face, expression, FACE.index("blink")),
        ("context", bang, CONTEXT.index("bang"), CONTEXT.index("flicker")),
    ):
        free = np.delete(np.arange(count), step)
        more = rng.integers(*task.distractors, endpoint=True)
        drawn = rng.choice(free, more, replace=False)
        made[name] = [(step, kind), *((int(s), other) for s in drawn)]
    return made


def quiet_steps(count: int) -> int:
    """Returns how many of a clip's first steps training may skip."""
    return int(count * input_pipeline.MAX_SKIPPED)


def oracle(clips: Clips) -> np.ndarray:
    """Solves the task from the sequences and the directions of the pulses.

    Returns:
        int [N], its answers.
    """
    kind, shown = _found(clips, "face", (0, 1))
    _, banged = _found(clips, "context", (0,))
    return kind + 2 * (shown < banged)


def _found(clips, name, kinds):
    """Finds the strongest pulse of some kinds: (kind [N], step [N])."""
    scores = getattr(clips, name) @ clips.directions[name][list(kinds)].T
    scores = np.where(clips.mask[..., None], scores, -np.inf)
    best = scores.reshape(len(scores), -1).argmax(axis=1)
    return best % len(kinds), best // len(kinds)


def pooled(clips: Clips) -> np.ndarray:
    """Pools both streams over time, blind to order.

    Returns:
        float32 [N, 8 D]: mean, standard deviation, minimum and maximum of
        each value over a clip's steps.
    """
    mask = clips.mask[..., None]
    made = []
    for values in (clips.face, clips.context):
        mean = values.mean(axis=1, where=mask)
        spread = values.std(axis=1, where=mask)
        low = values.min(axis=1, where=mask, initial=np.inf)
        high = values.max(axis=1, where=mask, initial=-np.inf)
        made += [mean, spread, low, high]
    return np.concatenate(made, axis=1)


def write(
    folder: str | os.PathLike, seed: int = 0, task: Task = Task()
) -> dataset.Dataset:
    """Writes the task as a data set whose features are there already.

    It goes through training and evaluation as any other does, with
    `encoders(folder)` for its encoders. There are no pictures in it.

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
            f"video.fps={_FPS}",
            f"clip.clip_frames={task.frames[1]}",
            f"data.train_frames={task.frames[1]}",
            # Another phase would take other steps than those that were drawn.
            "data.train_phases=1",
        ]
    )
    drawn = {split: draw(split, seed, task) for split in SPLITS}
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
    name = f"{SOURCE} {fingerprint}"
    given = Encoders(
        face=precomputed.Precomputed(f"{name} face", task.size),
        context=precomputed.Precomputed(f"{name} context", task.size),
    )
    made = dataset.Dataset(
        path=str(folder),
        config=config,
        labels=LABELS,
        splits={
            split: _write_shard(folder, split, clips, config)
            for split, clips in drawn.items()
        },
        failures=[],
        sources={SOURCE: sum(task.clips)},
        fingerprint=fingerprint,
    )
    for split, clips in drawn.items():
        precomputed.deposit(made, split, given, _features(split, clips))
    made.write()
    return made


def encoders(folder: str | os.PathLike, inputs=()) -> Encoders:
    """Returns what stands for the encoders of `write`'s data set."""
    return precomputed.encoders(folder, inputs)


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
    labels = [LABELS.names[i] for i in clips.label_ids]
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
        labels={name: labels.count(name) for name in LABELS.names},
        sources={SOURCE: len(rows)},
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
        label=LABELS.names[label_id],
        label_id=label_id,
        start=0.0,
        end=count / _FPS,
        identity="",
        source=SOURCE,
    )


def _example(row_and_count, config):
    """The record of one clip: times and label, and no picture."""
    row, count = row_and_count
    clip = Clip(
        track=0,
        window=0,
        start=row.start,
        end=row.end,
        times=np.arange(count, dtype=np.float32) / _FPS,
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
