"""Keras files of others for tests: harmless ones, and edited ones."""

import json
import zipfile

import h5py
import keras
import pytest
from keras import layers

from emorec.errors import ModelError
from emorec.features import encoder

SIDE = 8


def model(*more):
    """A small classifier; `more` comes behind its first layer."""
    return keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(4, 3, name="first"),
            *more,
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", name="last"),
        ]
    )


def config_of(path):
    """Returns the description of the model in a file."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as z:
            return json.loads(z.read("config.json"))
    with h5py.File(path) as f:
        return json.loads(f.attrs["model_config"])


def put_config(path, config):
    """Puts another description into a Keras file."""
    text = config if isinstance(config, str) else json.dumps(config)
    if path.suffix == ".h5":
        with h5py.File(path, "a") as f:
            f.attrs["model_config"] = text
        return
    with zipfile.ZipFile(path) as z:
        members = {n: z.read(n) for n in z.namelist()}
    members["config.json"] = text.encode()
    with zipfile.ZipFile(path, "w") as z:
        for name, content in members.items():
            z.writestr(name, content)


def named(value, name):
    """Yields the descriptions of a layer of this name."""
    if isinstance(value, dict):
        inner = value.get("config")
        if isinstance(inner, dict) and inner.get("name") == name:
            yield value
        for v in value.values():
            yield from named(v, name)
    elif isinstance(value, list):
        for v in value:
            yield from named(v, name)


def refused(path, match):
    """Holds that a file is no encoder, for a reason in one line."""
    with pytest.raises(ModelError, match=match) as e:
        encoder.create(path, crop_size=SIDE)
    assert "\n" not in str(e.value) and len(str(e.value)) < 600
    assert str(path) in str(e.value)
