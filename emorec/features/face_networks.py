"""Architectures of a face classifier: mini-XCEPTION, or one that Keras has.

Each becomes one flat functional graph, f32 [B, s, s, 3] of RGB 0 to 255 ->
f32 [B, K] probabilities, with its preprocessing in it, of Keras' own layers
and `emorec.features.mini_xception.Resample`: a file that Keras loads in safe
mode, and that takes pixels as they are.
"""

import dataclasses
import sys
import types

import keras
import numpy as np
from keras import layers

from emorec.errors import ConfigError
from emorec.features import mini_xception

DEFAULT = "mini_xception"
# Face crops are stored at this side (config `clip.crop_size`): a larger input
# would hold no more detail.
_APPLICATION_SIZE = 224
# Share of the pooled features that is dropped in training. Ours.
_DROPOUT = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class FaceNetwork:
    """A classifier of random initial weights.

    Attributes:
        architecture: Its name, as `names` has it.
        model: [B, s, s, 3] -> [B, K]; see the module.
        head: Names of the layers that a new set of classes replaces.
    """

    architecture: str
    model: keras.Model
    head: tuple[str, ...]


def names() -> tuple[str, ...]:
    """Returns the names of all architectures."""
    found = vars(keras.applications).items()
    made = (n for n, v in found if isinstance(v, types.FunctionType))
    return (DEFAULT, *sorted(made, key=str.lower))


def resolve(name: str) -> str:
    """Returns an architecture's name as `names` has it, whatever its case.

    Raises:
        ConfigError: There is none of this name.
    """
    for known in names():
        if known.lower() == name.lower():
            return known
    raise ConfigError(
        f"`architecture` must be one of {', '.join(names())}. "
        f"Received: {name!r}"
    )


def own_size(architecture: str) -> int:
    """Returns the side in pixels of an architecture's images by default."""
    if resolve(architecture) == DEFAULT:
        return mini_xception.NETWORK_SIZE
    return _APPLICATION_SIZE


def build(architecture: str, size: int, classes: int) -> FaceNetwork:
    """Builds a classifier; its weights are drawn, never downloaded.

    Args:
        architecture: One of `names`, in any case. mini-XCEPTION always works
            at 64 x 64 and reduces what it is given.
        size: Side of the images, pixels.
        classes: K.

    Raises:
        ConfigError: There is no such architecture, or it takes no images as
            small as this.
    """
    architecture = resolve(architecture)
    image = keras.Input((size, size, 3), dtype="float32", name="image")
    if architecture == DEFAULT:
        y, head = _mini_xception(image, classes), "conv2d_7"
    else:
        y, head = _application(architecture, image, classes), "probabilities"
    model = keras.Model(image, y, name="face_classifier")
    if architecture == DEFAULT:
        model = _without_strides(model)
    return FaceNetwork(architecture, model, (head,))


def _mini_xception(image, classes):
    side = mini_xception.NETWORK_SIZE
    grey = mini_xception.Resample((side, side), mini_xception.GREY, name="grey")
    x = layers.Rescaling(1 / 127.5, -1.0, name="scale")(grey(image))
    return mini_xception.network(x, classes)["probabilities"]


def _without_strides(model: keras.Model) -> keras.Model:
    """Takes every second place before a 1 x 1 convolution, not in it.

    The same function of the same weights. TensorFlow 2.16 with oneDNN on a
    CPU with AVX-512 writes out of bounds, and mostly dies, in the gradient of
    a strided 1 x 1 convolution of 12 or fewer channels on 60 x 60 places:
    that is mini-XCEPTION's first shortcut.
    """
    strides = {
        layer.name: layer.strides
        for layer in model.layers
        if isinstance(layer, layers.Conv2D)
        and layer.kernel_size == (1, 1)
        and layer.strides != (1, 1)
    }

    def copy(layer):
        config = layer.get_config()
        if layer.name in strides:
            config["strides"] = (1, 1)
        return type(layer).from_config(config)

    def call(layer, x, *args, **kwargs):
        if layer.name in strides:
            x = layers.AveragePooling2D(1, strides[layer.name])(x)
        return layer(x, *args, **kwargs)

    return keras.models.clone_model(
        model, clone_function=copy, call_function=call
    )


def _application(architecture, image, classes):
    constructor = getattr(keras.applications, architecture)
    x = preprocessing(architecture, image)
    try:
        base = constructor(
            include_top=False,
            weights=None,
            input_tensor=x,
            input_shape=tuple(image.shape[1:]),
        )
    except ValueError as e:
        raise ConfigError(
            f"{architecture} cannot be built for images of "
            f"{image.shape[1]} x {image.shape[2]} pixels "
            f"({' '.join(str(e).split())[:200]}); set face_train.image_size"
        ) from e
    x = layers.GlobalAveragePooling2D(name="features")(base.output)
    x = layers.Dropout(_DROPOUT, name="features_dropout")(x)
    dense = layers.Dense(classes, activation="softmax", name="probabilities")
    return dense(x)


def preprocessing(architecture: str, image):
    """Applies what Keras' `preprocess_input` does to RGB 0 to 255.

    That function differs between the architectures (BGR less a mean, -1 to
    1, or nothing), is not part of a saved model, and is linear in a pixel:
    it is asked for its numbers, which then stand in the graph.

    Args:
        architecture: A name out of `keras.applications`.
        image: f32 [B, s, s, 3], symbolic or not.

    Returns:
        f32 [B, s, s, 3].
    """
    mix, offset = _linear(_preprocess_input(architecture))
    if not np.allclose(mix, np.diag(np.diag(mix))):
        # The channels change places.
        side = image.shape[1:3]
        image = mini_xception.Resample(side, mix.tolist(), name="pixels")(image)
        mix = np.eye(3)
    scale = np.diag(mix).tolist()
    if np.allclose(scale, 1) and np.allclose(offset, 0):
        return image
    return layers.Rescaling(scale, offset.tolist(), name="scale")(image)


def _preprocess_input(architecture):
    # Beside the constructor: `keras.applications` exports not all of the pairs
    # together.
    constructor = getattr(keras.applications, architecture)
    return sys.modules[constructor.__module__].preprocess_input


def _linear(function) -> tuple[np.ndarray, np.ndarray]:
    """Returns f64 [3, 3] and [3] with function(x) = x @ matrix + offset."""
    probes = np.vstack([np.zeros(3), 255 * np.eye(3)]).reshape(4, 1, 1, 3)
    found = np.asarray(function(probes)).reshape(4, 3)
    return (found[1:] - found[0]) / 255, found[0]


def quicken_norms(model: keras.Model, steps: int) -> None:
    """Lets batch normalisation follow a small data set.

    Its averages, which validation and the product use, have a memory of 100
    to 1000 steps, and an epoch of few images has ten. Measured on 255 drawn
    faces of three kinds, 8 steps an epoch: validation stayed at chance for 11
    epochs, which ended the training; with this it was right after four.

    Args:
        model: A flat model, not traced yet.
        steps: Of an epoch; the memory becomes at most a quarter of it.
    """
    momentum = max(0.5, 1 - 4 / steps)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = min(layer.momentum, momentum)


def freeze(network: FaceNetwork) -> None:
    """Lets only the head be trained."""
    for layer in network.model.layers:
        layer.trainable = layer.name in network.head
