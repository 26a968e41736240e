"""`emorec.features.frozen`: constants in a session, float32 and bfloat16."""

import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from emorec.features import encoder, frozen, sessions

WIDTH = 8
needs_bfloat16 = pytest.mark.skipif(
    not sessions.has_bfloat16(),
    reason="this CPU has neither avx512_bf16 nor amx_bf16",
)


@pytest.fixture(scope="module")
def crops():
    """Faces and scenes cut from photographs, uint8 [12, 224, 224, 3]."""
    photos = [skimage.data.astronaut(), skimage.data.coffee()]
    places = [(0, 150, 160), (20, 170, 130), (0, 0, 400), (90, 60, 300)]
    cuts = [
        photo[y : y + side, x : x + side]
        for photo in photos
        for y, x, side in places
    ]
    return np.stack(
        [
            cv2.resize(np.ascontiguousarray(c), (224, 224))
            for c in (*cuts, *(c[:, ::-1] for c in cuts[:4]))
        ]
    )


@pytest.fixture
def normalised():
    """A convolution and a normalisation that does something."""
    image = keras.Input((WIDTH, WIDTH, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(image, {"features": x})
    rng = np.random.default_rng(3)
    model.set_weights(
        [rng.uniform(0.5, 2, w.shape) for w in model.get_weights()]
    )
    return model


def images(count):
    shape = (count, WIDTH, WIDTH, 3)
    return np.random.default_rng(4).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 5])
def test_a_frozen_network_answers_as_the_network(normalised, count):
    seen = images(count)
    made = frozen.frozen(normalised)(seen)["features"]
    assert made.dtype == np.float32 and made.shape == (count, 4)
    np.testing.assert_allclose(
        made, np.asarray(normalised(seen)["features"]), rtol=1e-5
    )


def test_a_frozen_network_keeps_the_weights_it_had(normalised):
    seen, run = images(3), frozen.frozen(normalised)
    before = run(seen)["features"]
    normalised.set_weights([w * 0 for w in normalised.get_weights()])
    np.testing.assert_array_equal(run(seen)["features"], before)
    assert before.any()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("processor : 0\nflags : fpu avx512f avx512_bf16 amx_tile\n", True),
        ("model : x\nflags\t\t: fpu amx_bf16\n", True),
        ("flags : fpu avx512f avx512_bf16x\n", False),
        ("model name : avx512_bf16\n", False),
        ("", False),
    ],
)
def test_the_cpu_says_whether_it_has_bfloat16(tmp_path, text, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert sessions.has_bfloat16(str(path)) is expected


def test_no_cpuinfo_is_no_bfloat16(tmp_path):
    assert sessions.has_bfloat16(str(tmp_path / "none")) is False


def cosines(a, b):
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / lengths


def check_bfloat16(made, crops):
    """Held for any weights; returns the cosines with float32."""
    plain = made.encode(crops)
    fast = made.encode_kinds(crops, ["features"], bfloat16=True)["features"]
    assert fast.dtype == np.float32
    # It did happen, and left the float32 path as it was.
    assert abs(fast - plain).max() > 1e-4 * abs(plain).max()
    np.testing.assert_array_equal(made.encode(crops), plain)
    return cosines(plain, fast)


@needs_bfloat16
@pytest.mark.parametrize("preset", ["mini_xception", "squeezenet"])
def test_bfloat16_stays_near_float32(preset, crops, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOREC_WEIGHTS_DIR", str(tmp_path))
    made = encoder.create(preset, allow_random=True, download=False)
    name, hash_ = made.weights["name"], made.hash
    assert check_bfloat16(made, crops).min() > frozen.LEAST_COSINE
    # What names stored features still means float32.
    assert (made.weights["name"], made.hash) == (name, hash_)


@needs_bfloat16
@pytest.mark.real
@pytest.mark.parametrize("preset", ["mini_xception", "squeezenet"])
def test_bfloat16_on_real_weights(preset, crops, test_data, monkeypatch):
    monkeypatch.setenv("EMOREC_WEIGHTS_DIR", str(test_data / "weights"))
    made = encoder.create(preset, download=False)
    assert check_bfloat16(made, crops).min() > frozen.LEAST_COSINE


@needs_bfloat16
def test_bfloat16_is_no_option_of_the_process(crops):
    made = encoder.create("mini_xception", allow_random=True, download=False)
    values = tf.constant(np.random.default_rng(5).normal(size=(64, 64)))
    values = tf.cast(values, tf.float32)
    product = tf.function(lambda x: tf.nn.relu(tf.matmul(x, x)))
    before = product(values).numpy()
    made.encode_kinds(crops[:1], ["features"], bfloat16=True)
    options = tf.config.optimizer.get_experimental_options()
    assert not options.get("auto_mixed_precision_onednn_bfloat16")
    np.testing.assert_array_equal(product(values).numpy(), before)


def test_without_bfloat16_the_answer_is_float32s(crops, monkeypatch):
    made = encoder.create("mini_xception", allow_random=True, download=False)
    plain = made.encode(crops[:2])
    monkeypatch.setattr(sessions, "has_bfloat16", lambda: False)
    same = made.encode_kinds(crops[:2], ["features"], bfloat16=True)
    np.testing.assert_array_equal(same["features"], plain)


LEAN = """
import gc, sys
from emorec.features import lean_tensorflow
lean_tensorflow.load()
import keras, tensorflow
assert gc.isenabled() and gc.get_freeze_count() > 100_000
found = [n for n in lean_tensorflow.UNUSED if n in sys.modules]
assert not found, found
import pandas
assert pandas.DataFrame({"a": [1]}).a.sum() == 1
import keras.ops
assert keras.ops.convert_to_numpy(keras.ops.ones(2)).sum() == 2
lean_tensorflow.load()
print(len(sys.modules))
"""


def test_the_lean_import_leaves_out_what_no_answer_needs():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LEAN],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
