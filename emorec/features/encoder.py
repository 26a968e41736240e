"""Frozen image encoders: uint8 images in; features, maps or answers out."""

import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from emorec.config import ClipConfig, FeatureConfig
from emorec.data import files
from emorec.errors import ConfigError, ModelError, WeightsError
from emorec.features import (
    keras_cut,
    keras_file,
    layer_weights,
    weights,
)
from emorec.features.encoder_presets import (
    PRESETS,
    EncoderPreset,
    find_weights,
    preset_of,
    randomise,
)

JSON_FILE = "encoder.json"
WEIGHTS_FILE = "encoder.weights.h5"
KERAS_FILE = "encoder.keras"
# `Encoder.id` of every encoder that is no preset.
FILE_ID = "keras_file"
_FORMAT = 2
_MAX_JSON_BYTES = 1 << 18


class Encoder:
    """A frozen CNN with its preprocessing; make one by `create` or `load`.

    Attributes:
        id: The preset's id, or `keras_file`.
        crop_size: s, height and width of the images, pixels.
        outputs: The kinds of answer that it gives, each with its shape
            without N: `features` (D,), `maps` (h, w, C), whose mean over
            the places the features of a preset are, and `probabilities`
            (K,).
        labels: The K names of `probabilities`; () where there are none or
            they are not known.
        weights: Where the weights come from: `name`, `sha256`, `licence`,
            `origin` and `random`. Random ones have `seed` and no `sha256`;
            a Keras file may have a `note`.
        hash: 16 hex digits over the id, the version, the preprocessing, the
            architecture and the weights.
    """

    def __init__(
        self,
        network: keras.Model,
        provenance: dict,
        crop_size: int,
        *,
        preset: EncoderPreset | None = None,
        file: keras_file.Classifier | None = None,
        labels: tuple[str, ...] = (),
    ):
        network.trainable = False
        self.id = FILE_ID if preset is None else preset.id
        self.crop_size = crop_size
        self.outputs = {
            kind: tuple(network.output[kind].shape[1:])
            for kind in sorted(network.output)
        }
        self.labels = labels if "probabilities" in self.outputs else ()
        self.weights = dict(provenance)
        self.hash = _hash(preset, network) if file is None else file.hash
        self._network = network
        self._file = file
        self._parts = {}
        self._functions = {}

    def part(self, *kinds: str) -> keras.Model:
        """Returns a model that gives some kinds of answer in one pass.

        Args:
            *kinds: Some of `outputs`.

        Returns:
            A functional model, uint8 [N, s, s, 3] -> dict of kind -> f32
            [N, ...]; the same one for the same kinds.

        Raises:
            ModelError: The encoder lacks a kind, or none is asked for.
        """
        for kind in kinds or ("no kind",):
            if kind not in self.outputs:
                raise ModelError(
                    f"the encoder {self.id} ({self.weights['name']}) gives "
                    f"{', '.join(self.outputs)}. Received: {kind!r}; choose "
                    "another encoder or another system"
                )
        key = tuple(sorted(set(kinds)))
        if key not in self._parts:
            output = {kind: self._network.output[kind] for kind in key}
            model = keras.Model(self._network.input, output, name=self.id)
            if keras.backend.backend() == "tensorflow":
                # XLA makes these CNNs slower on a CPU (measured: 0.46 to
                # 0.66 times) and would compile again for every batch size.
                # JAX has nothing else.
                model.jit_compile = False
            self._parts[key] = model
        return self._parts[key]

    def encode(
        self,
        images: np.ndarray,
        kind: str = "features",
        batch: int = FeatureConfig.batch_frames,
    ) -> np.ndarray:
        """Returns one kind of answer, f32 [N, ...]; see `encode_kinds`."""
        return self.encode_kinds(images, (kind,), batch)[kind]

    def encode_kinds(
        self,
        images: np.ndarray,
        kinds: Sequence[str],
        batch: int = FeatureConfig.batch_frames,
        bfloat16: bool = False,
    ) -> dict[str, np.ndarray]:
        """Returns several kinds of answer from one pass, kind -> f32 [N, ...].

        Args:
            images: uint8 RGB [N, s, s, 3].
            kinds: Some of `outputs`.
            batch: Images that go through the network together.
            bfloat16: Whether to compute in bfloat16 where the CPU has it:
                for answers alone, since `hash` names float32 features.

        Raises:
            ModelError: The images are of another form, or there is no such
                kind.
        """
        images, side = np.asarray(images), self.crop_size
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
            raise ModelError(
                f"`images` must be uint8 [N, {side}, {side}, 3]. "
                f"Received: {images.dtype} {list(images.shape)}"
            )
        if batch < 1:
            raise ModelError(f"`batch` must be at least 1. Received: {batch}")
        run = self._function(kinds, bfloat16)
        made = {
            kind: np.empty((len(images), *self.outputs[kind]), np.float32)
            for kind in kinds
        }
        for i in range(0, len(images), batch):
            answer = run(images[i : i + batch])
            for kind in kinds:
                made[kind][i : i + batch] = answer[kind]
        return made

    def _function(self, kinds, bfloat16):
        """Returns what runs a part; the same one for the same arguments."""
        model = self.part(*kinds)
        if keras.backend.backend() != "tensorflow":
            return model.predict_on_batch
        from emorec.features import frozen, sessions

        key = model, bfloat16 and sessions.has_bfloat16()
        if key not in self._functions:
            self._functions[key] = frozen.frozen(model, bfloat16=key[1])
        return self._functions[key]

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `encoder.json` and the network into `folder`.

        The network is `encoder.weights.h5` for a preset and `encoder.keras`
        for a Keras file. The JSON comes last: a folder without it is
        incomplete.

        Raises:
            EmorecError: A file cannot be written.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in (JSON_FILE, WEIGHTS_FILE, KERAS_FILE):
            (folder / name).unlink(missing_ok=True)
        if self._file is None:
            layer_weights.save_atomically(
                folder / WEIGHTS_FILE,
                lambda path: layer_weights.store(self._network, path),
            )
        else:
            layer_weights.save_atomically(
                folder / KERAS_FILE, self._file.model.save
            )
        values = {
            "format": _FORMAT,
            "encoder": self.id,
            "crop_size": self.crop_size,
            "outputs": self.outputs,
            "labels": self.labels,
            "pixels": None if self._file is None else self._file.pixels,
            "hash": self.hash,
            "weights": self.weights,
        }
        files.write_json(folder / JSON_FILE, values)


