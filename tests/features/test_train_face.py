"""From face images to the folder of a face encoder."""

import csv
import hashlib
import json
import pathlib

import keras
import numpy as np
import pytest
from testing.images import face, faces

from emorec.config import Config
from emorec.errors import TrainingError, WeightsError
from emorec.features import (
    face_images,
    face_loop,
    face_networks,
    keras_file,
    train_face,
)

SETTINGS = ["face_train.batch_size=24", "face_train.epochs=6"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> face_images.FaceImages:
    root = faces(tmp_path_factory.mktemp("faces"), 48)
    return face_images.read(root, 48, validation_share=0.25, max_left_out=0)


def train(images, folder, *changes, **choices):
    """Trains on images of 48 x 48, as small as these are."""
    config = Config().override(
        [*SETTINGS, "face_train.image_size=48", *changes]
    )
    return train_face.train(images, folder, config, **choices)


@pytest.fixture(scope="module")
def made(images, tmp_path_factory):
    """`(classifier, its folder)`, trained and saved; read-only."""
    folder = tmp_path_factory.mktemp("trained") / "face"
    told = []
    classifier = train(
        images,
        folder,
        on_start=lambda info: told.append(info["weights"]["initial"]),
        on_epoch=lambda epoch, figures: told.append(epoch),
    )
    assert told == ["random", *range(6)]
    assert (folder / "best.weights.h5").is_file()
    classifier.save(folder, {"validation": {"acc": 0.5}})
    return classifier, folder


def test_it_learns(made):
    classifier, _ = made
    answers = classifier.answers["validation"]
    assert list(classifier.answers) == ["validation"]
    assert len(answers.names) == len(answers.label_ids) == 36
    hits = answers.probabilities.argmax(axis=1) == answers.label_ids
    # Chance is a third.
    assert hits.mean() > 0.75
    best = classifier.history[classifier.info["best_epoch"]]
    assert best["val_accuracy"] == pytest.approx(hits.mean())
    assert best["val_loss"] == min(h["val_loss"] for h in classifier.history)
    chosen = answers.probabilities[np.arange(36), answers.label_ids]
    # Each class has as many images, so that its weight is 1.
    assert best["val_loss"] == pytest.approx(-np.log(chosen).mean(), rel=1e-4)


def test_the_file_gives_the_same_answers_of_raw_pixels(made, images):
    classifier, folder = made
    loaded = keras.saving.load_model(
        folder / "face_classifier.keras", safe_mode=True
    )
    assert loaded.input_shape == (None, 48, 48, 3)
    assert not [x for x in loaded.layers if x.name.startswith("random")]
    rows = images.rows["validation"]
    found = loaded.predict(images.pixels[rows].astype(np.float32), verbose=0)
    expected = classifier.answers["validation"].probabilities
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_new_face_is_told(made):
    classifier, _ = made
    seen = np.float32([face(kind, 1000, 48)[..., ::-1] for kind in range(3)])
    shares = classifier.model(seen, training=False).numpy()
    assert [classifier.labels[i] for i in shares.argmax(axis=1)] == [
        "happy",
        "sad",
        "surprise",
    ]


def test_the_folder_says_what_it_is(made, images):
    classifier, folder = made
    assert sorted(p.name for p in folder.iterdir()) == [
        "face_classifier.json",
        "face_classifier.keras",
        "history.json",
        "labels.txt",
        "metrics.json",
        "predictions.csv",
    ]
    info = json.loads((folder / "face_classifier.json").read_text())
    digest = hashlib.sha256((folder / "face_classifier.keras").read_bytes())
    assert info["sha256"] == digest.hexdigest()
    assert info["architecture"] == "mini_xception"
    assert info["image_size"] == 48 and info["seed"] == 0
    assert info["labels"]["names"] == ["happy", "sad", "surprise"]
    assert info["weights"] == {"initial": "random"}
    assert info["metrics"] == {"validation": {"acc": 0.5}}
    assert info["config"]["face_train"]["batch_size"] == 24
    assert info["data"]["fingerprint"] == images.fingerprint
    assert info["data"]["counts"] == {
        "train": dict.fromkeys(("happy", "sad", "surprise"), 36),
        "validation": dict.fromkeys(("happy", "sad", "surprise"), 12),
    }
    assert (folder / "labels.txt").read_text() == "happy\nsad\nsurprise\n"
    history = json.loads((folder / "history.json").read_text())
    assert history == {"epochs": classifier.history}
    with open(folder / "predictions.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    answers = classifier.answers["validation"]
    assert [r["image"] for r in rows] == answers.names
    assert all(r["split"] == "validation" for r in rows)
    assert all(r["image"].startswith(r["label"]) for r in rows)
    shares = [[float(r[f"p_{n}"]) for n in classifier.labels] for r in rows]
    np.testing.assert_allclose(shares, answers.probabilities, atol=1e-6)
    assert [r["predicted"] for r in rows] == [
        classifier.labels[i] for i in answers.probabilities.argmax(axis=1)
    ]


def test_the_folder_is_a_face_encoder(made):
    """It is one of the classifiers that `features.face_encoder` takes."""
    classifier, folder = made
    place = keras_file.find(folder, "raw")
    assert keras_file.labels_of(place, 3) == classifier.labels
    loaded = keras_file.read(place.file, place.pixels)
    assert loaded.classes == 3


@pytest.mark.long
def test_a_seed_gives_the_same_run(made, images, tmp_path):
    classifier, _ = made
    again = train(images, tmp_path, "face_train.epochs=2")
    assert again.history == classifier.history[:2]


@pytest.mark.long
def test_trained_on_with_the_last_layer_alone(made, images, tmp_path):
    classifier, folder = made
    tuned = train(
        images,
        tmp_path,
        "face_train.epochs=1",
        weights=folder / "face_classifier.keras",
        freeze=True,
    )
    weights = tuned.info["weights"]
    assert weights["head"] == "file" and tuned.info["freeze"]
    assert (
        weights["sha256"]
        == json.loads((folder / "face_classifier.json").read_text())["sha256"]
    )
    changed = {
        layer.name
        for layer in tuned.model.layers
        for ours, theirs in zip(
            layer.get_weights(),
            classifier.model.get_layer(layer.name).get_weights()
            if layer.weights
            else (),
        )
        if not np.array_equal(ours, theirs)
    }
    assert changed == {"conv2d_7"}
    assert all(layer.trainable for layer in tuned.model.layers)
    # It begins where the other one ended.
    assert tuned.history[0]["val_accuracy"] > 0.7


def test_a_finished_folder_is_not_trained_over(made, tmp_path):
    _, folder = made
    with pytest.raises(TrainingError) as e:
        train_face.check_free(folder, overwrite=False)
    assert str(e.value) == (
        f"{folder}: holds a trained face classifier; choose another "
        "--output_dir, or give --overwrite"
    )
    train_face.check_free(folder, overwrite=True)
    train_face.check_free(tmp_path / "new", overwrite=False)


def test_an_earlier_classifier_goes_when_training_begins(
    images, tmp_path, monkeypatch
):
    for name in (train_face.INFO, train_face.MODEL, train_face.BEST):
        (tmp_path / name).write_text("old")
    (tmp_path / ".saving-killed").mkdir()
    (tmp_path / "notes.txt").write_text("mine")

    def names():
        return sorted(p.name for p in pathlib.Path(tmp_path).iterdir())

    before = names()
    with pytest.raises(WeightsError):
        train(images, tmp_path, weights=tmp_path / "absent.h5")
    assert names() == before

    def fit(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(face_loop, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        train(images, tmp_path)
    assert names() == ["notes.txt"]


def test_a_full_disk_leaves_no_half_classifier(made, tmp_path, monkeypatch):
    classifier, _ = made

    def save(path):
        pathlib.Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(classifier.model, "save", save)
    with pytest.raises(Exception, match="face_classifier.keras: cannot be wri"):
        classifier.save(tmp_path, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_an_application_learns_too(images, tmp_path):
    made = train(
        images,
        tmp_path,
        "face_train.epochs=12",
        "face_train.learning_rate=0.0005",
        "face_train.rotation=0.0",
        "face_train.shift=0.03",
        architecture="mobilenetv2",
    )
    assert made.info["architecture"] == "MobileNetV2"
    assert made.model.output_shape == (None, 3)
    answers = made.answers["validation"]
    hits = answers.probabilities.argmax(axis=1) == answers.label_ids
    assert hits.mean() > 0.5
    assert face_networks.resolve("mobilenetv2") == made.info["architecture"]
