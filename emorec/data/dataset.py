"""The description of a prepared data set: `dataset.json` beside its shards."""

import dataclasses
import os

from emorec.config import Config, data_differences
from emorec.data import files
from emorec.errors import ConfigError, LabelError, RecordError
from emorec.labels import LabelSet

FILE = "dataset.json"
# TFX reads the records of a split out of a folder of this name.
SPLIT_FOLDER = "Split-"
_REMEDY = "make the data set with `emorec prepare`"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared data set.

    Attributes:
        path: Its folder; may be remote.
        config: The config it was made with.
        labels: Its label set.
        splits: Split name -> a dict with `files`, `rows`, `records`,
            `frames_total`, `frames_with_face` and `labels` (label -> rows).
            A file is a name, or `Split-<split>/<name>`, below `path`.
        failures: Rows that could not be read: dicts with `line`, `video`,
            `split`, `reason`.
        sources: Source name -> rows.
        fingerprint: 16 hex digits that name rows, labels and contents.
        damaged: Rows that were read in part, in the form of `failures`.
    """

    path: str
    config: Config
    labels: LabelSet
    splits: dict
    failures: list
    sources: dict
    fingerprint: str
    damaged: list = dataclasses.field(default_factory=list)

    def files(self, split: str) -> list[str]:
        """Returns the paths of a split's shards.

        Raises:
            RecordError: There is no such split, or it is empty.
        """
        names = self.splits.get(split, {}).get("files", [])
        if not names:
            raise RecordError(
                f"{self.path}: no records of the split {split!r}; it has "
                f"{', '.join(s for s, v in self.splits.items() if v['files'])}"
            )
        return [files.join(self.path, name) for name in names]

    def coverage(self, split: str) -> float:
        """Returns the share of a split's sampled frames that had a face.

        Of all rows that could be read, and of all their windows.
        """
        values = self.splits[split]
        return values["frames_with_face"] / max(values["frames_total"], 1)

    def write(self) -> None:
        """Writes `dataset.json`, which makes the data set complete."""
        values = dataclasses.asdict(self)
        del values["path"]
        values["config"] = self.config.to_dict()
        values["config_hash"] = self.config.data_hash()
        values["labels"] = self.labels.to_dict()
        files.write_json(files.join(self.path, FILE), values)


def is_shard_name(name: str) -> bool:
    """Whether `name` is of a file in a data set's folder, and not beyond.

    It may lie in a folder `Split-<split>`, in no other.
    """
    *folder, file = name.split("/")
    return (
        file not in ("", ".", "..")
        and len(folder) <= 1
        and all(f.startswith(SPLIT_FOLDER) for f in folder)
    )


def load(path: str | os.PathLike) -> Dataset:
    """Reads the description of a prepared data set.

    Raises:
        EmorecError: There is none, or it is not one of ours.
    """
    path = str(path)
    values = files.read_json(
        files.join(path, FILE), "description of a data set", _REMEDY
    )
    try:
        for split in values["splits"].values():
            for name in split["files"]:
                if not is_shard_name(name):
                    raise ValueError(f"{name!r} is no name of a shard")
        return Dataset(
            path=path,
            config=Config.from_dict(values["config"]),
            labels=LabelSet.from_dict(values["labels"]),
            splits=dict(values["splits"]),
            failures=list(values["failures"]),
            damaged=list(values["damaged"]),
            sources=dict(values["sources"]),
            fingerprint=str(values["fingerprint"]),
        )
    except (
        ConfigError,
        LabelError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as e:
        raise RecordError(
            f"{path}: {FILE} is not one of this version ({e!r}); {_REMEDY}"
        ) from e


def check_fits(data: Dataset, config: Config, labels: LabelSet, who: str):
    """Refuses data whose config or labels do not fit a model.

    Args:
        data: A prepared data set.
        config: The model's config.
        labels: The model's labels.
        who: The model, for the message.

    Raises:
        ConfigError: With each field that differs.
    """
    if data.config.data_hash() != config.data_hash():
        raise ConfigError(
            f"{data.path}: its records do not fit {who}: "
            f"{'; '.join(data_differences(config, data.config))}; prepare "
            "the videos again with the model's config"
        )
    if data.labels.names != labels.names:
        raise ConfigError(
            f"{data.path}: its labels ({', '.join(data.labels.names)}) are "
            f"not those of {who} ({', '.join(labels.names)}); prepare the "
            "videos again with the model's labels"
        )
