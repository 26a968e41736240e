"""Architectures of face classifiers, and their initial weights from files."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from testing.images import face

from emorec.errors import ConfigError, WeightsError
from emorec.features import (
    face_networks,
    face_weights,
    layer_weights,
    mini_xception,
)
from emorec.features.face_networks import FaceNetwork


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    made = [face(kind, 0, 64)[..., ::-1] for kind in range(3)]
    return np.float32(made)


def answers(model, images) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))


def spread(model, seed=0):
    """Gives every weight a value that can be told from its initial one."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 0.5, weight.shape))
    return model


@pytest.fixture
def small():
    """Builds a network whose convolutions have the names that Keras gives."""

    def build(classes=3, architecture="small"):
        image = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3)(image)
        x = layers.BatchNormalization()(x)
        x = layers.Conv2D(4, 3)(x)
        x = layers.GlobalAveragePooling2D()(x)
        y = layers.Dense(classes, "softmax", name="probabilities")(x)
        model = spread(keras.Model(image, y), classes)
        return FaceNetwork(architecture, model, ("probabilities",))

    return build


def test_names_are_found_in_any_case():
    names = face_networks.names()
    assert names[0] == "mini_xception"
    assert {"ResNet50", "MobileNetV2", "EfficientNetB0"} < set(names)
    assert face_networks.resolve("resnet50") == "ResNet50"
    assert face_networks.resolve("Mini_Xception") == "mini_xception"
    with pytest.raises(ConfigError) as e:
        face_networks.resolve("resnet")
    assert str(e.value).startswith(
        "`architecture` must be one of mini_xception, ConvNeXtBase, "
    )
    assert str(e.value).endswith("Received: 'resnet'")


def test_own_sizes():
    assert face_networks.own_size("MINI_XCEPTION") == 64
    assert face_networks.own_size("resnet50") == 224


# What each module of keras.applications documents as its `preprocess_input`.
MODULES = {
    "ResNet50": keras.applications.resnet50,
    "VGG16": keras.applications.vgg16,
    "MobileNetV2": keras.applications.mobilenet_v2,
    "Xception": keras.applications.xception,
    "DenseNet121": keras.applications.densenet,
    "EfficientNetB0": keras.applications.efficientnet,
    "MobileNetV3Small": keras.applications.mobilenet_v3,
    "ConvNeXtTiny": keras.applications.convnext,
}


@pytest.mark.parametrize("architecture", MODULES)
def test_the_preprocessing_is_that_of_keras(architecture):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 6, 3))
    pixels = pixels.astype(np.float32)
    expected = MODULES[architecture].preprocess_input(pixels.copy())
    found = face_networks.preprocessing(
        architecture, keras.ops.convert_to_tensor(pixels)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


def test_every_architecture_has_a_known_preprocessing():
    """Linear in a pixel, as the graph has it; asked of all 40."""
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 2, 2, 3))
    for name in face_networks.names()[1:]:
        expected = face_networks._preprocess_input(name)(pixels.copy())
        mix, offset = face_networks._linear(
            face_networks._preprocess_input(name)
        )
        np.testing.assert_allclose(pixels @ mix + offset, expected, atol=1e-9)


def test_mini_xception_is_the_published_network(tmp_path, images):
    ours = face_networks.build("mini_xception", 64, 7)
    spread(ours.model)
    layer_weights.store(ours.model, tmp_path / "w.h5")
    theirs = mini_xception.build((64, 64, 3), dtype="float32")
    mini_xception.load_weights(theirs, tmp_path / "w.h5")
    expected = theirs(images, training=False)["probabilities"]
    np.testing.assert_allclose(
        answers(ours.model, images), expected, rtol=1e-5, atol=1e-6
    )
    # Their gradient writes out of bounds; see `_without_strides`.
    assert not [
        layer.name
        for layer in ours.model.layers
        if isinstance(layer, layers.Conv2D)
        and layer.kernel_size == (1, 1)
        and layer.strides != (1, 1)
    ]


@pytest.mark.real
def test_the_published_weights_fit(test_data, images):
    network = face_networks.build("mini_xception", 64, 7)
    path = test_data / "weights" / "fer2013_mini_xception.hdf5"
    info = face_weights.load(network, path)
    assert info["head"] == "file" and info["file"] == path.name
    assert info["sha256"].startswith("59534287fdfb125e")
    # Happy, a bow that opens upwards, is told from the round mouth.
    found = answers(network.model, images)
    assert found[0, 3] > found[2, 3] and found[2, 5] > found[0, 5]


