"""A feature set: the records of features of a data set, with their encoders.

    dataset.json             the data set's, with these files
    features.json            what a record holds, and the encoders' names
    encoders/<stream>/       the encoders themselves
    Split-<split>/*.gz       records, each with all inputs
    extracted/<shard>.json   what became of a shard

`emorec.features.extract` keeps its features beside the records, a folder for
each input, on one machine. A feature set stands alone, so that whoever trains,
measures or answers elsewhere needs nothing else. The unit of work is a shard
here too, and an error that a user can mend is written into the shard's JSON:
a worker's exception would come back wrapped in its runner's words.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence

from emorec import errors
from emorec.config import Config
from emorec.data import dataset, files
from emorec.data.feature_files import FeatureFiles
from emorec.errors import ConfigError, EmorecError, RecordError
from emorec.features import encoder, extract
from emorec.features.encoders import STREAMS, Encoders

FILE = "features.json"
ENCODERS = "encoders"
EXTRACTED = "extracted"
_WHAT = "description of a feature set"
_REMEDY = "run the FeatureExtractor again"


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """The records of features of a data set.

    Attributes:
        path: Its folder; may be remote.
        data: The data set; its files are those of the features.
        encoders: What made them.
        holds: Input -> shape of a step; a record holds all of them.
    """

    path: str
    data: dataset.Dataset
    encoders: Encoders
    holds: dict[str, tuple[int, ...]]

    def sources(self, inputs: Sequence[str]) -> dict[str, list[FeatureFiles]]:
        """Returns what a network of these inputs reads of each split.

        Args:
            inputs: `<stream>_<kind>`; none reads labels and times alone.

        Raises:
            ConfigError: The set does not hold an input.
        """
        for name in inputs:
            if name not in self.holds:
                raise ConfigError(
                    f"{self.path}: its records do not hold {name!r}, which "
                    "the system reads; extract it too. Received: "
                    f"{', '.join(self.holds)}"
                )
        held = {name: self.holds[name] for name in inputs}
        return {
            split: [FeatureFiles(held, tuple(self.data.files(split)))]
            for split, values in self.data.splits.items()
            if values["files"]
        }


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard of features to be made; plain values, for any worker.

    Attributes:
        source: The records of frames.
        target: The records of features.
        summary: The JSON that says what became of it.
        inputs: `<stream>_<kind>`.
        encoders: `Encoders.hash`.
        config: `Config.to_dict()`.
        code: Names the code; a shard of other code is not taken over.
        earlier: Folders of feature sets in which a finished one may lie.
    """

    source: str
    target: str
    summary: str
    inputs: tuple[str, ...]
    encoders: str
    config: dict
    code: str = ""
    earlier: tuple[str, ...] = ()

    def key(self) -> dict:
        """Names what the shard is made of, as JSON values."""
        return {
            "source": extract.stamp(self.source),
            "inputs": list(self.inputs),
            "encoders": self.encoders,
            "config_hash": Config.from_dict(self.config).data_hash(),
            "code": self.code,
        }


def plan(
    data: dataset.Dataset,
    path: str,
    encoders: Encoders,
    inputs: Sequence[str],
    config: Config,
    *,
    code: str = "",
    earlier: Sequence[str] = (),
) -> list[ShardTask]:
    """Cuts the work into shards, those of the data set.

    Args:
        data: The data set, records of frames.
        path: Where the feature set goes.
        encoders: The frozen encoders.
        inputs: What a record is to hold; one or more.
        config: Its `clip.crop_size` and `features.batch_frames`.
        code: Names the code that makes them.
        earlier: Feature sets whose finished shards may be taken over.
    """
    return [
        ShardTask(
            source=source,
            target=files.join(path, target),
            summary=_summary(path, target),
            inputs=tuple(inputs),
            encoders=encoders.hash,
            config=config.to_dict(),
            code=code,
            earlier=tuple(earlier),
        )
        for split, values in data.splits.items()
        if values["files"]
        for source, target in zip(
            data.files(split), _targets(split, values), strict=True
        )
    ]


def _targets(split, values) -> list[str]:
    """Returns the names of a split's files of features."""
    names = [os.path.basename(name) for name in values["files"]]
    folder = f"{dataset.SPLIT_FOLDER}{split}"
    return [f"{folder}/{n.removesuffix('.gz')}.gz" for n in names]


def _summary(path, target) -> str:
    # Not beside the records: readers take every file of a split's folder.
    name = os.path.basename(target).removesuffix(".gz")
    name = name.removesuffix(".tfrecord")
    return files.join(path, EXTRACTED, f"{name}.json")


def write_shard(task: ShardTask, encoders: Encoders) -> int | None:
    """Makes one shard; an error that a user can mend goes into its summary.

    Args:
        task: The shard.
        encoders: Those of the task.

    Returns:
        Its records; None where it could not be made.
    """
    try:
        key = task.key()
        count = _take_over(task, key)
        if count is None:
            count = extract.extract_shard(
                task.source,
                task.target,
                encoders,
                task.inputs,
                Config.from_dict(task.config),
            )
    except EmorecError as e:
        write_fault(task, e)
        return None
    files.write_json(task.summary, {**key, "records": count})
    return count


def write_fault(task: ShardTask, error: EmorecError) -> None:
    """Writes why a shard could not be made, for `finish` to raise it.

    Raises:
        EmorecError: That cannot be written either.
    """
    values = {"error": str(error), "class": type(error).__name__}
    files.write_json(task.summary, values)


