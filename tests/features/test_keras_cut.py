"""Keras classifiers of others, cut before their last layer."""

import keras
import numpy as np
import pytest
from keras import layers

from emorec.errors import ConfigError, ModelError
from emorec.features import encoder
from emorec.features.mini_xception import GREY, Resample

SIDE = 12


@pytest.fixture(scope="module")
def crops():
    """uint8 [5, 12, 12, 3]."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


def _backbone(pooling=None):
    """A network as `keras.applications` gives it, to be nested."""
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(image)
    x = layers.Conv2D(6, 3, activation="relu", name="second")(x)
    if pooling:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, x, name="backbone")


def _sequential():
    return keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.RandomFlip(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(7, activation="relu", name="hidden"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _nested(pooling=None):
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, -1.0)(image)
    x = _backbone(pooling)(x, training=False)
    if not pooling:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(3, activation="softmax")(layers.Dropout(0.3)(x))
    return keras.Model(image, x)


def _whole_classifier_nested():
    inner = keras.Sequential(
        [_backbone("avg"), layers.Dense(3, activation="softmax")]
    )
    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, inner(layers.Rescaling(1 / 255)(image)))


def _convolution_at_the_end():
    """As mini-XCEPTION: no dense layer, the softmax is a layer of its own."""
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(5, 3, activation="relu", name="maps")(x)
    x = layers.Conv2D(3, 3)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Activation("softmax")(x))


def _pooling_that_keeps_places():
    """As MobileNet."""
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(5, 3, activation="relu", name="maps")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Reshape((3,))(layers.Conv2D(3, 1)(layers.Dropout(0.1)(x)))
    return keras.Model(image, layers.Softmax()(x))


def _arithmetic():
    """Operators in the graph, and this package's own layer."""
    image = keras.Input((30, 20, 3), dtype="uint8")
    x = Resample((SIDE, SIDE), GREY)(image)
    x = layers.Conv2D(4, 3, name="maps")(x / 255.0 - 0.5)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(3, activation="softmax")(x))


def _mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return _nested()
    finally:
        keras.config.set_dtype_policy("float32")


CASES = {
    "sequential": (_sequential, (7,), (5, 5, 4)),
    "nested": (_nested, (6,), (8, 8, 6)),
    "nested_pooled": (lambda: _nested("avg"), (6,), (8, 8, 6)),
    "whole_nested": (_whole_classifier_nested, (6,), (8, 8, 6)),
    "convolution": (_convolution_at_the_end, (5,), (10, 10, 5)),
    "keepdims": (_pooling_that_keeps_places, (5,), (10, 10, 5)),
    "arithmetic": (_arithmetic, (4,), (10, 10, 4)),
    "mixed_precision": (_mixed_precision, (6,), (8, 8, 6)),
}


def _saved(model, path):
    model.save(path)
    return path


def _create(path, **kwargs):
    return encoder.create(
        path, crop_size=kwargs.pop("crop_size", SIDE), **kwargs
    )


@pytest.mark.parametrize("case", CASES)
def test_any_classifier_is_cut(case, crops, tmp_path):
    build, features, maps = CASES[case]
    model = build()
    made = _create(_saved(model, tmp_path / "m.keras"))
    assert made.id == "keras_file"
    assert made.outputs == {
        "features": features,
        "maps": maps,
        "probabilities": (3,),
    }
    out = made.part(*made.outputs).predict_on_batch(crops)
    assert {o.dtype.name for o in out.values()} == {"float32"}
    # `Resample` with the file's own size leaves the pixels as they are.
    if case != "arithmetic":
        np.testing.assert_allclose(
            out["probabilities"],
            np.asarray(model.predict_on_batch(crops), np.float32),
            atol=1e-6,
        )
    assert out["probabilities"].std(0).max() > 1e-4
    # All in one pass, or each alone.
    for kind in made.outputs:
        np.testing.assert_allclose(
            made.encode(crops, kind, 2), out[kind], rtol=1e-2, atol=1e-5
        )
    made.save(tmp_path / "e")
    again = encoder.load(tmp_path / "e")
    assert (again.hash, again.outputs) == (made.hash, made.outputs)
    np.testing.assert_array_equal(again.encode(crops), made.encode(crops))


