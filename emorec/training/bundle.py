"""A trained model with all that it needs to answer: the model folder.

    model.json           config, labels, where the data came from, metrics,
                         the SHA-256 of the weights
    model.weights.h5     the recurrent network
    encoders/<stream>/   the frozen encoder of each stream that it reads

The networks are rebuilt by this package's code and only arrays are read, so
nothing in a model folder is ever run. (An encoder that was a Keras file is
read as one: `emorec.features.keras_file`.)
"""

import dataclasses
import hashlib
import os
import pathlib
import tempfile

import keras

import emorec
from emorec import config_values
from emorec.config import Config, ModelConfig
from emorec.data import files
from emorec.errors import ConfigError, EmorecError, ModelError
from emorec.features import encoder, precomputed
from emorec.features.encoders import STREAMS, Encoders
from emorec.labels import LabelSet
from emorec.models import presets

FILE = "model.json"
WEIGHTS = "model.weights.h5"
_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A trained model.

    Attributes:
        model: The recurrent network (`emorec.models`).
        encoders: The frozen encoders.
        config: The config that made the data and the model.
        labels: The label set, in the order of the logits.
        info: What is known of the training: `run`, `base` (the run that
            gave its first weights), `seed`, `epochs`, `best`, `data`
            (fingerprint, sources, rows), `versions`, `notes` (what must be
            said where answers are shown), `members`.
        members: Of an ensemble, how its members are built.
    """

    model: keras.Model
    encoders: Encoders
    config: Config
    labels: LabelSet
    info: dict
    members: tuple[ModelConfig, ...] = ()

    @property
    def system(self) -> str:
        return self.config.model.system

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the network reads of each step, `<stream>_<kind>`."""
        return presets.inputs_of(self.config.model, self.members)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams whose crops are needed, in the contract's order."""
        wanted = presets.streams_of(self.inputs)
        return tuple(s for s in STREAMS if s in wanted)

    def describe(self) -> dict:
        """Returns all but the networks as JSON values."""
        return {
            "format": _FORMAT,
            "emorec": emorec.__version__,
            "system": self.system,
            "config": self.config.to_dict(),
            "config_hash": self.config.data_hash(),
            "labels": self.labels.to_dict(),
            "streams": list(self.streams),
            "inputs": list(self.inputs),
            "members": [dataclasses.asdict(m) for m in self.members],
            "encoders": {
                name: {"id": e.id, "hash": e.hash, **e.weights}
                for name, e in self.encoders.items()
            },
            "random_weights": self.encoders.random_weights,
            "info": self.info,
        }

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the model folder; `model.json` last, which completes it.

        Args:
            folder: Where to, local or remote.

        Raises:
            EmorecError: It cannot be written; what is there is not complete.
        """
        if files.is_remote(folder):
            files.remove(files.join(folder, FILE))
            with tempfile.TemporaryDirectory() as local:
                self.save(local)
                files.copy_tree(local, folder, last=FILE)
            return
        folder = pathlib.Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FILE).unlink(missing_ok=True)
            for stream, encoder_ in self.encoders.items():
                encoder_.save(folder / "encoders" / stream)
            self.model.save_weights(folder / WEIGHTS)
            sha256 = _sha256(folder / WEIGHTS)
        except (OSError, RuntimeError) as e:  # h5py raises either.
            raise ModelError(
                f"{folder}: cannot be written ({' '.join(str(e).split())}); "
                "free some space or choose another place"
            ) from e
        files.write_json(
            folder / FILE, {**self.describe(), "weights_sha256": sha256}
        )


def _sha256(path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def load(
    folder: str | os.PathLike, *, use_cudnn: str | bool = "auto"
) -> Bundle:
    """Reads a model folder.

    Args:
        folder: What `Bundle.save` wrote, local or remote.
        use_cudnn: `False` builds a network whose graph any CPU can run.

    Raises:
        ModelError: It is absent, not complete, damaged, of a format that
            this version does not know, or has other encoders than the ones
            that it was trained with.
    """
    if files.is_remote(folder):
        return _load_remote(folder, use_cudnn)
    folder = pathlib.Path(folder)
    values = _read(folder)
    if values.get("format") != _FORMAT:
        raise ModelError(
            f"{folder}: a model of format {values.get('format')!r}; this "
            f"emorec reads format {_FORMAT}"
        )
    try:
        config = Config.from_dict(values["config"])
        labels = LabelSet.from_dict(values["labels"])
        info = dict(values["info"])
        sha256 = values["weights_sha256"]
        members = tuple(
            config_values.from_dict(ModelConfig, m) for m in values["members"]
        )
        inputs = presets.inputs_of(config.model, members)
        read = presets.streams_of(inputs) if inputs else ()
        hashes = {s: _hash_of(values["encoders"][s]) for s in read}
    except (EmorecError, KeyError, TypeError, ValueError) as e:
        raise ModelError(
            f"{folder}: {FILE} is damaged ({e!r}); train the model again"
        ) from e
    encoders = _load_encoders(folder, hashes, config.clip.crop_size)
    try:
        encoders = encoders.only(inputs)
        model = presets.build(
            config.model, encoders.shapes, len(labels), use_cudnn, members
        )
    except ConfigError as e:
        raise ModelError(
            f"{folder}: its network cannot be built ({e}); train the model "
            "again"
        ) from e
    try:
        # HDF5 has no checksum of its own: a flipped bit would pass.
        if _sha256(folder / WEIGHTS) != sha256:
            raise ValueError("its SHA-256 is another than in model.json")
        model.load_weights(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise ModelError(
            f"{folder}: {WEIGHTS} does not fit "
            f"({' '.join(str(e).split())[:200]}); train the model again"
        ) from e
    return Bundle(model, encoders, config, labels, info, members)


def _read(folder) -> dict:
    """Reads `model.json`, without which there is no model."""
    try:
        return files.read_json(
            files.join(folder, FILE),
            "trained model",
            "make one with `emorec train`",
        )
    except EmorecError as e:
        raise ModelError(str(e)) from e


def _load_remote(folder, use_cudnn) -> Bundle:
    """Reads a copy of the folder, without the checkpoints of its run."""
    with tempfile.TemporaryDirectory() as local:
        try:
            _read(folder)
            for name in (FILE, WEIGHTS):
                files.copy(files.join(folder, name), files.join(local, name))
            files.copy_tree(
                files.join(folder, "encoders"), files.join(local, "encoders")
            )
            return load(local, use_cudnn=use_cudnn)
        except EmorecError as e:
            raise ModelError(
                str(e).replace(local, str(folder).rstrip("/"))
            ) from e


def _hash_of(described) -> str:
    if not isinstance(described["hash"], str):
        raise TypeError("an encoder's hash must be a string")
    return described["hash"]


def _load_encoders(folder, hashes, crop_size) -> Encoders:
    """Reads the encoders, or what stands for them where features were given.

    Args:
        folder: The model folder.
        hashes: Stream -> the hash of the encoder that it was trained with.
        crop_size: Height and width of the crops, pixels.
    """
    made = {}
    for stream, hash_ in hashes.items():
        place = folder / "encoders" / stream
        given = precomputed.is_saved(place)
        found = (precomputed if given else encoder).load(place)
        # Given features have no crops.
        size = crop_size if given else found.crop_size
        for what, wanted, is_ in (
            ("hash", hash_, found.hash),
            ("crop_size", crop_size, size),
        ):
            if is_ != wanted:
                raise ModelError(
                    f"{place}: the model was trained with another encoder: "
                    f"its {what} must be {wanted}. Received: {is_}; put the "
                    "right one back or train the model again"
                )
        made[stream] = found
    return Encoders(**made)
