"""`emorec.features.resnet50`: graph, preprocessing, weights by path."""

import keras
import numpy as np
import pytest

from emorec.errors import WeightsError
from emorec.features import encoder, resnet50


@pytest.fixture(scope="module")
def classifier():
    """Keras' own ResNet-50 of 7 classes, its means and biases not trivial."""
    net = keras.applications.ResNet50(weights=None, classes=7)
    rng = np.random.default_rng(0)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            noise = rng.normal(0, 0.05, gamma.shape)
            layer.set_weights([0.5 * gamma, beta + noise, mean, variance])
    return net


@pytest.fixture(scope="module")
def path(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "faces.weights.h5"
    classifier.save_weights(path)
    return path


@pytest.fixture(scope="module")
def made(path):
    return encoder.create("resnet50", path)


def test_outputs(made):
    assert made.outputs == {"features": (2048,), "maps": (7, 7, 2048)}
    assert encoder.PRESETS["resnet50"].outputs == made.outputs
    # Keras' count without the classifier.
    assert made._network.count_params() == 23_587_712
    assert made.weights["name"] == "resnet50 of faces.weights.h5"
    assert len(made.weights["sha256"]) == 64
    assert made.weights["random"] is False


@pytest.mark.long
def test_features_are_the_classifiers_less_its_last_layer(classifier, made):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 224, 224, 3), np.uint8)
    less = keras.Model(
        classifier.input, classifier.get_layer("avg_pool").output
    )
    expected = less.predict_on_batch(
        keras.applications.resnet.preprocess_input(images.astype(np.float32))
    )
    assert expected.std() > 0.01
    np.testing.assert_allclose(
        made.encode(images), expected, rtol=1e-4, atol=1e-5
    )


def test_pixels_as_caffe_has_them():
    model = resnet50.build((224, 224, 3))
    scaled = keras.Model(model.input, model.get_layer("minus_mean").output)
    image = np.empty((1, 224, 224, 3), np.uint8)
    image[:] = (10, 20, 30)
    np.testing.assert_allclose(
        scaled.predict_on_batch(image)[0, 5, 5],
        np.subtract((30, 20, 10), resnet50.MEAN_BGR),
        atol=1e-4,
    )


def test_a_global_policy_does_not_change_it():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = resnet50.build((32, 32, 3))
        policy = keras.config.dtype_policy().name
    finally:
        keras.config.set_dtype_policy("float32")
    assert policy == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"float32"}


def test_weights_come_by_path_alone(tmp_path):
    with pytest.raises(WeightsError) as e:
        encoder.create("resnet50")
    assert str(e.value) == (
        "no published emotion weights ship with resnet50; give a weight file "
        "by --face_weights, or make an encoder by `emorec train_face "
        "--architecture=resnet50` and give its folder as the encoder"
    )
    with pytest.raises(WeightsError, match=r"absent\.h5: no such file, wanted"):
        encoder.create("resnet50", tmp_path / "absent.h5", allow_random=True)
    (tmp_path / "wrong.h5").write_bytes(b"wrong")
    with pytest.raises(WeightsError, match=r"wrong\.h5: cannot be read"):
        encoder.create("resnet50", tmp_path / "wrong.h5", allow_random=True)


@pytest.mark.long
def test_random_weights_where_allowed():
    made = encoder.create("resnet50", allow_random=True, crop_size=64)
    assert made.weights["random"] is True
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    features = made.encode(images)
    assert 0.1 < np.abs(features).max() < 100
    assert np.linalg.matrix_rank(features) == 2


@pytest.mark.real
def test_refuses_the_other_networks_file(test_data):
    path = test_data / "weights" / "fer2013_mini_xception.hdf5"
    with pytest.raises(WeightsError, match="a layer 'conv1_conv'"):
        encoder.create("resnet50", path)
