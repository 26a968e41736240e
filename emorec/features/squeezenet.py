"""SqueezeNet v1.1, the context stream's image network.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters
and < 0.5 MB model size", arXiv 1602.07360. The features are the 512 channels
that go into the classifier's convolution, averaged over the places.
"""

import os

import keras
from keras import layers

from emorec.features import layer_weights
from emorec.features.mini_xception import Resample

# Raise it when the same weights would give other features.
VERSION = 1
# Caffe's network takes 227 x 227 and rounds the pools' sizes up. The crops
# are stored at 224 and go in as they are. At 224 every pool divides evenly
# (111, 55, 27, 13), so that rounding up or down is the same thing; at 227 it
# is not (13 rounded down, 14 rounded up). The class probabilities of a known
# photo are as good: `chelsea` gives Egyptian cat .65, tiger cat .22, tabby
# .13 at 224, and .46, .33, .20 at 227; `coffee` espresso 1.00 and .999.
NETWORK_SIZE = 224
MAPS = (13, 13, 512)
CLASSES = 1000
# Caffe's mean pixel is BGR 104, 117, 123. The channels stay RGB here:
# `load_weights` turns conv1's kernel round instead of every image.
MEAN_RGB = (123.0, 117.0, 104.0)
# Fire module -> (squeezed channels, channels of each of the two expansions).
_FIRE = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
_POOL_AFTER = (3, 5)


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    network_size: int = NETWORK_SIZE,
    include_top: bool = False,
    dtype: str = "uint8",
) -> keras.Model:
    """Builds the network with its preprocessing, without its weights.

    Args:
        input_shape: (height, width, 3) of the RGB images, 0 to 255.
        network_size: Side at which the network sees them; images of another
            size are resized in the graph.
        include_top: Whether the ImageNet classifier (`conv10`) is built too.
            The published file has no weights for it.
        dtype: Of the input: Keras casts what is given to it, and a float
            image cast to uint8 would lose its fractions.

    Returns:
        A functional model: [B, height, width, 3] -> a dict of f32 `maps`
        [B, 13, 13, 512], `features` [B, 512] (their mean over the places) and,
        with `include_top`, `probabilities` [B, 1000].
    """
    image = keras.Input(input_shape, dtype=dtype, name="image")
    x, size = image, (network_size, network_size)
    if tuple(input_shape[:2]) != size:
        x = Resample(size, dtype="float32", name="resize")(x)
    x = layers.Rescaling(
        1.0, [-m for m in MEAN_RGB], dtype="float32", name="minus_mean"
    )(x)
    x = _pool(1)(_conv(64, 3, "conv1", strides=2, padding="valid")(x))
    for i, (squeezed, expanded) in _FIRE.items():
        x = _conv(squeezed, 1, f"fire{i}_squeeze1x1")(x)
        x = layers.Concatenate(dtype="float32", name=f"fire{i}_concat")(
            [
                _conv(expanded, 1, f"fire{i}_expand1x1")(x),
                _conv(expanded, 3, f"fire{i}_expand3x3")(x),
            ]
        )
        if i in _POOL_AFTER:
            x = _pool(i)(x)
    pool = layers.GlobalAveragePooling2D(dtype="float32", name="features")
    outputs = {"maps": x, "features": pool(x)}
    if include_top:
        y = _conv(CLASSES, 1, "conv10")(x)
        y = layers.GlobalAveragePooling2D(dtype="float32")(y)
        y = layers.Softmax(dtype="float32", name="probabilities")(y)
        outputs["probabilities"] = y
    return keras.Model(image, outputs, name="squeezenet1_1")


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Sets the weights of `build`'s model from the published HDF5 file.

    `conv10`, which that file does not have, is left as it is.

    Raises:
        WeightsError: The file is damaged or is another network's.
    """
    names = [layer.name for layer in model.layers if layer.weights]
    layer_weights.assign(
        model,
        path,
        {n: n.replace("_", "/") for n in names if n != "conv10"},
        _to_rgb,
    )


def _to_rgb(name, arrays):
    """Turns conv1's kernel, HWIO with BGR inputs, to RGB."""
    if name != "conv1":
        return arrays
    kernel, bias = arrays
    return [kernel[:, :, ::-1], bias]


# The dtype is spelled out so that a global mixed-precision policy, set to
# train a model in this process, does not change the features.
def _conv(filters, kernel, name, *, strides=1, padding="same"):
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        activation="relu",
        dtype="float32",
        name=name,
    )


def _pool(index):
    # Sizes rounded down. Keras has no rounding up, and rounding down is also
    # what gives the 13 x 13 map and the known answers at 227.
    return layers.MaxPooling2D(3, 2, dtype="float32", name=f"pool{index}")