def test_another_size_and_number_of_classes(images):
    network = face_networks.build("mini_xception", 100, 3)
    assert network.model.input_shape == (None, 100, 100, 3)
    assert network.model.output_shape == (None, 3)
    large = np.repeat(np.repeat(images[:, :50, :50], 2, 1), 2, 2)
    found = answers(network.model, large)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_an_image_can_be_too_small():
    with pytest.raises(ConfigError) as e:
        face_networks.build("InceptionV3", 64, 3)
    assert str(e.value).startswith(
        "InceptionV3 cannot be built for images of 64 x 64 pixels (Input size "
        "must be at least 75x75"
    )
    assert str(e.value).endswith("set face_train.image_size")


def test_norms_follow_within_an_epoch(small):
    def momentum(steps):
        network = small()
        face_networks.quicken_norms(network.model, steps)
        return network.model.layers[2].momentum

    assert momentum(1) == momentum(8) == 0.5
    assert momentum(40) == pytest.approx(0.9)
    assert momentum(10_000) == 0.99  # Keras' own.


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
def test_weights_of_every_kind_of_file(tmp_path, small, ending):
    source, network = small(), small()
    path = tmp_path / f"w{ending}"
    save = source.model.save
    if ending == ".weights.h5":
        save = source.model.save_weights
    save(path)
    spread(network.model, 99)
    # Keras has numbered the layers on since.
    names = [[x.name for x in n.model.layers] for n in (source, network)]
    assert names[0][1] != names[1][1]
    info = face_weights.load(network, path)
    assert info["initial"] == "file" and info["file"] == path.name
    assert info["head"] == "file" and len(info["sha256"]) == 64
    for expected, found in zip(source.model.weights, network.model.weights):
        np.testing.assert_array_equal(expected, found)


def test_another_set_of_classes_keeps_its_head(tmp_path, small):
    source, network = small(3), small(5)
    source.model.save(tmp_path / "w.keras")
    head = network.model.get_layer("probabilities").get_weights()
    info = face_weights.load(network, tmp_path / "w.keras")
    assert info["head"] == "random"
    for expected, found in zip(
        head, network.model.get_layer("probabilities").get_weights()
    ):
        np.testing.assert_array_equal(expected, found)
    np.testing.assert_array_equal(
        source.model.weights[0], network.model.weights[0]
    )


def test_weights_that_do_not_fit(tmp_path, small):
    network = small()
    before = network.model.get_weights()
    other = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(5, 3)])
    other.save(tmp_path / "other.keras")
    broken = small()
    broken.model.layers[1].kernel.assign(np.full((3, 3, 3, 4), np.nan))
    broken.model.save_weights(tmp_path / "nan.weights.h5")
    broken.model.save(tmp_path / "cut.keras")
    data = (tmp_path / "cut.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.h5").write_text("no weights")
    for name, why in {
        "other.keras": "must hold the layer 'conv2d",
        "nan.weights.h5": "are not finite",
        "cut.keras": "cannot be read as an HDF5 file of weights",
        "text.h5": "cannot be read as an HDF5 file of weights",
        "absent.h5": "cannot be read as an HDF5 file of weights",
    }.items():
        with pytest.raises(WeightsError) as e:
            face_weights.load(network, tmp_path / name)
        assert str(e.value).startswith(f"{tmp_path / name}: ")
        assert why in str(e.value)
        assert "\n" not in str(e.value)
    for expected, found in zip(before, network.model.get_weights()):
        np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize("how", ["link", "external"])
def test_arrays_in_another_file_are_not_read(tmp_path, small, how):
    network = small()
    layer_weights.store(network.model, tmp_path / "w.h5")
    name = network.model.layers[3].name
    with h5py.File(tmp_path / "w.h5", "r+") as f:
        group, shape = f[name], f[name]["kernel"].shape
        del group["kernel"]
        if how == "link":
            group["kernel"] = h5py.ExternalLink("other.h5", f"/{name}/kernel")
        else:
            group.create_dataset(
                "kernel", shape, "f4", external=[("raw", 0, 576)]
            )
    layer_weights.store(network.model, tmp_path / "other.h5")
    (tmp_path / "raw").write_bytes(bytes(576))
    with pytest.raises(WeightsError, match="lie in another file"):
        face_weights.load(network, tmp_path / "w.h5")


@pytest.mark.long
@pytest.mark.parametrize(
    "architecture", ["MobileNetV2", "ResNet50", "EfficientNetB0", "Xception"]
)
def test_applications_are_saved_with_their_pixels(tmp_path, architecture):
    network = face_networks.build(architecture, 72, 3)
    images = np.float32([face(k, 0, 72)[..., ::-1] for k in range(3)])
    expected = answers(network.model, images)
    assert expected.shape == (3, 3)
    path = tmp_path / "w.keras"
    network.model.save(path)
    loaded = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_allclose(answers(loaded, images), expected, atol=1e-6)
    again = face_networks.build(architecture, 72, 3)
    assert face_weights.load(again, path)["head"] == "file"
    np.testing.assert_allclose(
        answers(again.model, images), expected, atol=1e-6
    )
