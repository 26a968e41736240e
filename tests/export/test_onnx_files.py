"""ONNX directories: complete, proven, under their name only then."""

import dataclasses
import hashlib
import json
import os

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from testing import models

import emorec
from emorec.errors import ExportError, ModelError
from emorec.evaluation.metrics import softmax
from emorec.export import onnx_files, onnx_proof
from emorec.features import precomputed
from emorec.features.encoders import Encoders
from emorec.training import bundle as bundles

FILES = {
    "data_card.md",
    "emorec.json",
    "labels.txt",
    "model.onnx",
    "model_card.md",
    "face_encoder.onnx",
    "context_encoder.onnx",
    "pnet.onnx",
    "rnet.onnx",
    "onet.onnx",
}


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


def test_the_directory(onnx_dir, bundle):
    folder = onnx_dir
    assert {p.name for p in folder.iterdir()} == {*FILES, "onnx.json"}
    # Nothing of the work stays beside it.
    assert [p.name for p in folder.parent.iterdir()] == ["onnx"]
    assert os.stat(folder).st_mode & 0o055 == 0o055
    described = json.loads((folder / "emorec.json").read_text())
    assert described == bundle.describe()
    labels = (folder / "labels.txt").read_text().splitlines()
    assert labels == [*bundle.labels.names]


def test_what_is_said_of_it(onnx_dir):
    folder = onnx_dir
    said = json.loads((folder / "onnx.json").read_text())
    differences = said["differences"]
    assert said["opset"] == 17
    assert said["operators"] == {"LSTM": 2, "Loop": 1}
    assert said["versions"]["emorec"] == emorec.__version__
    assert said["versions"]["onnxruntime"] == onnxruntime.__version__
    assert said["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in FILES
    }
    assert set(differences) == {n for n in FILES if n.endswith(".onnx")}
    model = differences["model.onnx"]
    assert set(model) == {"logits", "probabilities", "attention"}
    for measured in differences.values():
        assert all(0 <= d <= said["tolerance"] for d in measured.values())


def test_from_crops_to_probabilities_as_in_keras(onnx_dir, bundle):
    folder = onnx_dir
    rng = np.random.default_rng(1)
    side = bundle.config.clip.crop_size
    mask = np.array([[True, True, True], [True, False, False]])
    expected, found = {"mask": mask}, {"mask": mask}
    for stream, encoder in bundle.encoders.items():
        small = rng.integers(0, 256, (4, 7, 7, 3), np.uint8)
        images = np.repeat(np.repeat(small, side // 7, 1), side // 7, 2)
        session = onnxruntime.InferenceSession(
            folder / f"{stream}_encoder.onnx"
        )
        for values, made in (
            (expected, encoder.encode(images)),
            (found, session.run(["features"], {"images": images})[0]),
        ):
            padded = np.zeros((*mask.shape, made.shape[-1]), np.float32)
            padded[mask] = made
            values[f"{stream}_features"] = padded
    answer = bundle.model(expected, training=False)
    outputs = ["logits", "attention"]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for key, value in zip(outputs, session.run(outputs, found), strict=True):
        np.testing.assert_allclose(value, answer[key], rtol=0, atol=1e-5)
    assert np.abs(np.diff(answer["logits"], axis=0)).max() > 1e-3


def test_it_answers_as_the_saved_model(onnx_dir, bundle, base_path):
    folder = onnx_dir
    inputs = models.inputs_of(bundle.model, (1, 6, 9), 9)
    served = tf.saved_model.load(str(base_path / "1")).signatures["features"](
        **{k: tf.constant(v) for k, v in inputs.items()}
    )
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    logits, attention = session.run(["logits", "attention"], inputs)
    answers = {"probabilities": softmax(logits), "attention": attention}
    for key, found in answers.items():
        np.testing.assert_allclose(found, served[key], rtol=0, atol=1e-5)


def test_what_is_there_is_not_written_over(bundle, tmp_path):
    (tmp_path / "mine").write_text("mine")
    os.symlink(tmp_path / "nowhere", tmp_path / "link")
    for folder in (tmp_path, tmp_path / "mine", tmp_path / "link"):
        with pytest.raises(ExportError) as caught:
            onnx_files.export(bundle, folder)
        assert str(caught.value) == (
            f"{folder}: exists already and is not an empty folder, and an "
            "export is not written over; name another folder"
        )
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_remote_folder_is_refused(bundle):
    with pytest.raises(ExportError, match="^s3://b/onnx: an ONNX directory"):
        onnx_files.export(bundle, "s3://b/onnx")


def test_a_folder_that_cannot_be_made(bundle, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExportError) as caught:
        onnx_files.export(bundle, tmp_path / "file" / "a" / "onnx")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/file/a/onnx: the export failed (")
    assert said.endswith(
        "Not a directory: '%s'); nothing was written there"
        % (tmp_path / "file" / "a")
    )


@pytest.fixture(scope="module")
def tiny(bundle):
    """What is exported in a second: it reads no stream."""
    return bundles.Bundle(
        models.build("majority", classes=len(bundle.labels)),
        Encoders(),
        bundle.config.override(["model.system=majority"]),
        bundle.labels,
        bundle.info,
    )


def test_an_empty_folder_is_taken(tiny, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    differences = onnx_files.export(tiny, folder)
    # It reads no stream and so has no encoder.
    assert {p.name for p in folder.iterdir()} == {
        *(n for n in FILES if "encoder" not in n),
        "onnx.json",
    }
    said = json.loads((folder / "onnx.json").read_text())
    assert said["operators"] == {}
    assert said["differences"] == differences
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_what_is_not_proven_does_not_appear(tiny, tmp_path, monkeypatch):
    seen = []

    def checked(path, model):
        seen.extend(path.parent.parent.iterdir())
        return real(path, models.build("majority", seed=1, classes=8))

    real = onnx_proof.check_model
    monkeypatch.setattr(onnx_proof, "check_model", checked)
    with pytest.raises(ExportError, match="^model.onnx: logits differs by "):
        onnx_files.export(tiny, tmp_path / "onnx")
    # It was written beside its place, and is gone.
    assert [p.name[:6] for p in seen] == [".onnx-"]
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tiny, tmp_path, full_disk):
    with (
        full_disk(50_000),
        pytest.raises(ExportError, match=r"failed \(.*File too large\); noth"),
    ):
        onnx_files.export(tiny, tmp_path / "onnx")
    assert not list(tmp_path.iterdir())


def test_given_features_are_refused(bundle, tmp_path):
    given = Encoders(
        precomputed.Precomputed("made up", 128),
        precomputed.Precomputed("made up", 512),
    )
    made = dataclasses.replace(bundle, encoders=given)
    with pytest.raises(ModelError, match="train one on videos to export it"):
        onnx_files.export(made, tmp_path / "onnx")
    assert not list(tmp_path.iterdir())