def create(
    name: str | os.PathLike,
    path: str | os.PathLike | None = None,
    *,
    allow_random: bool = False,
    seed: int = 0,
    crop_size: int = ClipConfig.crop_size,
    download: bool = True,
    file_pixels: str = FeatureConfig.file_pixels,
) -> Encoder:
    """Builds an encoder from a preset, or from a Keras classifier by path.

    Args:
        name: A key of `PRESETS`; else the path of a Keras classifier, either
            a .keras or .h5 file or a folder of `emorec train_face`.
        path: A preset's weight file or its folder; see `weights.find`.
        allow_random: Go on with random frozen weights where a preset's
            published ones cannot be found. The caller has to announce it:
            `Encoder.weights["random"]` says whether it happened.
        seed: Of the random weights; the same seed gives the same hash.
        crop_size: Height and width of the images, pixels.
        download: Whether the network may be used.
        file_pixels: What a lone Keras file takes: a key of
            `keras_file.PIXELS`. A folder of `emorec train_face` has its
            preprocessing inside, so that it is `raw`.

    Raises:
        ConfigError: There is no such preset, file or `file_pixels`.
        WeightsError: The weights are not found, or are not the right ones.
        ModelError: A Keras file is unsafe, damaged or no image classifier.
    """
    if name not in PRESETS and os.path.exists(name):
        return _from_file(name, path, crop_size, file_pixels)
    preset = preset_of(name)
    try:
        file, provenance = find_weights(preset, path, download)
    except weights.WeightsNotFoundError:
        if not allow_random:
            raise
        network = _build(preset, crop_size)
        randomise(network, seed, 1 / preset.pixel_std)
        provenance = {
            "name": f"random {preset.id}",
            "sha256": None,
            "licence": None,
            "origin": None,
            "random": True,
            "seed": seed,
        }
    else:
        network = _build(preset, crop_size)
        preset.load_weights(network, file)
    return Encoder(
        network, provenance, crop_size, preset=preset, labels=preset.labels
    )


