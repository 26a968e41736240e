"""Frozen image encoders: uint8 images in, one feature vector each out."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from emorec.config import ClipConfig, FeatureConfig
from emorec.errors import ConfigError, ModelError, WeightsError
from emorec.features import mini_xception, squeezenet, weights

JSON_FILE = "encoder.json"
WEIGHTS_FILE = "encoder.weights.h5"
_FORMAT = 1
_MAX_JSON_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class EncoderPreset:
    """An architecture, its preprocessing and its published weights.

    Attributes:
        id: The name in the config and in files.
        dim: D, number of features.
        maps: (h, w, C) of the maps before the pooling.
        version: Of the preprocessing and the graph.
        build: (input_shape) -> functional model, uint8 [B, s, s, 3] -> dict
            of f32 `maps` [B, h, w, C] and `features` [B, D].
        load_weights: (model, path) -> None.
        source: The published file.
        pixel_std: Spread of preprocessed natural images. Random first layers
            are divided by it, so that features are of order 1.
    """

    id: str
    dim: int
    maps: tuple[int, int, int]
    version: int
    build: Callable
    load_weights: Callable
    source: weights.WeightsSource
    pixel_std: float


PRESETS = {
    preset.id: preset
    for preset in (
        EncoderPreset(
            id="squeezenet",
            dim=squeezenet.MAPS[-1],
            maps=squeezenet.MAPS,
            version=squeezenet.VERSION,
            build=squeezenet.build,
            load_weights=squeezenet.load_weights,
            source=weights.SQUEEZENET,
            pixel_std=64.0,
        ),
        EncoderPreset(
            id="mini_xception",
            dim=mini_xception.MAPS[-1],
            maps=mini_xception.MAPS,
            version=mini_xception.VERSION,
            build=mini_xception.build,
            load_weights=mini_xception.load_weights,
            source=weights.MINI_XCEPTION,
            pixel_std=0.5,
        ),
    )
}


def preset_of(preset_id: str) -> EncoderPreset:
    """Returns the preset of that id.

    Raises:
        ConfigError: There is none.
    """
    if preset_id not in PRESETS:
        raise ConfigError(
            f"`encoder` must be one of {', '.join(PRESETS)}. "
            f"Received: {preset_id!r}"
        )
    return PRESETS[preset_id]


class Encoder:
    """A frozen CNN with its preprocessing; make one by `create` or `load`.

    Attributes:
        id: The preset's id.
        dim: D, number of features.
        maps: (h, w, C) of the maps; `features` is their mean over h and w.
        crop_size: s, height and width of the images, pixels.
        model: Functional model, uint8 [N, s, s, 3] -> f32 [N, D].
        maps_model: Functional model, uint8 [N, s, s, 3] -> f32 [N, h, w, C].
        weights: Where the weights come from: `name`, `sha256`, `licence`,
            `origin` and `random`. Random ones have `seed` and no `sha256`.
        hash: 16 hex digits over the id, the version and the weights.
    """

    def __init__(
        self,
        preset: EncoderPreset,
        network: keras.Model,
        provenance: dict,
        crop_size: int,
    ):
        network.trainable = False
        self.id = preset.id
        self.dim = preset.dim
        self.maps = preset.maps
        self.crop_size = crop_size
        self.weights = dict(provenance)
        self.model = _output(network, "features")
        self.maps_model = _output(network, "maps")
        self.hash = _hash(preset, network)
        self._network = network

    def encode(
        self, images: np.ndarray, batch: int = FeatureConfig.batch_frames
    ) -> np.ndarray:
        """Returns the features, f32 [N, D], of uint8 RGB [N, s, s, 3]."""
        return self._run(self.model, (self.dim,), images, batch)

    def encode_maps(
        self, images: np.ndarray, batch: int = FeatureConfig.batch_frames
    ) -> np.ndarray:
        """Returns the maps, f32 [N, h, w, C], of uint8 RGB [N, s, s, 3]."""
        return self._run(self.maps_model, self.maps, images, batch)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `encoder.json` and `encoder.weights.h5` into `folder`.

        The JSON comes last: a folder without it is incomplete.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON_FILE).unlink(missing_ok=True)
        weights.store(self._network, folder / WEIGHTS_FILE)
        values = {
            "format": _FORMAT,
            "encoder": self.id,
            "crop_size": self.crop_size,
            "dim": self.dim,
            "hash": self.hash,
            "weights": self.weights,
        }
        (folder / JSON_FILE).write_text(json.dumps(values, indent=2) + "\n")

    def _run(self, model, shape, images, batch):
        images, side = np.asarray(images), self.crop_size
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
            raise ModelError(
                f"`images` must be uint8 [N, {side}, {side}, 3]. "
                f"Received: {images.dtype} {list(images.shape)}"
            )
        if batch < 1:
            raise ModelError(f"`batch` must be at least 1. Received: {batch}")
        out = np.empty((len(images), *shape), np.float32)
        # Traced twice at most on TensorFlow (the first size, then any size),
        # so that a short last batch needs no padding. Measured on 2 cores:
        # as fast as a tf.function of a fixed batch, 1.8 (SqueezeNet) to 3.4
        # times (mini-XCEPTION) faster than calling the model.
        for i in range(0, len(images), batch):
            out[i : i + batch] = model.predict_on_batch(images[i : i + batch])
        return out


def create(
    preset_id: str,
    path: str | os.PathLike | None = None,
    *,
    allow_random: bool = False,
    seed: int = 0,
    crop_size: int = ClipConfig.crop_size,
    download: bool = True,
) -> Encoder:
    """Builds an encoder with its published weights.

    Args:
        preset_id: A key of `PRESETS`.
        path: The weight file or its folder; see `weights.find`.
        allow_random: Go on with random frozen weights where the published
            ones cannot be found. The caller has to announce it:
            `Encoder.weights["random"]` says whether it happened.
        seed: Of the random weights; the same seed gives the same hash.
        crop_size: Height and width of the images, pixels.
        download: Whether the network may be used.

    Raises:
        ConfigError: There is no such preset.
        WeightsError: The weights are not found, or are not the right ones.
    """
    preset = preset_of(preset_id)
    source = preset.source
    provenance = {
        "name": source.name,
        "sha256": source.sha256,
        "licence": source.licence,
        "origin": source.origin,
        "random": False,
    }
    try:
        file = weights.find(source, path, download=download)
    except weights.WeightsNotFoundError:
        if not allow_random:
            raise
        network = _build(preset, crop_size)
        _randomise(network, seed, 1 / preset.pixel_std)
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
    return Encoder(preset, network, provenance, crop_size)


def load(folder: str | os.PathLike) -> Encoder:
    """Reads what `Encoder.save` wrote.

    The network is built by this package's code; the folder gives arrays and
    plain JSON only, so that nothing in it is ever run.

    Raises:
        ModelError: A file is absent or damaged, the encoder is unknown, or
            the weights do not have the hash that was stored.
    """
    folder = pathlib.Path(folder)
    values = _read_json(folder / JSON_FILE)
    if values["encoder"] not in PRESETS:
        raise ModelError(
            f"{folder}: unknown encoder {values['encoder']!r}; there is "
            f"{', '.join(PRESETS)}"
        )
    preset = PRESETS[values["encoder"]]
    network = _build(preset, values["crop_size"])
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise ModelError(f"{folder}: {WEIGHTS_FILE} is absent; save it again")
    names = [layer.name for layer in network.layers if layer.weights]
    try:
        weights.assign(network, file, {name: name for name in names})
    except WeightsError as e:
        raise ModelError(f"{preset.id}: {e}") from e
    encoder = Encoder(preset, network, values["weights"], values["crop_size"])
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
    types = {"encoder": str, "crop_size": int, "hash": str, "weights": dict}
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ModelError(f"{path}: not an encoder's JSON of format {_FORMAT}")
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
    return values


def _build(preset, crop_size) -> keras.Model:
    return preset.build((crop_size, crop_size, 3))


def _output(network, name) -> keras.Model:
    model = keras.Model(network.input, network.output[name], name=name)
    if keras.backend.backend() == "tensorflow":
        # XLA makes these CNNs slower on a CPU (measured: 0.46 to 0.66 times)
        # and would compile again for every batch size. JAX has nothing else.
        model.jit_compile = False
    return model


def _hash(preset, network) -> str:
    digest = hashlib.sha256(f"{preset.id} {preset.version}".encode())
    for variable in network.weights:
        array = np.ascontiguousarray(variable.numpy(), "<f4")
        digest.update(f" {variable.path} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _randomise(network, seed, scale):
    """Sets He-normal kernels drawn by NumPy, the same on every backend.

    Biases are 0 and normalisations are the identity. A depthwise kernel has
    no ReLU behind it, and its fan-in is one channel's.

    Args:
        scale: Factor of the first kernel, so that activations are near 1.
    """
    rng = np.random.default_rng(seed)
    for variable in network.weights:
        shape = tuple(variable.shape)
        if len(shape) < 2:
            continue
        depthwise = "depthwise" in variable.path
        fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
        std = np.sqrt((1 if depthwise else 2) / fan_in) * scale
        variable.assign(rng.normal(0, std, shape).astype(np.float32))
        scale = 1.0
