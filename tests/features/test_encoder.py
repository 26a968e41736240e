"""`emorec.features.encoder`: both presets, with random and real weights."""

import dataclasses
import functools
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import skimage.data

from emorec.config import FeatureConfig
from emorec.errors import (
    ConfigError,
    EmorecError,
    ModelError,
    WeightsError,
)
from emorec.features import encoder
from emorec.features.weights import WeightsNotFoundError
from emorec.labels import FER2013

PRESETS = ("squeezenet", "mini_xception")
OUTPUTS = {
    "squeezenet": {"features": (512,), "maps": (13, 13, 512)},
    "mini_xception": {
        "features": (128,),
        "maps": (4, 4, 128),
        "probabilities": (7,),
    },
}
# Of the published weights. Change one only with the preset's `VERSION`:
# stored features carry it.
HASHES = {"squeezenet": "12999b07b7ccf215", "mini_xception": "73015c6e7421882a"}


@pytest.fixture(scope="module")
def photos():
    """Four photographs, uint8 [4, 224, 224, 3]."""
    names = ("chelsea", "coffee", "astronaut", "rocket")
    images = [getattr(skimage.data, n)() for n in names]
    return np.stack(
        [
            cv2.resize(i, (224, 224), interpolation=cv2.INTER_AREA)
            for i in images
        ]
    )


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """No published weights anywhere: not in the cache, not in a wheel."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EMOREC_WEIGHTS_DIR", raising=False)
    for name in PRESETS:
        preset = encoder.PRESETS[name]
        source = dataclasses.replace(preset.source, package=None)
        monkeypatch.setitem(
            encoder.PRESETS, name, dataclasses.replace(preset, source=source)
        )


@functools.cache
def _random(preset, **kwargs):
    """Makes an encoder once: tracing it is what takes the time."""
    return _fresh(preset, **kwargs)


def _fresh(preset, **kwargs):
    return encoder.create(preset, allow_random=True, download=False, **kwargs)


def test_defaults_of_the_config_are_presets():
    assert FeatureConfig.face_encoder in encoder.PRESETS
    assert FeatureConfig.context_encoder in encoder.PRESETS


def test_unknown_preset():
    with pytest.raises(ConfigError) as e:
        encoder.create("vgg")
    assert str(e.value) == (
        "`--face_encoder`/`--context_encoder` (features.face_encoder, "
        "features.context_encoder) must be one of squeezenet, mini_xception, "
        "resnet50, or the path of a Keras classifier (a .keras or .h5 file, "
        "or a folder of `emorec train_face`). Received: 'vgg'"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_random_weights_only_when_allowed(preset, no_weights):
    with pytest.raises(WeightsNotFoundError, match="EMOREC_WEIGHTS_DIR"):
        encoder.create(preset, download=False)
    made = _random(preset, seed=3)
    assert made.weights == {
        "name": f"random {preset}",
        "sha256": None,
        "licence": None,
        "origin": None,
        "random": True,
        "seed": 3,
    }


def test_random_weights_do_not_replace_a_wrong_file(tmp_path, no_weights):
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"wrong")
    with pytest.raises(WeightsError, match=r"wrong\.h5: not the weights"):
        _fresh("squeezenet", path=wrong)
    with pytest.raises(WeightsError, match=r"absent\.h5: no such file"):
        _fresh("squeezenet", path=tmp_path / "absent.h5")


@pytest.mark.parametrize("preset", PRESETS)
def test_random_features_tell_images_apart(preset, no_weights, photos):
    features = _random(preset).encode(photos)
    assert features.shape == (4, *OUTPUTS[preset]["features"])
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 100
    # Nearly every feature varies between images, in independent ways.
    assert (features.std(0) > 1e-3).mean() > 0.9
    assert features.std(0).mean() > 0.05
    assert np.linalg.matrix_rank(features - features.mean(0)) == 3


@pytest.mark.parametrize("preset", PRESETS)
def test_seed_decides_weights_and_hash(preset, no_weights, photos):
    one, same, other = (_fresh(preset, seed=s) for s in (0, 0, 1))
    assert one.hash == same.hash != other.hash
    np.testing.assert_array_equal(one.encode(photos), same.encode(photos))
    assert not np.allclose(one.encode(photos), other.encode(photos), atol=1e-2)


@pytest.mark.parametrize("preset", PRESETS)
def test_features_do_not_depend_on_the_batch(preset, no_weights):
    made = _random(preset, crop_size=48)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 48, 48, 3), np.uint8)
    whole = made.encode(images)
    for batch in (1, 3, 7):
        np.testing.assert_allclose(
            made.encode(images, batch=batch), whole, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("preset", PRESETS)
def test_maps_average_to_the_features(preset, no_weights, photos):
    made = _random(preset)
    maps = made.encode(photos, "maps", 3)
    assert maps.shape == (4, *OUTPUTS[preset]["maps"])
    np.testing.assert_allclose(
        maps.mean((1, 2)), made.encode(photos), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_one_part_gives_several_kinds_in_one_pass(preset, no_weights, photos):
    made = _random(preset)
    assert made.outputs == OUTPUTS[preset]
    assert encoder.PRESETS[preset].outputs == OUTPUTS[preset]
    kinds = tuple(made.outputs)
    part = made.part(*kinds)
    assert part is made.part(*reversed(kinds))
    assert part is not made.part("maps")
    assert part.input.dtype == "uint8"
    assert {k: tuple(t.shape[1:]) for k, t in part.output.items()} == (
        made.outputs
    )
    together = part.predict_on_batch(photos)
    for kind in kinds:
        assert together[kind].dtype == np.float32
        np.testing.assert_allclose(
            together[kind], made.encode(photos, kind), rtol=1e-4, atol=1e-4
        )


def test_answers_of_the_classifier(no_weights, photos):
    made = _random("mini_xception")
    assert made.labels == FER2013
    answers = made.encode(photos, "probabilities")
    np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-5)


def test_a_kind_that_an_encoder_lacks(no_weights, photos):
    made = _random("squeezenet")
    assert made.labels == ()
    with pytest.raises(ModelError) as e:
        made.encode(photos, "probabilities")
    assert str(e.value) == (
        "the encoder squeezenet (random squeezenet) gives features, maps. "
        "Received: 'probabilities'; choose another encoder or another system"
    )
    with pytest.raises(ModelError, match="Received: 'no kind'"):
        made.part()


def test_nothing_is_trainable(no_weights):
    made = _random("mini_xception")
    assert made.part("features").trainable_weights == []


def test_images_are_checked(no_weights):
    made = _random("mini_xception")
    assert made.encode(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 128)
    with pytest.raises(ModelError, match=r"float32 \[1, 224, 224, 3\]"):
        made.encode(np.zeros((1, 224, 224, 3), np.float32))
    with pytest.raises(ModelError, match=r"uint8 \[224, 224, 3\]"):
        made.encode(np.zeros((224, 224, 3), np.uint8))
    with pytest.raises(
        ModelError, match=r"\[N, 224, 224, 3\]. Received: uint8"
    ):
        made.encode(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(ModelError, match="`batch` must be at least 1"):
        made.encode(np.zeros((1, 224, 224, 3), np.uint8), batch=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_save_and_load(preset, no_weights, tmp_path, photos):
    made = _random(preset, seed=5)
    made.save(tmp_path / "e")
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == [
        "encoder.json",
        "encoder.weights.h5",
    ]
    again = encoder.load(tmp_path / "e")
    assert (again.id, again.hash) == (preset, made.hash)
    assert (again.outputs, again.labels) == (made.outputs, made.labels)
    assert again.crop_size == 224
    assert again.weights == made.weights
    np.testing.assert_array_equal(again.encode(photos), made.encode(photos))


def test_a_full_disk_while_saving(no_weights, tmp_path, full_disk):
    """No file under its own name, no other left, and one line of error."""
    made = _random("mini_xception")
    made.save(tmp_path)
    name = "encoder.weights.h5"
    whole = (tmp_path / name).stat().st_size
    for size in (0, 5000, whole - 1000):
        with full_disk(size), pytest.raises(EmorecError) as e:
            made.save(tmp_path)
        assert str(e.value).startswith(f"{tmp_path / name}: cannot be written")
        assert "\n" not in str(e.value)
        assert not list(tmp_path.iterdir())


def test_load_refuses_what_was_changed(no_weights, tmp_path):
    made = _random("mini_xception")
    made.save(tmp_path)
    other = _random("mini_xception", seed=1)
    other.save(tmp_path / "other")
    os.replace(
        tmp_path / "other" / "encoder.weights.h5",
        tmp_path / "encoder.weights.h5",
    )
    with pytest.raises(ModelError) as e:
        encoder.load(tmp_path)
    assert f"must be {made.hash}. Received: {other.hash}" in str(e.value)


@pytest.mark.parametrize("keep", [0, 100, 5000, 0.5])
def test_load_refuses_a_cut_weight_file(keep, no_weights, tmp_path):
    _random("mini_xception").save(tmp_path)
    path = tmp_path / "encoder.weights.h5"
    content = path.read_bytes()
    size = int(keep * len(content)) if isinstance(keep, float) else keep
    path.write_bytes(content[:size])
    with pytest.raises(
        ModelError, match=r"encoder\.weights\.h5: cannot be read"
    ):
        encoder.load(tmp_path)
    path.unlink()
    with pytest.raises(ModelError, match=r"encoder\.weights\.h5 is absent"):
        encoder.load(tmp_path)


def test_load_refuses_another_networks_weights(no_weights, tmp_path):
    _random("mini_xception").save(tmp_path / "a")
    _random("squeezenet").save(tmp_path / "b")
    os.replace(
        tmp_path / "b" / "encoder.weights.h5",
        tmp_path / "a" / "encoder.weights.h5",
    )
    with pytest.raises(ModelError, match="holds no weights of a layer"):
        encoder.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "os.system"}, "unknown encoder 'os.system'; there is sq"),
        ({"encoder": 3}, "`encoder` must be str. Received: 3"),
        ({"format": 1}, "not an encoder's JSON of format 2; save it again"),
        ({"crop_size": True}, "`crop_size` must be int. Received: True"),
        ({"crop_size": 0}, "`crop_size` must be 1 to 4096. Received: 0"),
        ({"weights": None}, "`weights` must be dict. Received: None"),
        ({"weights": {}}, "`weights` must say whether they are random"),
        ({"labels": "happy"}, "`labels` must be list. Received: 'happy'"),
        ({"hash": "0" * 16}, "hash must be 0000000000000000"),
    ],
)
def test_load_checks_the_json(change, message, no_weights, tmp_path):
    _random("mini_xception").save(tmp_path)
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=message):
        encoder.load(tmp_path)


def test_load_of_no_encoder(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        encoder.load(tmp_path)
    for text in ("{", "[]", "[" * 60_000, "\xff"):
        (tmp_path / "encoder.json").write_text(text)
        with pytest.raises(ModelError, match="an encoder's JSON"):
            encoder.load(tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("preset", PRESETS)
def test_published_weights(preset, test_data, photos):
    made = encoder.create(preset, test_data / "weights", download=False)
    assert made.hash == HASHES[preset]
    assert made.weights["random"] is False
    assert made.weights["sha256"] == encoder.PRESETS[preset].source.sha256
    features = made.encode(photos)
    assert np.isfinite(features).all()
    for batch in (1, 3):
        np.testing.assert_allclose(
            made.encode(photos, batch=batch), features, rtol=1e-5, atol=1e-5
        )
    # The graph resizes: a larger crop of the same picture has near features.
    large = encoder.create(
        preset, test_data / "weights", crop_size=320, download=False
    )
    assert large.hash == made.hash
    big = np.stack([cv2.resize(p, (320, 320)) for p in photos])
    for a, b in zip(large.encode(big), features, strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.9


def test_module_is_free_of_tensorflow():
    """The encoders run on every Keras backend: none is named in them."""
    code = (
        "import ast, sys\n"
        "for path in sys.argv[1:]:\n"
        "    for node in ast.walk(ast.parse(open(path).read())):\n"
        "        names = [a.name for a in getattr(node, 'names', [])]\n"
        "        names.append(getattr(node, 'module', None) or '')\n"
        "        assert not any('tensorflow' in n for n in names), path\n"
    )
    folder = os.path.dirname(encoder.__file__)
    files = (
        "encoder encoder_presets squeezenet mini_xception resnet50 weights "
        "layer_weights keras_archive keras_check keras_cut keras_file"
    )
    paths = [os.path.join(folder, f"{f}.py") for f in files.split()]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