@pytest.mark.parametrize("case", ["nested", "nested_pooled", "convolution"])
def test_features_are_the_mean_of_the_maps(case, crops, tmp_path):
    made = _create(_saved(CASES[case][0](), tmp_path / "m.keras"))
    np.testing.assert_allclose(
        made.encode(crops, "maps").mean((1, 2)),
        made.encode(crops),
        rtol=1e-5,
        atol=1e-6,
    )


def test_features_are_what_goes_into_the_last_layer(crops, tmp_path):
    model = _sequential()
    made = _create(_saved(model, tmp_path / "m.keras"))
    hidden = keras.Model(model.inputs, model.get_layer("hidden").output)
    np.testing.assert_allclose(
        made.encode(crops), hidden.predict_on_batch(crops), atol=1e-6
    )


@pytest.mark.parametrize("case", ["sequential", "nested_pooled", "convolution"])
def test_h5_and_keras_files_are_the_same_encoder(case, crops, tmp_path):
    model = CASES[case][0]()
    one = _create(_saved(model, tmp_path / "m.keras"))
    other = _create(_saved(model, tmp_path / "m.h5"))
    assert one.hash == other.hash
    assert one.weights["sha256"] != other.weights["sha256"]
    np.testing.assert_array_equal(one.encode(crops), other.encode(crops))


def test_how_it_was_compiled_does_not_matter(crops, tmp_path):
    model = _sequential()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
    model.fit(crops, np.arange(5) % 3, verbose=0)
    made = _create(_saved(model, tmp_path / "m.keras"))
    np.testing.assert_allclose(
        made.encode(crops, "probabilities"),
        model.predict_on_batch(crops),
        atol=1e-6,
    )
    assert made._network.trainable_weights == []


def _ending(activation, head=3):
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    return keras.Model(image, layers.Dense(head, activation=activation)(x))


def test_a_softmax_is_put_where_there_is_none(crops, tmp_path):
    model = _ending(None)
    path = _saved(model, tmp_path / "m.keras")
    made = _create(path, file_pixels="unit")
    scores = np.exp(model.predict_on_batch(crops / np.float32(255)))
    np.testing.assert_allclose(
        made.encode(crops, "probabilities"),
        scores / scores.sum(1, keepdims=True),
        rtol=1e-4,
        atol=1e-6,
    )
    note = "a softmax was added to its linear answer"
    assert made.weights["note"] == note
    made.save(tmp_path / "e")
    assert encoder.load(tmp_path / "e").weights == made.weights
    whole = _create(_saved(_ending("softmax"), tmp_path / "s.keras"))
    assert "note" not in whole.weights


def test_other_activations_are_no_probabilities(tmp_path):
    made = _create(_saved(_ending("sigmoid"), tmp_path / "m.keras"))
    assert made.outputs == {"features": (4,), "maps": (10, 10, 4)}
    with pytest.raises(ModelError, match=r"keras_file \(m\.keras\) gives feat"):
        made.part("probabilities")


def test_pixels_are_no_maps(tmp_path):
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(3, activation="softmax")(x)
    made = _create(_saved(keras.Model(image, x), tmp_path / "m.keras"))
    assert made.outputs == {"features": (432,), "probabilities": (3,)}


