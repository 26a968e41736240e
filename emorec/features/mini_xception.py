"""mini-XCEPTION, a small face-expression classifier, and the resize it needs.

Arriaga, Valdenegro-Toro, Plöger, "Real-time Convolutional Neural Networks for
Emotion and Gender Classification", arXiv 1710.07557. The network ends in a
7-channel convolution, a global pooling and a softmax, without a dense layer;
what a recurrent network reads is the output of its last residual sum.
"""

import os

import keras
import numpy as np
from keras import layers, ops

from emorec.features import layer_weights
from emorec.labels import FER2013

# Raise it when the same weights would give other features.
VERSION = 1
NETWORK_SIZE = 64
MAPS = (4, 4, 128)
# ITU-R BT.601, as in cv2.COLOR_RGB2GRAY.
GREY = ((0.299,), (0.587,), (0.114,))
_FILTERS = (16, 32, 64, 128)
# 512 MiB of f32.
_MAX_MATRIX = 1 << 27


def resize_matrix(source: int, target: int) -> np.ndarray:
    """Returns the f32 [target, source] matrix that resizes one axis.

    Towards smaller it averages areas (the result of cv2.INTER_AREA), which
    does not alias; towards larger it is bilinear with half-pixel centres.
    Every row sums to 1.
    """
    edges = np.arange(target + 1) * (source / target)
    if target <= source:
        pixels = np.arange(source)
        low = np.maximum(edges[:-1, None], pixels)
        high = np.minimum(edges[1:, None], pixels + 1)
        matrix = np.maximum(high - low, 0)
    else:
        centres = np.clip((edges[:-1] + edges[1:]) / 2 - 0.5, 0, source - 1)
        matrix = np.maximum(1 - np.abs(centres[:, None] - np.arange(source)), 0)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


@keras.saving.register_keras_serializable("emorec")
class Resample(layers.Layer):
    """Resizes images and mixes their channels, in two matrix products.

    Matrix products run alike on every Keras backend and in ONNX, where the
    backends' antialiased resizes differ, cannot be converted or do not exist.
    The channels ride in the first product: it reads [W * C, w * c].

    Input: uint8 or float [B, H, W, C], any range. Output: f32 [B, h, w, c] in
    the same range.

    Args:
        size: (h, w) of the output.
        mix: C rows of c factors; None keeps the channels.
    """

    def __init__(self, size, mix=None, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(int(n) for n in size)
        self.mix = None if mix is None else [list(map(float, r)) for r in mix]

    def build(self, shape):
        _, height, width, channels = shape
        mixed = channels if self.mix is None else len(self.mix[0])
        numbers = max(
            width * channels * self.size[1] * mixed, height * self.size[0]
        )
        # Some file may ask for it: see `keras_file`.
        if numbers > _MAX_MATRIX:
            raise ValueError(
                f"a matrix of `Resample` has {_MAX_MATRIX} numbers at most. "
                f"Received: {numbers}"
            )
        mix = np.eye(channels) if self.mix is None else np.array(self.mix)
        # [w, W] x [C, c] -> [W * C, w * c], as the reshapes below lay it out.
        self._across = np.kron(
            resize_matrix(width, self.size[1]).T, mix
        ).astype(np.float32)
        self._down = resize_matrix(height, self.size[0])
        self._channels = mix.shape[1]

    def call(self, images):
        _, height, width, channels = images.shape
        x = ops.cast(images, "float32")
        x = ops.reshape(x, (-1, height, width * channels))
        x = ops.matmul(self._down, ops.matmul(x, self._across))
        return ops.reshape(x, (-1, *self.size, self._channels))

    def compute_output_shape(self, shape):
        channels = shape[-1] if self.mix is None else len(self.mix[0])
        return (shape[0], *self.size, channels)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "mix": self.mix}


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    dtype: str = "uint8",
) -> keras.Model:
    """Builds the network with its preprocessing, without its weights.

    Args:
        input_shape: (height, width, 3) of the RGB images, 0 to 255.
        dtype: Of the input: Keras casts what is given to it, and a float
            image cast to uint8 would lose its fractions.

    Returns:
        A functional model: [B, height, width, 3] -> a dict of f32 `maps`
        [B, 4, 4, 128], `features` [B, 128] (their mean over the places) and
        `probabilities` [B, 7] in the order of `emorec.labels.FER2013`.
    """
    image = keras.Input(input_shape, dtype=dtype, name="image")
    size = (NETWORK_SIZE, NETWORK_SIZE)
    x = Resample(size, GREY, dtype="float32", name="grey")(image)
    # 0..255 -> -1..1, which is (x / 255 - 0.5) * 2.
    x = layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="scale")(x)
    return keras.Model(image, network(x), name="mini_xception")


def network(x, classes: int = len(FER2013)) -> dict:
    """Applies the network to f32 [B, 64, 64, 1] in -1..1; see `build`.

    The layers carry the names that they have in the published file, where
    the shortcut's convolution and normalisation come before the block's.
    """
    for i in (1, 2):
        x = _conv(8, 3, f"conv2d_{i}", padding="valid")(x)
        x = layers.ReLU(dtype="float32")(_norm(i)(x))
    for block, filters in enumerate(_FILTERS):
        n = 3 + 3 * block
        short = _conv(filters, 1, f"conv2d_{3 + block}", strides=2)(x)
        short = _norm(n)(short)
        x = _norm(n + 1)(_separable(filters, 2 * block + 1)(x))
        x = layers.ReLU(dtype="float32")(x)
        x = _norm(n + 2)(_separable(filters, 2 * block + 2)(x))
        x = layers.MaxPooling2D(3, 2, padding="same", dtype="float32")(x)
        x = layers.Add(dtype="float32", name=f"add_{block + 1}")([x, short])
    pool = layers.GlobalAveragePooling2D(dtype="float32", name="features")
    y = _conv(classes, 3, "conv2d_7", use_bias=True)(x)
    y = layers.GlobalAveragePooling2D(dtype="float32")(y)
    y = layers.Softmax(dtype="float32", name="probabilities")(y)
    return {"maps": x, "features": pool(x), "probabilities": y}


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Sets the weights of `build`'s model from the published HDF5 file.

    Raises:
        WeightsError: The file is damaged or is another network's.
    """
    names = [layer.name for layer in model.layers if layer.weights]
    layer_weights.assign(model, path, {name: name for name in names})


# The dtype is spelled out so that a global mixed-precision policy, set to
# train a model in this process, does not change the features.
def _conv(filters, kernel, name, *, strides=1, padding="same", use_bias=False):
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        dtype="float32",
        name=name,
    )


def _separable(filters, index):
    return layers.SeparableConv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        dtype="float32",
        name=f"separable_conv2d_{index}",
    )


def _norm(index):
    return layers.BatchNormalization(
        epsilon=1e-3, dtype="float32", name=f"batch_normalization_{index}"
    )
