"""Frozen features, computed once: records of frames to records of features.

The encoders do not learn, so what they give is kept beside the records: one
folder for each kind of answer and encoder, `<stream>_<kind>-<hash>`, whose
`features.json` says what it holds. The unit of work is a shard, written
atomically; finished ones are skipped.
"""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import dataset, files, keys, processes, records, shards
from emorec.data.feature_files import FeatureFiles
from emorec.errors import RecordError
from emorec.features.encoder import Encoder
from emorec.features.encoders import STREAMS, Encoders, kinds_of

DESCRIPTION = "features.json"


def extract(
    data: dataset.Dataset,
    split: str,
    encoders: Encoders,
    inputs: Sequence[str],
    config: Config,
    *,
    feature_dir: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[FeatureFiles]:
    """Writes the records of features of a split, unless they are there.

    Args:
        data: A prepared data set.
        split: One of its splits.
        encoders: The frozen encoders.
        inputs: What is wanted, `<stream>_<kind>`.
        config: Its `clip.crop_size` and `features.batch_frames`.
        feature_dir: Where the features go; by default beside the records.
        progress: Called with (shards done, all shards).

    Returns:
        For each input its files, in the order of the shards. Without any
        input, the records of frames themselves, for their labels.

    Raises:
        ConfigError: An encoder is absent or does not give what is wanted.
        RecordError: A shard is corrupt, cut short or of another config.
    """
    encoders = encoders.only(inputs)
    sources = data.files(split)
    if not inputs:
        return [FeatureFiles({}, tuple(sources))]
    root = feature_dir or files.join(data.path, "features")
    made = []
    for position, name in enumerate(inputs):
        encoder = encoders.of(name.partition("_")[0])
        folder = files.join(root, f"{name}-{encoder.hash}")
        describe(folder, name, encoder)
        targets = _extract_all(
            data,
            split,
            encoders.only([name]),
            name,
            config,
            folder,
            _shifted(progress, position, len(inputs)),
        )
        made.append(FeatureFiles({name: encoders.shapes[name]}, targets))
    return made


def _shifted(progress, position, parts):
    """A callback for one of several passes over the shards."""
    if progress is None:
        return lambda done, total: None
    return lambda done, total: progress(position * total + done, parts * total)


def describe(folder: str | os.PathLike, name: str, encoder: Encoder) -> None:
    """Writes what a folder of features holds, or holds it against that.

    Raises:
        RecordError: The folder holds something else.
    """
    wanted = {
        "holds": name,
        "shape": list(encoder.outputs[name.partition("_")[2]]),
        "encoder": {"id": encoder.id, "hash": encoder.hash, **encoder.weights},
    }
    path = files.join(folder, DESCRIPTION)
    if not files.exists(path):
        files.write_json(path, wanted)
        return
    found = files.read_json(path, "description of features", "delete it")
    for what in ("holds", "shape"):
        if found.get(what) != wanted[what]:
            raise _not_of(folder, what, found.get(what), wanted[what])
    known = found.get("encoder")
    hash_ = known.get("hash") if isinstance(known, dict) else None
    if hash_ != encoder.hash:
        raise _not_of(folder, "encoder's hash", hash_, encoder.hash)


def _not_of(folder, what, found, wanted) -> RecordError:
    return RecordError(
        f"{folder}: its features are others than asked for: the {what} must "
        f"be {wanted}. Received: {found}; delete the folder, and they are "
        "computed again"
    )


def _extract_all(data, split, encoders, name, config, folder, progress):
    """Extracts one input of every shard of a split; returns the files."""
    sources = data.files(split)
    targets, count = [], 0
    for done, source in enumerate(sources):
        target = files.join(folder, files.name(source))
        found = _finished(target, source)
        if found is None:
            for path in (target, stamp_path(target)):
                files.remove_leftovers(path)
            found = extract_shard(source, target, encoders, [name], config)
            files.write_json(
                stamp_path(target), {**stamp(source), "records": found}
            )
        count += found
        targets.append(target)
        progress(done + 1, len(sources))
    if count != data.splits[split]["records"]:
        raise RecordError(
            f"{data.path}: the shards of {split!r} hold {count} records, "
            f"{data.splits[split]['records']} were written; run `emorec "
            "prepare` again with --overwrite"
        )
    return tuple(targets)


def stamp_path(target: str | os.PathLike) -> str:
    """Returns the file that completes a shard of features."""
    return f"{os.path.splitext(target)[0]}.json"


def stamp(source) -> dict:
    """What shows that a shard of frames has been written anew.

    Its task says what is in it, so that a copy of a data set keeps its
    features; the time does where there is no summary.
    """
    size, changed_ns = files.stat(source)
    stamp = {"source_bytes": size}
    if not files.exists(shards.summary_path(source)):
        return {**stamp, "source_mtime_ns": changed_ns}
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
    path = stamp_path(target)
    if not (files.exists(target) and files.exists(path)):
        return None
    found = files.read_json(path, "stamp of features", "delete it")
    count = found.pop("records", None)
    return count if found == stamp(source) else None


def extract_shard(
    source: str | os.PathLike,
    target: str | os.PathLike,
    encoders: Encoders,
    inputs: Sequence[str],
    config: Config,
) -> int:
    """Turns one shard of frames into one of features; returns its records.

    A record is written as soon as its features are there, so that memory
    holds a record and a few batches, however long the shard's films are.

    Args:
        source: The records of frames; may be remote.
        target: The records of features to be; gzip where it ends in `.gz`;
            may be remote.
        encoders: The frozen encoders.
        inputs: What a record will hold, `<stream>_<kind>`; one or more.
        config: Its `clip.crop_size` and `features.batch_frames`.

    Raises:
        RecordError: The shard is corrupt or of another config.
    """
    for example in records.read(source):
        # Before the long work: all records of a shard have one config.
        check_config(example, config, source)
        break
    return records.write(
        target, _feature_examples(source, encoders, inputs, config)
    )


def _feature_examples(
    source, encoders, inputs, config
) -> Iterator[tf.train.Example]:
    """Yields the records of features; a batch may run over their borders."""
    none = {
        name: np.zeros((0, *encoders.shapes[name]), np.float32)
        for name in inputs
    }
    batches = _encode(source, encoders, inputs, config)
    # Held before a record is read: the encoding names a damage first.
    held = next(batches, none)
    for example in records.read(source):
        check_config(example, config, source)
        count = _count(example, source, encoders)
        parts = [held]
        missing = count - _steps(held)
        while missing > 0:
            parts.append(next(batches, none))
            if not _steps(parts[-1]):
                raise RecordError(
                    f"{source}: has changed while it was read; run the "
                    "command again"
                )
            missing -= _steps(parts[-1])
        held = {n: np.concatenate([p[n] for p in parts]) for n in inputs}
        yield feature_example(
            example, {n: v[:count] for n, v in held.items()}, encoders
        )
        held = {n: v[count:] for n, v in held.items()}
        if not _steps(held):
            held = next(batches, none)


def _steps(values) -> int:
    return len(next(iter(values.values())))


def _count(example, source, encoders) -> int:
    """Returns a record's frames."""
    count = len(records.many(example, keys.FRAME_TIME))
    for stream, _ in encoders.items():
        jpegs = len(records.many(example, keys.jpeg_key(stream)))
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


def _encode(source, encoders, inputs, config) -> Iterator[dict]:
    """Yields the features of a shard's frames, input -> f32 [batch, ...].

    Frames of all clips are batched together, so that short clips cost no
    padding.
    """
    size = config.clip.crop_size
    batch = config.features.batch_frames
    streams = [stream for stream, _ in encoders.items()]
    frames = (
        records.open_files([source])
        .flat_map(lambda data: _jpegs(data, streams))
        .map(
            lambda *jpegs: tuple(records.decode_jpeg(j, size) for j in jpegs),
            num_parallel_calls=processes.cores(),
        )
        .batch(batch)
        .prefetch(2)
        .with_options(_untuned())
    )

    def encoded(images) -> dict:
        made = {}
        for stream, seen in zip(streams, images, strict=True):
            answer = encoders.of(stream).encode_kinds(
                seen, kinds_of(inputs, stream), batch
            )
            made |= {f"{stream}_{k}": v for k, v in answer.items()}
        return made

    try:
        yield from _ahead(encoded, frames.as_numpy_iterator())
    except tf.errors.OpError as e:
        raise RecordError(
            f"{source}: not readable as records of frames "
            f"({str(e.message).splitlines()[0][:200]}); delete it and run "
            "`emorec prepare` again"
        ) from e


def _ahead(function, items) -> Iterator:
    """Maps a function over items in threads; the answers in their order."""
    waiting = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(processes.AT_ONCE) as threads:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) > processes.AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _untuned() -> tf.data.Options:
    # A shard is read before tuning has found the number of calls: with it,
    # one run in two took a single core.
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _jpegs(data, streams):
    spec = tf.io.FixedLenSequenceFeature((), tf.string, allow_missing=True)
    parsed = tf.io.parse_single_example(
        data, {keys.jpeg_key(s): spec for s in streams}
    )
    return tf.data.Dataset.from_tensor_slices(
        tuple(parsed[keys.jpeg_key(s)] for s in streams)
    )


def feature_example(example, features, encoders) -> tf.train.Example:
    """Copies a record's description and puts features for its pixels."""
    made = tf.train.Example()
    made.CopyFrom(example)
    feature = made.features.feature
    coverage = keys.coverage(
        records.one(example, keys.FRAMES_TOTAL),
        records.one(example, keys.FRAMES_WITH_FACE),
    )
    feature[keys.FRAMES_COVERAGE].bytes_list.value.append(coverage.encode())
    for stream in STREAMS:
        feature.pop(keys.jpeg_key(stream), None)
    for name, values in features.items():
        feature[keys.feature_key(name)].float_list.value.extend(
            values.reshape(-1)
        )
    for stream, encoder in encoders.items():
        feature[keys.encoder_key(stream)].bytes_list.value.append(
            encoder.hash.encode()
        )
    return made
