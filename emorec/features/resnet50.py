"""ResNet-50, the size of the face encoder that the paper's counts fit.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv
1512.03385, as `keras.applications` builds it. The paper's own face network
has 2048 outputs and private weights. No emotion weights of a ResNet-50 are
published under a licence that this package could rely on, so they come by
path; `emorec train_face --architecture=resnet50` makes some.
"""

import os
import pathlib

import keras
from keras import layers

from emorec.errors import WeightsError
from emorec.features import layer_weights, weights
from emorec.features.mini_xception import Resample

# Raise it when the same weights would give other features.
VERSION = 1
NETWORK_SIZE = 224
MAPS = (7, 7, 2048)
# Caffe's order of the channels is blue, green, red.
TO_BGR = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
MEAN_BGR = (103.939, 116.779, 123.68)


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3), *, dtype: str = "uint8"
) -> keras.Model:
    """Builds the network with its preprocessing, without its weights.

    Args:
        input_shape: (height, width, 3) of the RGB images, 0 to 255; resized
            to 224 x 224 in the graph.
        dtype: Of the input.

    Returns:
        A functional model: [B, height, width, 3] -> a dict of f32 `maps`
        [B, 7, 7, 2048] and `features` [B, 2048], their mean over the places.
    """
    image = keras.Input(input_shape, dtype=dtype, name="image")
    size = (NETWORK_SIZE, NETWORK_SIZE)
    x = Resample(size, TO_BGR, dtype="float32", name="to_bgr")(image)
    x = layers.Rescaling(
        1.0, [-m for m in MEAN_BGR], dtype="float32", name="minus_mean"
    )(x)
    # The builder takes no dtype: a global policy, set to train a model in
    # this process, must not change the features.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        net = keras.applications.ResNet50(
            include_top=False, weights=None, input_tensor=x
        )
    finally:
        keras.config.set_dtype_policy(policy)
    maps = net.output
    pool = layers.GlobalAveragePooling2D(dtype="float32", name="features")
    outputs = {"maps": maps, "features": pool(maps)}
    return keras.Model(image, outputs, name="resnet50")


def find(path: str | os.PathLike | None) -> pathlib.Path:
    """Returns the path of the weight file that was given.

    Raises:
        WeightsNotFoundError: None was given.
        WeightsError: There is no such file.
    """
    if path is None:
        raise weights.WeightsNotFoundError(
            "no published emotion weights ship with resnet50; give a weight "
            "file by --face_weights, or make an encoder by `emorec train_face "
            "--architecture=resnet50` and give its folder as the encoder"
        )
    file = pathlib.Path(path).expanduser()
    if not file.is_file():
        raise WeightsError(
            f"{file}: no such file, wanted as the weights of resnet50; give "
            "an existing .h5, .weights.h5 or .keras file"
        )
    return file


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Sets the weights of `build`'s model from a file, by layer name.

    Layers of the file that the model lacks, such as a classifier, are left
    out.

    Raises:
        WeightsError: The file is damaged or is another network's.
    """
    names = [layer.name for layer in model.layers if layer.weights]
    layer_weights.assign(model, path, {name: name for name in names})
