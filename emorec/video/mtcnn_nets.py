"""The three networks of MTCNN as plain functions of pixels.

Classes and weights come from the PyPI package `mtcnn` 1.0.0 (MIT); the forward
pass is ours. It holds the same numbers (differences below 1e-5), but folds the
scaling of pixels into the first convolution, pools before the first PReLU
(`_Pooled`), joins PNet's two heads into one and needs two operations for a
PReLU instead of six.

K. Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks", IEEE Signal Processing Letters 23(10), 2016.
"""

import importlib.resources
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from mtcnn.network.onet import ONet
from mtcnn.network.pnet import PNet
from mtcnn.network.rnet import RNet
from mtcnn.utils.tensorflow import load_weights

from emorec.errors import WeightsError
from emorec.video.engine import MEAN_PIXEL

# The networks were trained on (pixel - MEAN_PIXEL) / PIXEL_SCALE.
PIXEL_SCALE = 128.0


class MtcnnNets:
    """PNet, RNet and ONet with the package's weights.

    The methods are ordinary TensorFlow code on tensors: usable eagerly, in a
    `tf.function`, in a SavedModel (weights become constants, 2 MB) and for
    tf2onnx. Pixels are f32 RGB, 0 to 255. Logits are those of the probability
    of a face, offsets are relative to the box's sides, [x0, y0, x1, y1].

    Raises:
        WeightsError: The package's weight files are absent or do not fit.
    """

    def __init__(self):
        pnet = _load(PNet, "pnet")
        self._p_first = _Pooled(pnet.conv1, pnet.prelu1)
        self._p_convs = [
            self._p_first.reordered(*_weights(pnet.conv2)),
            _weights(pnet.conv3),
        ]
        self._p_alphas = _alphas(pnet, 3)
        self._p_head = _joined(pnet.conv4_1, pnet.conv4_2)

        rnet = _load(RNet, "rnet")
        self._r_first = _Pooled(rnet.conv1, rnet.prelu1)
        self._r_convs = [
            self._r_first.reordered(*_weights(rnet.conv2)),
            _weights(rnet.conv3),
        ]
        self._r_alphas = _alphas(rnet, 4)
        self._r_dense = _weights(rnet.fc4)
        self._r_head = _joined(rnet.fc5_1, rnet.fc5_2)

        onet = _load(ONet, "onet")
        self._o_first = _Pooled(onet.conv1, onet.prelu1)
        self._o_convs = [
            self._o_first.reordered(*_weights(onet.conv2)),
            _weights(onet.conv3),
            _weights(onet.conv4),
        ]
        self._o_alphas = _alphas(onet, 5)
        self._o_dense = _weights(onet.fc5)
        self._o_head = _joined(onet.fc6_1, onet.fc6_3)

    def pnet(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Looks at every window of 12x12 pixels, stride 2.

        Args:
            pixels: f32 [N, h, w, 3], h and w at least 12.

        Returns:
            Offsets f32 [N, h', w', 4] and logits f32 [N, h', w'], where
            h' = ceil((h - 2) / 2) - 4 and w' likewise.
        """
        x = self._p_first(pixels, 2)
        x = _prelu(_conv(x, *self._p_convs[0]), self._p_alphas[0])
        x = _prelu(_conv(x, *self._p_convs[1]), self._p_alphas[1])
        return _split(_conv(x, *self._p_head))

    def rnet(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Judges candidates.

        Args:
            pixels: f32 [M, 24, 24, 3].

        Returns:
            Offsets f32 [M, 4] and logits f32 [M].
        """
        x = self._r_first(pixels, 3)
        x = _prelu(_conv(x, *self._r_convs[0]), self._r_alphas[0])
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = _prelu(_conv(x, *self._r_convs[1]), self._r_alphas[1])
        x = _prelu(_dense(_flat(x), *self._r_dense), self._r_alphas[2])
        return _split(_dense(x, *self._r_head))

    def onet(self, pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Gives the last word on candidates; the landmarks are left out.

        Args:
            pixels: f32 [M, 48, 48, 3].

        Returns:
            Offsets f32 [M, 4] and logits f32 [M].
        """
        x = self._o_first(pixels, 3)
        x = _prelu(_conv(x, *self._o_convs[0]), self._o_alphas[0])
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = _prelu(_conv(x, *self._o_convs[1]), self._o_alphas[1])
        x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        x = _prelu(_conv(x, *self._o_convs[2]), self._o_alphas[2])
        x = _prelu(_dense(_flat(x), *self._o_dense), self._o_alphas[3])
        return _split(_dense(x, *self._o_head))


class _Pooled:
    """A network's first convolution, PReLU and max pooling, of pixels.

    Over a window, the largest PReLU of slope a >= 0 is the PReLU of the
    largest x. One of a < 0 is max(x, a * x), and so the larger of the largest x
    and the largest a * x. The convolution gives both, and all else happens on
    the pooled maps, a quarter as large. In PNet the 10 channels become 16,
    which take no longer: a vector of AVX-512 holds 16. Measured, convolution to
    pooling takes .55 to .8 of the time.

    Its channels come in another order: those of negative slope last.
    """

    def __init__(self, conv, prelu):
        kernel, bias = _first_conv(conv)
        alpha = _slopes(prelu)
        plain, bent = np.flatnonzero(alpha >= 0), np.flatnonzero(alpha < 0)
        self._order = np.concatenate([plain, bent])
        self._slopes = alpha[plain]
        self._kernel = np.concatenate(
            [kernel[..., self._order], kernel[..., bent] * alpha[bent]], -1
        )
        self._bias = np.concatenate(
            [bias[self._order], bias[bent] * alpha[bent]]
        )

    def reordered(self, kernel, bias) -> tuple[np.ndarray, np.ndarray]:
        """Returns the next convolution for our order of channels."""
        return kernel[:, :, self._order], bias

    def __call__(self, pixels, side: int):
        x = _conv(pixels, self._kernel, self._bias)
        x = tf.nn.max_pool2d(x, side, 2, "SAME")
        count, total = len(self._slopes), len(self._order)
        plain = x[..., :count]
        # Slopes above 1 occur here: no maximum of two.
        plain += (self._slopes - np.float32(1)) * tf.minimum(plain, 0.0)
        bent = tf.maximum(x[..., count:total], x[..., total:])
        return tf.concat([plain, bent], -1)


def _load(network: Callable, name: str):
    """Builds one of the package's models and loads its weights."""
    path = importlib.resources.files("mtcnn").joinpath(
        "assets", "weights", f"{name}.lz4"
    )
    model = network()
    model.build()
    try:
        # The absolute path matters: given a bare name, the package unpickles a
        # file of that name from the working directory first.
        model.set_weights(load_weights(str(path)))
    except (FileNotFoundError, ValueError) as e:
        raise WeightsError(
            f"cannot load MTCNN's weights {path}: "
            f"{' '.join(str(e).split())}; reinstall mtcnn==1.0.0"
        ) from e
    return model


def _weights(layer) -> tuple[np.ndarray, np.ndarray]:
    return layer.kernel.numpy(), layer.bias.numpy()


def _alphas(model, count: int) -> list[np.ndarray]:
    """Returns the slopes of the PReLUs after the first, up to `count`."""
    return [_slopes(getattr(model, f"prelu{i}")) for i in range(2, count + 1)]


def _slopes(layer) -> np.ndarray:
    return layer.alpha.numpy().reshape(-1)


def _first_conv(layer) -> tuple[np.ndarray, np.ndarray]:
    """Folds the scaling of pixels into a `valid` convolution."""
    kernel, bias = _weights(layer)
    bias = bias - kernel.sum((0, 1, 2)) * (MEAN_PIXEL / PIXEL_SCALE)
    return kernel / np.float32(PIXEL_SCALE), bias.astype(np.float32)


def _joined(offsets, classes) -> tuple[np.ndarray, np.ndarray]:
    """Joins both heads: 4 offsets, then the logit of face against no face.

    A softmax over two classes is the sigmoid of the logits' difference.
    """
    kernel, bias = _weights(offsets)
    k, b = _weights(classes)
    return (
        np.concatenate([kernel, k[..., 1:] - k[..., :1]], -1),
        np.concatenate([bias, b[1:] - b[:1]]),
    )


def _conv(x, kernel, bias):
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)


def _dense(x, kernel, bias):
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def _prelu(x, alpha):
    """Scales what is negative by slopes of at most 1, negative ones too."""
    return tf.maximum(x, alpha * x)


def _flat(x):
    """Flattens [M, h, w, C] in the order of the Caffe weights, w first."""
    x = tf.transpose(x, [0, 2, 1, 3])
    return tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])


def _split(x):
    return x[..., :4], x[..., 4]
