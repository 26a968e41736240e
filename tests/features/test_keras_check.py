"""Hostile descriptions: nothing in a Keras file runs or fills memory."""

import json
import resource

import keras
import pytest
from keras import layers
from testing import keras_files
from testing.keras_files import config_of, named, put_config, refused

from emorec.errors import ModelError
from emorec.features import encoder, keras_check


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a harmless classifier, as .keras and as HDF5."""
    folder = tmp_path_factory.mktemp("good")
    for name in ("m.keras", "m.h5"):
        keras_files.model().save(folder / name)
    return {p.suffix[1:]: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def marker(tmp_path):
    """A file that hostile code would write."""
    return tmp_path / "pwned"


def _edited(good, kind, tmp_path, edit):
    """A Keras file whose `first` layer is changed by edit(layer)."""
    path = tmp_path / f"m.{kind}"
    path.write_bytes(good[kind])
    config = config_of(path)
    edit(next(named(config, "first")))
    put_config(path, config)
    return path


def _writes(marker):
    """A lambda whose code writes a file when it is called."""
    name = str(marker)
    return eval(f"lambda x: (open({name!r}, 'w').close(), x)[1]")


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("nested", [False, True])
def test_lambda_is_refused_and_not_run(kind, nested, marker, tmp_path):
    hostile = layers.Lambda(_writes(marker))
    if nested:
        hostile = keras.Sequential([layers.Input((6, 6, 4)), hostile])
    path = tmp_path / f"m.{kind}"
    keras_files.model(hostile).save(path)
    marker.unlink()
    # The code is real: without safe mode Keras runs it.
    keras.models.load_model(path, safe_mode=False, compile=False)
    assert marker.exists()
    marker.unlink()
    refused(path, r"the class '(keras\.layers\.)?Lambda' is not allowed")
    assert not marker.exists()
    # So too for a folder of `train_face` and for a saved encoder.
    if kind == "keras":
        path.rename(tmp_path / "face_classifier.keras")
        with pytest.raises(ModelError, match="Lambda"):
            encoder.create(tmp_path, crop_size=keras_files.SIDE)
    assert not marker.exists()


def test_a_saved_encoder_is_checked_again(good, marker, tmp_path):
    (tmp_path / "m.keras").write_bytes(good["keras"])
    encoder.create(tmp_path / "m.keras", crop_size=keras_files.SIDE).save(
        tmp_path / "e"
    )
    hostile = layers.Lambda(_writes(marker), output_shape=(6, 6, 4))
    keras_files.model(hostile).save(tmp_path / "e" / "encoder.keras")
    marker.unlink(missing_ok=True)
    with pytest.raises(ModelError, match="Lambda' is not allowed"):
        encoder.load(tmp_path / "e")
    assert not marker.exists()


def _code(marker):
    """Marshalled code in JSON, as Keras writes a lambda's."""
    found = layers.Lambda(_writes(marker)).get_config()["function"]
    assert found["class_name"] == "__lambda__"
    return found


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("field", ["activation", "kernel_initializer", "name"])
def test_marshalled_code_anywhere(kind, field, good, marker, tmp_path):
    path = _edited(
        good,
        kind,
        tmp_path,
        lambda layer: layer["config"].update({field: _code(marker)}),
    )
    refused(path, "the class '__lambda__' is not allowed")
    assert not marker.exists()


