"""Keras classifier files of others, made into frozen image encoders.

Any file of Keras' `model.save` that takes one image and answers one class
does, and so does a folder of `emorec train_face`. It is a classifier less its
last layer: what goes into the last layer with weights are the features, or
the maps whose mean they are. Files are untrusted: see `keras_check`.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import tempfile
import threading

import keras
import numpy as np

from emorec import labels as label_sets
from emorec.errors import ConfigError, LabelError, ModelError
from emorec.features import keras_archive

# Raise it when the same file would give other features.
VERSION = 1
# What the pixels are turned into before the file's own first layer.
PIXELS = ("raw", "unit", "signed", "caffe")
FOLDER_FILE = "face_classifier.keras"
LABELS_FILE = "labels.txt"
# Fields of a description that do not change the features, or that Keras
# draws anew whenever it loads (`seed`).
_NOT_HASHED = (
    "build_config",
    "compile_config",
    "registered_name",
    "seed",
    "shared_object_id",
    "trainable",
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a classifier lies.

    Attributes:
        file: The Keras file.
        pixels: One of `PIXELS`.
        labels: The text file of its class names; it need not exist.
        of_train_face: Whether it is a folder of `emorec train_face`, whose
            names have to fit.
    """

    file: pathlib.Path
    pixels: str
    labels: pathlib.Path
    of_train_face: bool


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A loaded Keras classifier.

    Attributes:
        name: The base name of its file.
        model: The whole model, not compiled.
        sha256: Of the file.
        pixels: One of `PIXELS`.
    """

    name: str
    model: keras.Model
    sha256: str
    pixels: str

    @property
    def classes(self) -> int:
        return self.model.outputs[0].shape[-1]

    @property
    def provenance(self) -> dict:
        """What `Encoder.weights` says of it."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "licence": None,
            "origin": None,
            "random": False,
        }

    @functools.cached_property
    def hash(self) -> str:
        """16 hex digits over the preprocessing, the layers and the weights.

        The same for a file and for a copy that Keras saved of it.
        """
        config = json.dumps(_essence(self.model.get_config()), sort_keys=True)
        head = f"keras_file {VERSION} {self.pixels} {config}"
        digest = hashlib.sha256(head.encode())
        for variable in self.model.weights:
            array = np.ascontiguousarray(
                keras.ops.convert_to_numpy(variable), "<f4"
            )
            digest.update(f" {array.shape} ".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]


def find(path: str | os.PathLike, pixels: str) -> Place:
    """Says what a path that exists holds.

    Args:
        path: A Keras file, or a folder of `emorec train_face`.
        pixels: One of `PIXELS`, for a lone file.

    Raises:
        ConfigError: There are no such `pixels`.
        ModelError: The folder holds no classifier.
    """
    path = pathlib.Path(path)
    if pixels not in PIXELS:
        raise ConfigError(
            f"config `features.file_pixels` must be one of "
            f"{', '.join(PIXELS)}. Received: {pixels!r}"
        )
    if not path.is_dir():
        return Place(path, pixels, path.with_name(LABELS_FILE), False)
    file = path / FOLDER_FILE
    if not file.is_file():
        raise ModelError(
            f"{path}: holds no {FOLDER_FILE}; give a folder of `emorec "
            "train_face` or a Keras file"
        )
    return Place(file, "raw", path / LABELS_FILE, True)


def labels_of(place: Place, classes: int) -> tuple[str, ...]:
    """Returns the K class names that lie beside a classifier, else ().

    Raises:
        ModelError: A folder of `emorec train_face` has no fitting ones.
    """
    try:
        names = label_sets.resolve(str(place.labels)).names
        if len(names) == classes:
            return names
        why = f"{len(names)} names for {classes} classes"
    except LabelError as e:
        why = str(e)
    if place.of_train_face:
        raise ModelError(
            f"{place.labels}: does not fit the classifier ({why}); run "
            "`emorec train_face` again"
        )
    return ()


def checked_labels(path, names: list, classes: int) -> tuple[str, ...]:
    """Returns class names read from JSON; raises `ModelError` if unfit."""
    if not names:
        return ()
    try:
        if len(names) == classes and all(isinstance(n, str) for n in names):
            return label_sets.LabelSet("labels", tuple(names)).names
        why = f"{len(names)} values for {classes} classes"
    except LabelError as e:
        why = str(e)
    raise ModelError(f"{path}: `labels` must name the classes ({why})")


def read(path: str | os.PathLike, pixels: str) -> Classifier:
    """Loads a Keras classifier file, safely.

    Raises:
        ModelError: The file is not allowed, is damaged, or does not take one
            image and answer one row of classes.
    """
    path = pathlib.Path(path)
    if pixels not in PIXELS:
        raise ModelError(f"{path}: unknown `pixels` {pixels!r}")
    with tempfile.TemporaryDirectory(prefix="emorec-") as folder:
        place, sha256 = keras_archive.unpack(path, folder)
        try:
            _try_without_memory(place)
            model = _load(place)
        # Keras raises any error for a description that it cannot build.
        except Exception as e:
            raise ModelError(
                f"{path}: Keras {keras.__version__} cannot load it "
                f"({one_line(e)}); save the model again"
            ) from e
    _check_ends(model, path)
    return Classifier(path.name, model, sha256, pixels)


def _load(place):
    return keras.models.load_model(place, compile=False, safe_mode=True)


def _try_without_memory(place):
    """Loads the model with variables that have shapes alone.

    A description of few bytes can ask for any amount of memory. Here nothing
    is allocated but what the file really holds, and a layer whose arrays are
    not in the file is an error. Keras keeps such variables in a list of the
    thread, which goes with the thread.
    """
    errors = []

    def load():
        try:
            with keras.StatelessScope(initialize_variables=False):
                _load(place)
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _check_ends(model, path):
    """Refuses a model that is not image -> classes."""
    functional = isinstance(model, keras.Model) and model.built
    if not functional or not getattr(model, "inputs", None):
        raise ModelError(
            f"{path}: holds a {type(model).__name__} without a fixed input; "
            "give a functional or sequential Keras classifier"
        )
    shapes = [tuple(t.shape) for t in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in (1, 3):
        raise ModelError(
            f"{path}: a face classifier must take one image [N, h, w, 1 or "
            f"3]. Received: {shapes}"
        )
    shapes = [tuple(t.shape) for t in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or not shapes[0][1]:
        raise ModelError(
            f"{path}: a face classifier must answer [N, classes]. Received: "
            f"{shapes}"
        )


def _essence(value):
    """Drops from a description what does not change the features."""
    if isinstance(value, dict):
        return {
            k: _essence(v)
            for k, v in value.items()
            if k not in _NOT_HASHED
            and not k.endswith(("_initializer", "_regularizer", "_constraint"))
        }
    if isinstance(value, list | tuple):
        return [_essence(v) for v in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def one_line(error) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
