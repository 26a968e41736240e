"""Answers without a trained model: what there is, named as what it is.

`face-average` is the published face classifier (mini-XCEPTION, trained on
FER2013's single pictures) asked for every frame with a face, and the mean of
its answers. It knows no time, no surroundings and none of your data. Its
weights are found as everywhere (`emorec.features.weights`); where they are
not, there is an error and no answer: never random weights.
"""

from emorec.errors import UsageError

FACE_AVERAGE = "face-average"
# Preset -> what it is, for `--help` and error messages.
PRESETS = {
    FACE_AVERAGE: "no trained model: the mean of a face classifier's answers "
    "to single frames (FER2013's seven labels)",
}
NOTE = (
    "preset face-average: no trained model, but the mean of the face "
    "classifier's answers to single frames, with FER2013's seven labels; it "
    "sees neither time nor surroundings and is not calibrated"
)


def load(name: str, face_weights: str | None = None):
    """Returns a preset's backend, for `emorec.predict`.

    Args:
        name: A key of `PRESETS`.
        face_weights: The weights' file or its folder; by default they are
            looked for, and downloaded.

    Returns:
        An `emorec.local_backend.LocalBackend`. Its description's notes say
        what it is.

    Raises:
        UsageError: There is no such preset.
        WeightsError: The published weights are not found, or are others.
    """
    if name not in PRESETS:
        raise UsageError(
            f"a preset must be {' or '.join(PRESETS)}. Received: {name!r}"
        )
    from emorec import local_backend

    return local_backend.LocalBackend(_face_average(face_weights))


def _face_average(face_weights):
    """Returns the `Bundle`, made on the spot: nothing in it was trained."""
    import numpy as np

    import emorec
    from emorec import labels
    from emorec.config import Config
    from emorec.features import encoder
    from emorec.features.encoders import Encoders
    from emorec.models import presets
    from emorec.training.bundle import Bundle

    config = Config().override(["model.system=face_average"])
    encoders = Encoders(face=encoder.create("mini_xception", face_weights))
    names = labels.resolve("fer2013")
    model = presets.build(config.model, encoders.shapes, len(names))
    # The classifier's classes are the labels, in the same order.
    model.get_layer("label_average").mapping.assign(np.eye(len(names)))
    info = {
        "run": None,
        "base": None,
        "preset": FACE_AVERAGE,
        "data": {"fingerprint": None, "sources": {}, "rows": {}},
        "versions": {"emorec": emorec.__version__},
        "notes": [NOTE],
        "members": [],
    }
    return Bundle(model, encoders, config, names, info)