def _seen(channels, tmp_path, pixels):
    """What a file's first layer sees of one grey-less colour."""
    image = keras.Input((4, 4, channels))
    x = layers.Conv2D(channels, 1, name="maps")(image)
    y = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, y)
    kernel = np.eye(channels)[None, None]
    model.get_layer("maps").set_weights([kernel, np.zeros(channels)])
    path = _saved(model, tmp_path / "m.keras")
    made = _create(path, file_pixels=pixels, crop_size=8)
    crop = np.empty((1, 8, 8, 3), np.uint8)
    crop[:] = (255, 102, 0)
    return made.encode(crop)[0], made.hash


def test_file_pixels(tmp_path):
    grey = 0.299 * 255 + 0.587 * 102
    expected = {
        (3, "raw"): (255, 102, 0),
        (3, "unit"): (1, 0.4, 0),
        (3, "signed"): (1, -0.2, -1),
        (3, "caffe"): (-103.939, 102 - 116.779, 255 - 123.68),
        (1, "raw"): (grey,),
        (1, "unit"): (grey / 255,),
        (1, "signed"): (grey / 127.5 - 1,),
    }
    hashes = set()
    for (channels, pixels), values in expected.items():
        seen, made = _seen(channels, tmp_path, pixels)
        np.testing.assert_allclose(seen, values, rtol=1e-4, atol=1e-3)
        hashes.add(made)
    # The same files with other pixels are other encoders.
    assert len(hashes) == len(expected)
    with pytest.raises(
        ModelError, match="takes grey images, which .*caffe` do"
    ):
        _seen(1, tmp_path, "caffe")
    with pytest.raises(ConfigError) as e:
        _seen(3, tmp_path, "0..1")
    assert str(e.value) == (
        "config `features.file_pixels` must be one of raw, unit, signed, "
        "caffe. Received: '0..1'"
    )


def test_any_input_size(crops, tmp_path):
    """A network without a fixed size gets 224."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, 3, strides=2)(image)
    x = layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling2D()(x))
    made = _create(_saved(keras.Model(image, x), tmp_path / "m.keras"))
    assert made.outputs["maps"] == (111, 111, 2)
    assert made.encode(crops).shape == (5, 2)


def _multiple_inputs():
    one, two = keras.Input((4, 4, 3)), keras.Input((4, 4, 3))
    x = layers.Flatten()(layers.Add()([one, two]))
    return keras.Model([one, two], layers.Dense(3)(x))


def _normalised_last():
    image = keras.Input((4, 4, 3))
    x = layers.Dense(3)(layers.Flatten()(image))
    return keras.Model(image, layers.BatchNormalization()(x))


def _two_heads():
    image = keras.Input((4, 4, 3))
    x = layers.Flatten()(image)
    return keras.Model(
        image, layers.Average()([layers.Dense(3)(x), layers.Dense(3)(x)])
    )


def _of(shape, *more):
    return keras.Sequential([layers.Input(shape), *more])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_multiple_inputs, "must take one image"),
        (lambda: _of((4, 4, 4), layers.Flatten(), layers.Dense(3)), "1 or 3"),
        (lambda: _of((3, 9, 9), layers.Flatten(), layers.Dense(3)), "1 or 3"),
        (lambda: _of((8,), layers.Dense(3)), r"Received: \[\(None, 8\)\]"),
        (lambda: _of((4, 4, 3), layers.Conv2D(3, 1)), "must answer"),
        (_normalised_last, "must be a Dense or a Conv2D of 3 outputs"),
        (_two_heads, "in a line with the answer"),
        (lambda: _of((4, 4, 3), layers.Flatten()), "of 48 outputs"),
        (
            lambda: _of(
                (4, 4, 3),
                layers.Reshape((16, 3)),
                layers.Dense(3),
                layers.GlobalAveragePooling1D(),
            ),
            r"'dense.*', must be \[N, D\] or \[N, h, w, C\]",
        ),
    ],
)
def test_what_is_no_classifier(build, message, tmp_path):
    with pytest.raises(ModelError, match=message) as e:
        _create(_saved(build(), tmp_path / "m.keras"))
    assert "m.keras: " in str(e.value) and "\n" not in str(e.value)
