"""Features that were given, not computed: an encoder without pixels.

A data set may come with its features alone: made-up ones, or those of a
recording whose video may not be passed on. `deposit` puts them where
`emorec.features.extract` looks for its own, and a `Precomputed` stands in the
encoder's place, so that training and evaluation run on them unchanged.
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from emorec.data import dataset, files, keys, records
from emorec.errors import EmorecError, ModelError
from emorec.features import extract
from emorec.features.encoders import STREAMS, Encoders

# `Precomputed.id`; no preset has it.
ID = "precomputed"
JSON_FILE = "precomputed.json"
# Beyond it a folder's JSON is not one of ours.
MAX_SIZE = 1 << 20
_REMEDY = "train the model again"


class Precomputed:
    """Stands for whatever made the features; has the face of an `Encoder`.

    Attributes:
        id: `precomputed`.
        outputs: `features` (D,) alone.
        labels: (), as it classifies nothing.
        weights: As an `Encoder`'s; they are not random.
        hash: 16 hex digits over the name and D. Whoever makes other features
            gives them another name.

    Args:
        name: What made the features, and with what settings.
        size: D.
    """

    def __init__(self, name: str, size: int):
        if not name or not 1 <= size <= MAX_SIZE:
            raise ModelError(
                f"given features need a name and 1 to {MAX_SIZE} values a "
                f"step. Received: {name!r} and {size}"
            )
        self.id = ID
        self.outputs = {"features": (size,)}
        self.labels = ()
        self.weights = {
            "name": name,
            "sha256": None,
            "licence": None,
            "origin": None,
            "random": False,
        }
        text = f"{ID} {name} {size}"
        self.hash = hashlib.sha256(text.encode()).hexdigest()[:16]

    def part(self, *kinds: str):
        """Raises `ModelError`: there is no network."""
        raise ModelError(
            f"the features of this model were given ({self.weights['name']}), "
            "not computed from images, so that it can be trained and "
            "evaluated on such features alone; train one on videos to "
            "export it, or to predict"
        )

    def encode_kinds(
        self,
        images,
        kinds: Sequence[str],
        batch: int = 1,
        bfloat16: bool = False,
    ):
        """Raises `ModelError`: there is no network."""
        self.part(*kinds)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `precomputed.json` into a folder."""
        files.write_json(
            pathlib.Path(folder) / JSON_FILE,
            {
                "encoder": ID,
                "name": self.weights["name"],
                "size": self.outputs["features"][0],
                "hash": self.hash,
            },
        )


def is_saved(folder: str | os.PathLike) -> bool:
    """Whether a folder holds what `Precomputed.save` wrote."""
    return (pathlib.Path(folder) / JSON_FILE).is_file()


def load(folder: str | os.PathLike) -> Precomputed:
    """Reads what `Precomputed.save` wrote.

    Raises:
        ModelError: It is absent or damaged.
    """
    path = pathlib.Path(folder) / JSON_FILE
    try:
        values = files.read_json(path, "given encoder", _REMEDY)
    except EmorecError as e:
        raise ModelError(str(e)) from e
    return _read(values, path)


def _read(values: Mapping, path) -> Precomputed:
    """Makes one of its JSON, whose hash has to be its own."""
    name, size = values.get("name"), values.get("size")
    if type(name) is str and type(size) is int:
        made = Precomputed(name, size)
        if made.hash == values.get("hash"):
            return made
    raise ModelError(
        f"{path}: `name`, `size` and `hash` of given features do not fit. "
        f"Received: {name!r}, {size!r}, {values.get('hash')!r}; {_REMEDY}"
    )


def encoders(
    data_dir: str | os.PathLike, inputs: Sequence[str] = ()
) -> Encoders:
    """Returns what stands for the features that a data set came with.

    Args:
        data_dir: The folder of a data set.
        inputs: What networks read; streams that they do not read are left
            out. Nothing asks for all that there is.

    Raises:
        EmorecError: A description of features is absent or does not fit.
    """
    wanted = {name.partition("_")[0] for name in inputs} or set(STREAMS)
    made = {}
    for stream in STREAMS:
        if stream not in wanted:
            continue
        root = pathlib.Path(data_dir) / "features"
        for path in sorted(root.glob(f"{stream}_features-*")):
            about = files.read_json(
                path / extract.DESCRIPTION, "description of features", _REMEDY
            )
            found = about.get("encoder")
            if isinstance(found, dict) and found.get("id") == ID:
                shape = about.get("shape")
                size = shape[0] if isinstance(shape, list) and shape else None
                if stream in made:
                    raise ModelError(
                        f"{root}: two folders of given {stream}_features; "
                        "keep the one that is to be read"
                    )
                made[stream] = _read({**found, "size": size}, path)
    return Encoders(**made)


def deposit(
    data: dataset.Dataset,
    split: str,
    encoders: Encoders,
    given: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Puts given features where `extract.extract` finds them finished.

    Args:
        data: A data set whose shards and their summaries are written.
        split: One of its splits.
        encoders: The `Precomputed`s.
        given: `clip/id` -> input -> float [n, D].

    Raises:
        EmorecError: A clip's features are absent or of another shape.
    """
    for name in encoders.shapes:
        only = encoders.only([name])
        ((_, encoder),) = only.items()
        folder = pathlib.Path(data.path) / "features" / f"{name}-{encoder.hash}"
        extract.describe(folder, name, encoder)
        for source in data.files(split):
            target = folder / pathlib.Path(source).name
            count = records.write(
                target,
                (
                    extract.feature_example(
                        example,
                        {name: _values(example, name, only, given)},
                        only,
                    )
                    for example in records.read(source)
                ),
            )
            files.write_json(
                extract.stamp_path(target),
                {**extract.stamp(source), "records": count},
            )


def _values(example, name, encoders, given) -> np.ndarray:
    """Returns the features of a record, float32 [n, D]."""
    clip = records.one(example, keys.CLIP_ID)
    wanted = (
        len(records.many(example, keys.FRAME_TIME)),
        *encoders.shapes[name],
    )
    values = np.asarray(given.get(clip, {}).get(name, ()), np.float32)
    if values.shape != wanted:
        raise EmorecError(
            f"the {name} given for the clip {clip!r} must have the shape "
            f"{list(wanted)}. Received: {list(values.shape)}"
        )
    return values
