"""Frozen features, computed once: records of frames to records of features.

The encoders do not learn, so each shard of frames becomes one shard of
features, kept in a folder that carries the encoders' hashes. The unit of work
is a shard, written atomically; finished ones are skipped.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import dataset, files, keys, records, shards
from emorec.errors import RecordError
from emorec.features.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class Encoders:
    """The frozen encoders of the two streams."""

    face: Encoder
    context: Encoder

    @property
    def dims(self) -> dict[str, int]:
        """Feature size of each stream."""
        return {"face": self.face.dim, "context": self.context.dim}

    @property
    def hash(self) -> str:
        """Names both encoders; the features' folder is called so."""
        return f"{self.face.hash}-{self.context.hash}"

    @property
    def random_weights(self) -> list[str]:
        """Names of the streams whose encoder has random weights."""
        pairs = (("face", self.face), ("context", self.context))
        return [n for n, e in pairs if e.weights["random"]]


def extract(
    data: dataset.Dataset,
    split: str,
    encoders: Encoders,
    config: Config,
    *,
    feature_dir: str | pathlib.Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Writes the records of features of a split, unless they are there.

    Args:
        data: A prepared data set.
        split: One of its splits.
        encoders: The frozen encoders.
        config: Its `clip.crop_size` and `features.batch_frames`.
        feature_dir: Where the features go; by default beside the records.
        progress: Called with (shards done, all shards).

    Returns:
        The files, in the order of the shards.

    Raises:
        RecordError: A shard is corrupt, cut short or of another config.
    """
    folder = pathlib.Path(feature_dir or pathlib.Path(data.path) / "features")
    folder = folder / encoders.hash
    sources = data.files(split)
    targets, count = [], 0
    for done, source in enumerate(sources):
        target = folder / pathlib.Path(source).name
        found = _finished(target, source)
        if found is None:
            found = extract_shard(source, target, encoders, config)
            files.write_json(
                _stamp_path(target), {**_stamp(source), "records": found}
            )
        count += found
        targets.append(str(target))
        if progress is not None:
            progress(done + 1, len(sources))
    if count != data.splits[split]["records"]:
        raise RecordError(
            f"{data.path}: the shards of {split!r} hold {count} records, "
            f"{data.splits[split]['records']} were written; run `emorec "
            "prepare` again with --overwrite"
        )
    return targets


def _stamp_path(target):
    return target.with_suffix(".json")


def _stamp(source) -> dict:
    """What shows that a shard of frames has been written anew.

    Its task says what is in it, so that a copy of a data set keeps its
    features; the time does where there is no summary.
    """
    # Not tf.io.gfile.stat, whose times are whole seconds.
    stat = pathlib.Path(source).stat()
    stamp = {"source_bytes": stat.st_size}
    if not shards.summary_path(source).exists():
        return {**stamp, "source_mtime_ns": stat.st_mtime_ns}
    summary = shards.read_summary(source)
    return {
        **stamp,
        "source_task": summary.task,
        "source_records": summary.records,
        "source_frames_total": summary.frames_total,
        "source_frames_with_face": summary.frames_with_face,
    }


def _finished(target, source) -> int | None:
    """Returns the records of a shard of features that is up to date."""
    stamp = _stamp_path(target)
    if not (target.exists() and stamp.exists()):
        return None
    found = files.read_json(stamp, "stamp of features", "delete it")
    count = found.pop("records", None)
    return count if found == _stamp(source) else None


def extract_shard(
    source: str | pathlib.Path,
    target: str | pathlib.Path,
    encoders: Encoders,
    config: Config,
) -> int:
    """Turns one shard of frames into one of features; returns its records.

    A record is written as soon as its features are there, so that memory
    holds a batch and a record, however long the shard's films are.
    """
    for example in records.read(source):
        # Before the long work: all records of a shard have one config.
        check_config(example, config, source)
        break
    return records.write(target, _feature_examples(source, encoders, config))


def _feature_examples(source, encoders, config) -> Iterator[tf.train.Example]:
    """Yields the records of features; a batch may run over their borders."""
    none = np.zeros((0, encoders.face.dim + encoders.context.dim), np.float32)
    batches = _encode(source, encoders, config)
    # Held before a record is read: the encoding names a damage first.
    held = next(batches, none)
    for example in records.read(source):
        check_config(example, config, source)
        count = _count(example, source)
        parts = [held]
        missing = count - len(held)
        while missing > 0:
            parts.append(next(batches, none))
            if not len(parts[-1]):
                raise RecordError(
                    f"{source}: has changed while it was read; run the "
                    "command again"
                )
            missing -= len(parts[-1])
        held = np.concatenate(parts)
        yield _feature_example(example, held[:count], encoders)
        held = held[count:]
        if not len(held):
            held = next(batches, none)


def _count(example, source) -> int:
    """Returns a record's frames."""
    count = len(records.many(example, keys.FRAME_TIME))
    jpegs = len(records.many(example, keys.FACE_JPEG))
    if count != jpegs:
        raise RecordError(
            f"{source}: a record has {count} times for {jpegs} frames; "
            "delete it and run `emorec prepare` again"
        )
    return count


def check_config(example, config: Config, source) -> None:
    """Refuses a record that was made under another data config."""
    found = records.one(example, keys.CONFIG_HASH)
    if found != config.data_hash():
        raise RecordError(
            f"{source}: its records were made with the config {found!r}, "
            f"not {config.data_hash()!r}; prepare the videos again with this "
            "config"
        )


def _encode(source, encoders, config) -> Iterator[np.ndarray]:
    """Yields the features of a shard's frames, f32 [batch, Df + Dc].

    Frames of all clips are batched together, so that short clips cost no
    padding.
    """
    size = config.clip.crop_size
    batch = config.features.batch_frames
    frames = (
        tf.data.TFRecordDataset(files.open_file_system(str(source)))
        .flat_map(_jpegs)
        .map(
            lambda face, context: (
                records.decode_jpeg(face, size),
                records.decode_jpeg(context, size),
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .batch(batch)
        .prefetch(2)
    )
    try:
        for faces, contexts in frames.as_numpy_iterator():
            face = encoders.face.encode(faces, batch)
            context = encoders.context.encode(contexts, batch)
            yield np.concatenate([face, context], axis=1)
    except tf.errors.OpError as e:
        raise RecordError(
            f"{source}: not readable as records of frames "
            f"({str(e.message).splitlines()[0][:200]}); delete it and run "
            "`emorec prepare` again"
        ) from e


def _jpegs(data):
    spec = tf.io.FixedLenSequenceFeature((), tf.string, allow_missing=True)
    parsed = tf.io.parse_single_example(
        data, {keys.FACE_JPEG: spec, keys.CONTEXT_JPEG: spec}
    )
    return tf.data.Dataset.from_tensor_slices(
        (parsed[keys.FACE_JPEG], parsed[keys.CONTEXT_JPEG])
    )


def _feature_example(example, features, encoders) -> tf.train.Example:
    """Copies a record's description and puts features for its pixels."""
    made = tf.train.Example()
    made.CopyFrom(example)
    feature = made.features.feature
    for key in (keys.FACE_JPEG, keys.CONTEXT_JPEG):
        feature.pop(key, None)
    face, context = np.split(features, [encoders.face.dim], axis=1)
    for key, values in (
        (keys.FACE_FEATURES, face),
        (keys.CONTEXT_FEATURES, context),
    ):
        feature[key].float_list.value.extend(values.reshape(-1))
    feature[keys.FACE_ENCODER].bytes_list.value.append(
        encoders.face.hash.encode()
    )
    feature[keys.CONTEXT_ENCODER].bytes_list.value.append(
        encoders.context.hash.encode()
    )
    return made
