"""The image encoders that this package knows by name, and nothing of them.

A command refuses a wrong name by it without importing Keras, which their
architectures need (`emorec.features.encoder_presets`).
"""

from emorec.errors import ConfigError

SQUEEZENET = "squeezenet"
MINI_XCEPTION = "mini_xception"
RESNET50 = "resnet50"
NAMES = (SQUEEZENET, MINI_XCEPTION, RESNET50)


def check(name: str) -> None:
    """Refuses what is none of the names.

    Raises:
        ConfigError: With the names that there are.
    """
    if name not in NAMES:
        raise ConfigError(
            "`--face_encoder`/`--context_encoder` (features.face_encoder, "
            f"features.context_encoder) must be one of {', '.join(NAMES)}, "
            "or the path of a Keras classifier (a .keras or .h5 file, or a "
            f"folder of `emorec train_face`). Received: {name!r}"
        )
