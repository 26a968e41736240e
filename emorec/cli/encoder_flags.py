"""The flags that choose the frozen encoders, and the encoders they choose."""

import os
from collections.abc import Sequence

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError
from emorec.features import encoder_names


def define_names(values: flags.FlagValues) -> dict[str, flags.FlagHolder]:
    """`--face_encoder` and `--context_encoder`."""
    return {
        stream: flags.DEFINE_string(
            f"{stream}_encoder",
            None,
            f"The {stream} stream's CNN: a preset's id, or the path of a Keras "
            "classifier (a file, or a folder of `emorec train_face`); by "
            f"default the config's features.{stream}_encoder.",
            flag_values=values,
        )
        for stream in ("face", "context")
    }


def define_weights(values: flags.FlagValues) -> dict[str, flags.FlagHolder]:
    """`--face_weights`, `--context_weights`, `--missing_weights`."""
    holders = {
        stream: flags.DEFINE_string(
            f"{stream}_weights",
            None,
            f"The {stream} encoder's weight file, or its folder.",
            flag_values=values,
        )
        for stream in ("face", "context")
    }
    holders["missing"] = flags.DEFINE_enum(
        "missing_weights",
        "error",
        ["error", "random"],
        "What to do where an encoder's published weights cannot be had; "
        "random is for trying the software out, and is said wherever results "
        "are shown.",
        flag_values=values,
    )
    return holders


def assignments(
    names: dict[str, flags.FlagHolder], sets: Sequence[str]
) -> list[str]:
    """Returns all `--set` assignments, those of named encoders among them.

    A path of an encoder is made absolute: the config outlives the working
    directory.

    Args:
        names: Of `define_names`.
        sets: Of `--set`.
    """
    made = [
        f"features.{stream}_encoder={holder.value}"
        for stream, holder in names.items()
        if holder.value
    ]
    return [_absolute(text) for text in (*made, *sets)]


def _absolute(text: str) -> str:
    field, _, value = text.partition("=")
    if not field.strip().endswith("_encoder"):
        return text
    if value in encoder_names.NAMES or not os.path.exists(value):
        return text
    return f"{field}={os.path.abspath(value)}"


def check(config) -> None:
    """Refuses encoders that are neither presets nor paths, before the work.

    Raises:
        ConfigError: With the presets that there are.
    """
    for stream in ("face", "context"):
        name = getattr(config.features, f"{stream}_encoder")
        if not os.path.exists(name):
            encoder_names.check(name)


def create(
    weights: dict[str, flags.FlagHolder],
    config,
    inputs: Sequence[str],
    data_dir: str,
):
    """Makes the encoders of a config that some inputs need.

    Args:
        weights: Of `define_weights`.
        config: The run's config.
        inputs: What networks read, `<stream>_<kind>`.
        data_dir: The data set; one that came with its features has no
            pixels to encode.

    Returns:
        `emorec.features.encoders.Encoders`; random weights are announced.
    """
    from emorec.features import encoder, encoders, precomputed
    from emorec.models import presets

    given = precomputed.encoders(data_dir, inputs)
    if given.items():
        for stream in ("face", "context"):
            if weights[stream].value:
                raise UsageError(
                    f"{data_dir}: its features came with it, so that no "
                    f"encoder is run. Received: --{stream}_weights="
                    f"{weights[stream].value}"
                )
        return given
    made = {}
    for stream in presets.streams_of(inputs) if inputs else ():
        made[stream] = encoder.create(
            getattr(config.features, f"{stream}_encoder"),
            weights[stream].value,
            allow_random=weights["missing"].value == "random",
            crop_size=config.clip.crop_size,
            file_pixels=config.features.file_pixels,
        )
    found = encoders.Encoders(**made)
    options.announce_random(found.random_weights)
    return found