def load(folder: str | os.PathLike) -> Encoder:
    """Reads what `Encoder.save` wrote.

    A preset's network is built by this package's code; the folder gives
    arrays and plain JSON only. A Keras file is checked as any other's is
    (`keras_file`). So nothing in the folder is ever run.

    Raises:
        ModelError: A file is absent, unsafe or damaged, the encoder is
            unknown, or its hash is not the one that was stored.
    """
    folder = pathlib.Path(folder)
    values = _read_json(folder / JSON_FILE)
    crop_size, provenance = values["crop_size"], values["weights"]
    if values["encoder"] == FILE_ID:
        encoder = _load_file(folder, values)
    elif values["encoder"] in PRESETS:
        preset = PRESETS[values["encoder"]]
        network = _load_preset(folder, preset, crop_size)
        encoder = Encoder(
            network, provenance, crop_size, preset=preset, labels=preset.labels
        )
    else:
        raise ModelError(
            f"{folder}: unknown encoder {values['encoder']!r}; there is "
            f"{', '.join(PRESETS)} and {FILE_ID}"
        )
    if encoder.hash != values["hash"]:
        raise ModelError(
            f"{folder}: the encoder's hash must be {values['hash']}. "
            f"Received: {encoder.hash}; its files or this version's "
            "preprocessing have changed, so save it again"
        )
    return encoder


def _read_json(path) -> dict:
    """Reads `encoder.json` and checks each field's type."""
    try:
        with open(path, "rb") as f:
            values = json.loads(f.read(_MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as e:
        raise ModelError(
            f"{path}: cannot be read as an encoder's JSON "
            f"({' '.join(str(e).split())}); save the encoder again"
        ) from e
    types = {
        "encoder": str,
        "crop_size": int,
        "hash": str,
        "weights": dict,
        "labels": list,
    }
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ModelError(
            f"{path}: not an encoder's JSON of format {_FORMAT}; save it "
            "again with this version"
        )
    for name, wanted in types.items():
        if type(values.get(name)) is not wanted:
            raise ModelError(
                f"{path}: `{name}` must be {wanted.__name__}. "
                f"Received: {values.get(name)!r}"
            )
    if not 1 <= values["crop_size"] <= 4096:
        raise ModelError(
            f"{path}: `crop_size` must be 1 to 4096. "
            f"Received: {values['crop_size']}"
        )
    if type(values["weights"].get("random")) is not bool:
        raise ModelError(f"{path}: `weights` must say whether they are random")
    return values


def _from_file(name, path, crop_size, file_pixels) -> Encoder:
    """Makes an encoder of a Keras classifier; see `create`."""
    if path is not None:
        raise ConfigError(
            f"weights by path belong to a preset ({', '.join(PRESETS)}); a "
            f"Keras classifier brings its own. Received: {str(name)!r} and "
            f"the weights {str(path)!r}"
        )
    place = keras_file.find(name, file_pixels)
    file = keras_file.read(place.file, place.pixels)
    labels = keras_file.labels_of(place, file.classes)
    network = keras_cut.encoder_network(file, crop_size)
    provenance = file.provenance
    if keras_cut.has_added_softmax(network):
        provenance["note"] = "a softmax was added to its linear answer"
    return Encoder(network, provenance, crop_size, file=file, labels=labels)


def _load_file(folder, values) -> Encoder:
    """Reads a saved encoder that came from a Keras file."""
    file = keras_file.read(folder / KERAS_FILE, values.get("pixels"))
    names = keras_file.checked_labels(
        folder / JSON_FILE, values["labels"], file.classes
    )
    network = keras_cut.encoder_network(file, values["crop_size"])
    return Encoder(
        network, values["weights"], values["crop_size"], file=file, labels=names
    )


def _load_preset(folder, preset, crop_size) -> keras.Model:
    """Builds a preset's network with the weights of a saved encoder."""
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise ModelError(f"{folder}: {WEIGHTS_FILE} is absent; save it again")
    network = _build(preset, crop_size)
    names = [layer.name for layer in network.layers if layer.weights]
    try:
        layer_weights.assign(network, file, {name: name for name in names})
    except WeightsError as e:
        raise ModelError(f"{preset.id}: {e}") from e
    return network


def _build(preset, crop_size) -> keras.Model:
    return preset.build((crop_size, crop_size, 3))


def _hash(preset, network) -> str:
    digest = hashlib.sha256(f"{preset.id} {preset.version}".encode())
    for variable in network.weights:
        array = np.ascontiguousarray(variable.numpy(), "<f4")
        digest.update(f" {variable.path} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
