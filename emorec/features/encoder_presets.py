"""The image encoders that this package knows by name."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from emorec import labels as label_sets
from emorec.features import (
    encoder_names,
    mini_xception,
    resnet50,
    squeezenet,
    weights,
)


@dataclasses.dataclass(frozen=True)
class EncoderPreset:
    """An architecture, its preprocessing and its published weights.

    Attributes:
        id: The name in the config and in files.
        outputs: Kind -> shape of one image's answer; see `Encoder.outputs`.
        version: Of the preprocessing and the graph.
        build: (input_shape) -> functional model, uint8 [B, s, s, 3] -> dict
            of f32 `maps` [B, h, w, C], `features` [B, C] and, where
            `outputs` has them, `probabilities` [B, K].
        load_weights: (model, path) -> None.
        source: The published file; None where there is none, and weights
            come by path alone.
        pixel_std: What random first layers are divided by, so that features
            are of order 1: the spread of preprocessed natural images, times
            what residual sums make of it.
        labels: Names of the classes of `probabilities`.
    """

    id: str
    outputs: dict[str, tuple[int, ...]]
    version: int
    build: Callable
    load_weights: Callable
    source: weights.WeightsSource | None
    pixel_std: float
    labels: tuple[str, ...] = ()


def _outputs(maps, classes=0) -> dict[str, tuple[int, ...]]:
    kinds = {"features": maps[-1:], "maps": maps}
    return {**kinds, "probabilities": (classes,)} if classes else kinds


PRESETS = {
    preset.id: preset
    for preset in (
        EncoderPreset(
            id=encoder_names.SQUEEZENET,
            outputs=_outputs(squeezenet.MAPS),
            version=squeezenet.VERSION,
            build=squeezenet.build,
            load_weights=squeezenet.load_weights,
            source=weights.SQUEEZENET,
            pixel_std=64.0,
        ),
        EncoderPreset(
            id=encoder_names.MINI_XCEPTION,
            outputs=_outputs(mini_xception.MAPS, len(label_sets.FER2013)),
            version=mini_xception.VERSION,
            build=mini_xception.build,
            load_weights=mini_xception.load_weights,
            source=weights.MINI_XCEPTION,
            pixel_std=0.5,
            labels=label_sets.FER2013,
        ),
        EncoderPreset(
            id=encoder_names.RESNET50,
            outputs=_outputs(resnet50.MAPS),
            version=resnet50.VERSION,
            build=resnet50.build,
            load_weights=resnet50.load_weights,
            source=None,
            pixel_std=64.0 * 512,
        ),
    )
}


def preset_of(preset_id: str) -> EncoderPreset:
    """Returns the preset of that id.

    Raises:
        ConfigError: There is none.
    """
    encoder_names.check(preset_id)
    return PRESETS[preset_id]


def find_weights(
    preset: EncoderPreset, path: str | None, download: bool
) -> tuple[pathlib.Path, dict]:
    """Returns a preset's weight file and where it comes from.

    Raises:
        WeightsNotFoundError: There is none.
        WeightsError: It is not the right one.
    """
    source = preset.source
    if source is None:
        file = resnet50.find(path)
        return file, weights.provenance(file, preset.id)
    file = weights.find(source, path, download=download)
    return file, {
        "name": source.name,
        "sha256": source.sha256,
        "licence": source.licence,
        "origin": source.origin,
        "random": False,
    }


def randomise(network, seed, scale):
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
