"""The bounds of the config tree's values, and values of earlier versions."""

import dataclasses
import math

from emorec.errors import ConfigError

# Inclusive bounds of numeric fields; what is not here must be positive.
_BOUNDS = {
    "video.fps": (0.01, 240),
    "video.buffer_frames": (1, 256),
    "detector.input_width": (0, 8192),
    "detector.min_face_size": (12, 4096),
    "detector.scale_factor": (0.3, 0.95),
    "detector.batch_frames": (1, 256),
    "detector.max_faces": (1, 1024),
    "detector.detect_every": (1, 64),
    "detector.follow_score": (0, 1),
    "detector.scene_cut": (0, 255),
    "tracks.min_iou": (0.01, 1),
    "tracks.max_gap_s": (0, 3600),
    "tracks.min_score": (0, 1),
    "clip.clip_frames": (1, 4096),
    "clip.face_margin": (0, 2),
    "clip.crop_size": (32, 1024),
    "clip.jpeg_quality": (1, 100),
    "data.train_phases": (1, 16),
    "data.train_frames": (1, 4096),
    "model.encoder_units": (0, 65_536),
    "model.rnn_units": (0, 65_536),
    "model.dropout": (0, 0.95),
    "model.time_bins": (1, 64),
    "train.patience": (0, 1_000_000),
    "face_train.image_size": (0, 1024),
    "face_train.patience": (0, 1_000_000),
    "face_train.validation_share": (0.01, 0.9),
    "face_train.rotation": (0, 0.5),
    "face_train.zoom": (0, 0.9),
    "face_train.shift": (0, 0.9),
    "face_train.brightness": (0, 1),
}

CHOICES = {"features.bfloat16": ("none", "context", "all")}


def check(config) -> None:
    """Checks the values of an `emorec.config.Config`.

    Raises:
        ConfigError: One is out of bounds, or no choice that there is.
    """
    for section in dataclasses.fields(config):
        values = dataclasses.asdict(getattr(config, section.name))
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            path = f"{section.name}.{name}"
            low, high = _BOUNDS.get(path, (1e-9, float("inf")))
            if not low <= value <= high or not math.isfinite(value):
                raise ConfigError(
                    f"config `{path}` must be "
                    + (
                        f"{low} to {high}"
                        if path in _BOUNDS
                        else "finite and greater than 0"
                    )
                    + f". Received: {value!r}"
                )
    for value in config.detector.thresholds:
        if not 0 < value < 1:
            raise ConfigError(
                "config `detector.thresholds` must lie between 0 and 1. "
                f"Received: {config.detector.thresholds!r}"
            )
    for path, choices in CHOICES.items():
        section, name = path.split(".")
        value = getattr(getattr(config, section), name)
        if value not in choices:
            raise ConfigError(
                f"config `{path}` must be one of {', '.join(choices)}. "
                f"Received: {value!r}"
            )


def upgraded(values):
    """Returns the values of a config as they are written now.

    Args:
        values: A config as JSON values, as any version wrote them.
    """
    try:
        old = values["features"]["bfloat16"]
    except (KeyError, TypeError):
        return values
    if not isinstance(old, bool):
        return values
    features = {**values["features"], "bfloat16": "all" if old else "none"}
    return {**values, "features": features}
