"""`emorec.features.squeezenet`: the graph, and the published answers."""

import cv2
import h5py
import numpy as np
import pytest
import skimage.data

from emorec.errors import WeightsError
from emorec.features import squeezenet

NPZ = "squeezenet1_1_imagenet_with_conv10_fp16.npz"


@pytest.fixture(scope="module")
def model():
    return squeezenet.build()


def test_outputs_and_size(model):
    assert model.input.shape == (None, 224, 224, 3)
    assert model.input.dtype == "uint8"
    assert model.output["maps"].shape == (None, 13, 13, 512)
    assert model.output["features"].shape == (None, 512)
    # Conv1 1792, the fire modules 720 704: the published count (1 235 496)
    # less conv10's 513 000.
    assert model.count_params() == 722_496
    top = squeezenet.build(include_top=True)
    assert top.output["probabilities"].shape == (None, 1000)
    assert top.count_params() == 1_235_496


def test_mean_pixel_becomes_zero(model):
    """RGB 123, 117, 104 is black to the network; the reverse is not."""
    for layer in model.layers:
        if layer.name.startswith(("conv", "fire")) and layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([np.full_like(kernel, 0.01), bias * 0])
    image = np.empty((1, 224, 224, 3), np.uint8)
    image[:] = squeezenet.MEAN_RGB
    assert not model.predict_on_batch(image)["maps"].any()
    image[:] = (255, 255, 255)
    assert model.predict_on_batch(image)["maps"].all()


def test_features_are_the_mean_of_the_maps(model):
    image = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3))
    out = model.predict_on_batch(image.astype(np.uint8))
    np.testing.assert_allclose(
        out["features"], out["maps"].mean((1, 2)), rtol=1e-5, atol=1e-6
    )


def test_other_crop_sizes_are_resized_in_the_graph():
    model = squeezenet.build((96, 128, 3), dtype="float32")
    assert model.output["maps"].shape == (None, 13, 13, 512)
    out = model.predict_on_batch(np.full((1, 96, 128, 3), 200, np.uint8))
    assert np.isfinite(out["features"]).all()
    assert out["features"].any()


def _keras2_file(path, model):
    """Writes a model's weights in the published file's layout."""
    with h5py.File(path, "w") as f:
        for layer in model.layers:
            if not layer.weights:
                continue
            name = layer.name.replace("_", "/")
            group = f.require_group(name)
            group.attrs["weight_names"] = [b"uniform", f"{name}_b".encode()]
            group["uniform"], group[f"{name}_b"] = layer.get_weights()
    return path


def test_load_weights_turns_the_first_kernel_to_rgb(tmp_path):
    one, other = squeezenet.build(), squeezenet.build()
    path = _keras2_file(tmp_path / "a.h5", one)
    squeezenet.load_weights(other, path)
    for a, b in zip(one.weights, other.weights, strict=True):
        a, b = a.numpy(), b.numpy()
        if a.shape == (3, 3, 3, 64):
            b = b[:, :, ::-1]
        np.testing.assert_array_equal(a, b)


def test_load_weights_refuses_a_file_without_a_layer(tmp_path, model):
    path = _keras2_file(tmp_path / "a.h5", model)
    with h5py.File(path, "a") as f:
        del f["fire5/expand3x3"]
    with pytest.raises(WeightsError, match="of a layer 'fire5/expand3x3'"):
        squeezenet.load_weights(model, path)
    with h5py.File(path, "a") as f:
        del f["conv1"]["uniform"]
        f["conv1"]["uniform"] = np.zeros((7, 7, 3, 96), np.float32)
    with pytest.raises(WeightsError, match=r"'conv1' .*\(7, 7, 3, 96\)"):
        squeezenet.load_weights(model, path)


@pytest.mark.real
def test_refuses_the_other_networks_file(test_data, model):
    path = test_data / "weights" / "fer2013_mini_xception.hdf5"
    with pytest.raises(WeightsError, match="no weights of a layer 'conv1'"):
        squeezenet.load_weights(model, path)


def _classifier(test_data, size):
    """The published network with the other publication's `conv10`."""
    model = squeezenet.build(
        (size, size, 3), network_size=size, include_top=True
    )
    folder = test_data / "weights"
    squeezenet.load_weights(model, folder / "squeezenet1_1_imagenet_notop.h5")
    with np.load(folder / NPZ) as z:
        model.get_layer("conv10").set_weights(
            [z["conv10.kernel"], z["conv10.bias"]]
        )
    return model


def _answers(model, test_data, photo):
    size = model.input.shape[1]
    image = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)
    out = model.predict_on_batch(image[None])
    assert out["maps"].shape == (1, 13, 13, 512)
    lines = (test_data / "weights" / "imagenet_synset_words.txt").open()
    with lines:
        names = [line.split(" ", 1)[1].split(",")[0].strip() for line in lines]
    p = out["probabilities"][0]
    return {names[i]: float(p[i]) for i in np.argsort(-p)[:3]}


@pytest.mark.real
def test_known_answers_at_227(test_data):
    model = _classifier(test_data, 227)
    cat = _answers(model, test_data, skimage.data.chelsea())
    assert list(cat) == ["Egyptian cat", "tiger cat", "tabby"]
    np.testing.assert_allclose(
        list(cat.values()), [0.46, 0.33, 0.20], atol=5e-3
    )
    cup = _answers(model, test_data, skimage.data.coffee())
    assert cup["espresso"] == pytest.approx(0.999, abs=1e-3)


@pytest.mark.real
def test_stored_size_is_as_good_as_227(test_data):
    model = _classifier(test_data, 224)
    cat = _answers(model, test_data, skimage.data.chelsea())
    assert list(cat) == ["Egyptian cat", "tiger cat", "tabby"]
    assert cat["Egyptian cat"] == pytest.approx(0.65, abs=0.01)
    assert _answers(model, test_data, skimage.data.coffee())["espresso"] > 0.999


@pytest.mark.real
def test_both_publications_agree(test_data):
    """The HDF5 file, rounded to fp16, is the converted Caffe model."""
    model = squeezenet.build()
    folder = test_data / "weights"
    squeezenet.load_weights(model, folder / "squeezenet1_1_imagenet_notop.h5")
    with np.load(folder / NPZ) as z:
        for layer in model.layers:
            if not layer.weights:
                continue
            kernel, bias = layer.get_weights()
            if layer.name == "conv1":
                kernel = kernel[:, :, ::-1]
            name = layer.name.replace("_", ".")
            half = kernel.astype(np.float16)
            np.testing.assert_array_equal(half, z[f"{name}.kernel"])
            np.testing.assert_array_equal(
                bias.astype(np.float16), z[f"{name}.bias"]
            )