@pytest.mark.parametrize("package", ["emorec_hostile", "keras_nlp"])
@pytest.mark.parametrize("place", ["layer", "activation", "initializer"])
def test_no_module_is_imported(
    package, place, good, marker, tmp_path, monkeypatch
):
    """CVE-2025-1550; Keras 3.15 still imports four packages by any name."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    hostile = {
        "module": package,
        "class_name": "Evil",
        "config": {"name": "first"},
        "registered_name": None,
    }

    def edit(layer):
        if place == "layer":
            layer.update(hostile)
        elif place == "activation":
            layer["config"]["activation"] = {
                **hostile,
                "class_name": "function",
                "config": "evil",
            }
        else:
            layer["config"]["kernel_initializer"] = hostile

    path = _edited(good, "keras", tmp_path, edit)
    refused(path, f"'{package}")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name", "config"),
    [
        ("keras.layers", "TFSMLayer", {"filepath": "/etc"}),
        ("keras.layers", "TorchModuleWrapper", {"module": {}}),
        ("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
        ("keras.layers", "Layer", {}),
        ("keras.utils", "get_file", {"origin": "http://127.0.0.1/"}),
        ("keras.src.utils.file_utils", "get_file", {}),
        ("keras.models", "load_model", {}),
        ("builtins", "eval", {}),
        ("os", "system", {}),
        (["keras.layers"], "Dense", {}),
        (None, "__typespec__", {}),
        (None, "TypeSpec", {}),
        (None, "CompositeTensor", {}),
        ("keras.layers", 3, {}),
        ("keras.layers", ["Dense"], {}),
    ],
)
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_only_layers_that_compute(module, name, config, kind, good, tmp_path):
    value = {"class_name": name, "config": {"name": "first", **config}}
    if module:
        value["module"] = module
    path = _edited(good, kind, tmp_path, lambda layer: layer.update(value))
    refused(path, "is not allowed in a Keras file")


@pytest.mark.parametrize(
    ("function", "module"),
    [
        ("eval", "builtins"),
        ("deserialize", "builtins"),
        ("get_file", "keras.utils"),
        ("relu", "os"),
    ],
)
def test_only_activations_are_functions(function, module, good, tmp_path):
    value = {
        "class_name": "function",
        "module": module,
        "config": function,
        "registered_name": function,
    }
    path = _edited(
        good,
        "keras",
        tmp_path,
        lambda layer: layer["config"].update(activation=value),
    )
    refused(path, "function")


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize(
    "field", ["activation", "kernel_initializer", "bias_constraint"]
)
def test_names_of_other_functions(kind, field, good, tmp_path):
    path = _edited(
        good,
        kind,
        tmp_path,
        lambda layer: layer["config"].update({field: "deserialize"}),
    )
    refused(path, f"`{field}` 'deserialize' is not allowed")


def test_what_this_process_has_registered(good, marker, tmp_path, monkeypatch):
    """A name would come before the class, and be another package's."""

    def harmful(*args, **kwargs):
        marker.touch()
        return args[0]

    known = keras.saving.get_custom_objects()
    monkeypatch.setitem(known, "other>Evil", harmful)
    for update in (
        {"registered_name": "other>Evil"},
        {"class_name": "other>Evil"},
        {"registered_name": "emorec>Resample"},
    ):
        path = _edited(
            good, "keras", tmp_path, lambda layer, u=update: layer.update(u)
        )
        refused(path, "is not allowed")
    for kind in ("keras", "h5"):
        for field in ("activation", "padding"):
            path = _edited(
                good,
                kind,
                tmp_path,
                lambda layer, f=field: layer["config"].update(
                    {f: "other>Evil"}
                ),
            )
            refused(path, f"`{field}` 'other>Evil' is not allowed")
    assert not marker.exists()


def test_how_it_was_compiled_is_left_out(good, marker, tmp_path, monkeypatch):
    (tmp_path / "emorec_hostile.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "m.keras"
    path.write_bytes(good["keras"])
    config = config_of(path)
    config["compile_config"] = {
        "loss": {
            "module": "emorec_hostile",
            "class_name": "function",
            "config": "evil",
            "registered_name": "evil",
        }
    }
    put_config(path, config)
    encoder.create(path, crop_size=keras_files.SIDE)
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_description_that_asks_for_memory(kind, good, tmp_path):
    """8 GB of weights that are not in the file are never allocated."""
    path = tmp_path / f"m.{kind}"
    path.write_bytes(good[kind])
    config = config_of(path)
    next(named(config, "first"))["config"]["filters"] = 75_000_000
    put_config(path, config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, "cannot load it")
    # KiB: well below the 8 GB asked for.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


def test_a_layer_that_would_fill_the_memory(tmp_path):
    path = tmp_path / "m.keras"
    keras_files.model(layers.UpSampling2D(1000)).save(path)
    with pytest.raises(ModelError, match="gives more than 67108864 numbers"):
        encoder.create(path, crop_size=keras_files.SIDE)


def test_an_input_as_large_as_it_likes(good, tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(good["keras"])
    text = json.dumps(config_of(path))
    text = text.replace("[null, 8, 8, 3]", "[null, 8, 80000, 3]")
    put_config(path, text)
    refused(path, "an input may be 4096 wide at most. Received: 80000")


def test_too_many_layers():
    layer = {"module": "keras.layers", "class_name": "ReLU", "config": {}}
    fine = {"layers": [layer] * keras_check.MAX_LAYERS}
    keras_check.check(fine, "m")
    with pytest.raises(ModelError, match="5000 layers at most. Received: 5001"):
        keras_check.check({"layers": [*fine["layers"], layer]}, "m")