def _take_over(task, key) -> int | None:
    """Copies a shard that an earlier execution finished; its records."""
    split, name = task.target.split("/")[-2:]
    for place in task.earlier:
        found = _finished(_summary(place, name), key)
        source = files.join(place, split, name)
        if found is not None and files.exists(source):
            files.copy(source, task.target)
            return found
    return None


def _finished(path, key) -> int | None:
    """Returns the records of a finished shard of this key."""
    if not files.exists(path):
        return None
    try:
        found = files.read_json(path, "summary of a shard", _REMEDY)
    except EmorecError:
        return None  # Of a killed writer, or no longer there.
    count = found.pop("records", None)
    return count if found == key else None


def save_encoders(path: str, encoders: Encoders) -> None:
    """Writes the encoders into a feature set, for workers and for the Trainer.

    Raises:
        EmorecError: They cannot be written.
    """
    for stream, made in encoders.items():
        place = files.join(path, ENCODERS, stream)
        if not files.is_remote(path):
            made.save(place)
            continue
        with tempfile.TemporaryDirectory() as folder:
            made.save(folder)
            files.copy_tree(folder, place, last=encoder.JSON_FILE)


def load_encoders(path: str, hashes: dict[str, str]) -> Encoders:
    """Reads the encoders of a feature set.

    Args:
        path: The feature set.
        hashes: Stream -> the encoder's hash.

    Raises:
        ModelError: One is absent, damaged or has another hash.
    """
    made = {}
    for stream, hash_ in hashes.items():
        place = files.join(path, ENCODERS, stream)
        with _local_folder(place) as folder:
            made[stream] = encoder.load(folder)
        if made[stream].hash != hash_:
            raise errors.ModelError(
                f"{place}: the encoder's hash must be {hash_}. Received: "
                f"{made[stream].hash}; {_REMEDY}"
            )
    return Encoders(**made)


@contextlib.contextmanager
def _local_folder(place) -> Iterator[str]:
    if not files.is_remote(place):
        yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        files.copy_tree(place, folder)
        yield folder


def finish(
    data: dataset.Dataset,
    path: str,
    encoders: Encoders,
    config: Config,
    tasks: Sequence[ShardTask],
) -> FeatureSet:
    """Completes a feature set whose shards are made.

    Args:
        data: The data set, records of frames.
        path: The feature set.
        encoders: The frozen encoders, saved already.
        config: The config of the extraction.
        tasks: Of `plan`.

    Raises:
        EmorecError: That of the first shard that could not be made.
        RecordError: A shard holds another number of records than were
            prepared.
    """
    counts = {task.target: _count(task) for task in tasks}
    splits = {}
    for split, values in data.splits.items():
        names = _targets(split, values)
        found = sum(counts[files.join(path, name)] for name in names)
        if found != values["records"]:
            raise RecordError(
                f"{data.path}: the shards of {split!r} hold {found} records, "
                f"{values['records']} were written; prepare the videos again"
            )
        splits[split] = {**values, "files": names}
        if names:
            folder = files.join(path, f"{dataset.SPLIT_FOLDER}{split}")
            _remove_strays(folder, names)
    made = dataclasses.replace(
        data,
        path=path,
        splits=splits,
        config=dataclasses.replace(data.config, features=config.features),
    )
    made.write()
    inputs = tasks[0].inputs
    holds = {name: encoders.shapes[name] for name in inputs}
    files.write_json(
        files.join(path, FILE),
        {
            "holds": {name: list(shape) for name, shape in holds.items()},
            "encoders": {
                stream: {"id": e.id, "hash": e.hash, **e.weights}
                for stream, e in encoders.items()
            },
            "encoder_hash": encoders.hash,
            "random_weights": encoders.random_weights,
            "config_hash": config.data_hash(),
        },
    )
    return FeatureSet(path, made, encoders, holds)


def _count(task) -> int:
    """Returns a shard's records, or raises the error it ended with."""
    found = files.read_json(task.summary, "summary of a shard", _REMEDY)
    if "error" in found:
        kind = getattr(errors, str(found.get("class")), EmorecError)
        raise kind(found["error"])
    return found["records"]


def _remove_strays(folder, names) -> None:
    """Removes what is no shard, of a worker that died: TFX would read it."""
    ours = {os.path.basename(name) for name in names}
    for name in files.listing(folder):
        if name not in ours:
            files.remove(files.join(folder, name))


def load(path: str | os.PathLike) -> FeatureSet:
    """Reads a feature set.

    Raises:
        EmorecError: It is absent, incomplete, damaged or not one of ours.
    """
    path = str(path)
    about = files.read_json(files.join(path, FILE), _WHAT, _REMEDY)
    try:
        hashes = {s: about["encoders"][s]["hash"] for s in about["encoders"]}
        holds = {n: tuple(map(int, s)) for n, s in about["holds"].items()}
        if not holds or set(hashes) - set(STREAMS):
            raise ValueError("it holds no input, or an unknown stream's")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise RecordError(
            f"{path}: {FILE} is not one of this version ({e!r}); {_REMEDY}"
        ) from e
    data = dataset.load(path)
    encoders = load_encoders(path, hashes)
    for name, shape in holds.items():
        if encoders.shapes.get(name) != shape:
            raise RecordError(
                f"{path}: its records hold {name!r} of the shape {shape}, "
                f"and its encoders give {encoders.shapes}; {_REMEDY}"
            )
    return FeatureSet(path, data, encoders, holds)
