"""Trains a classifier of face images, whose result is a face encoder.

The folder that comes of it:

    face_classifier.keras     f32 [B, s, s, 3], RGB 0 to 255 -> f32 [B, K]
    labels.txt                the K classes, one a line
    history.json              figures of each epoch
    metrics.json              metrics of validation and test
    predictions.csv           the answer for each of their images
    face_classifier.json      what all this is; written last

While it trains, `best.weights.h5` holds the weights of the best epoch so far,
for `--weights` of another run after this one was stopped.
"""

import csv
import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Callable

import keras
import numpy as np

import emorec
from emorec.config import Config
from emorec.data import files
from emorec.errors import TrainingError
from emorec.features import (
    face_loop,
    face_networks,
    face_weights,
    keras_file,
    layer_weights,
)
from emorec.features.face_images import FaceImages

FORMAT = 1
INFO = "face_classifier.json"
MODEL = keras_file.FOLDER_FILE
LABELS = keras_file.LABELS_FILE
HISTORY = "history.json"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
BEST = "best.weights.h5"


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier says of the n images of a split.

    Attributes:
        names: n names, as `FaceImages` has them.
        label_ids: int64 [n], the true classes.
        probabilities: f32 [n, K].
    """

    names: list[str]
    label_ids: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FaceClassifier:
    """A trained classifier.

    Attributes:
        model: The network of the best epoch.
        labels: Its K classes.
        info: All of `face_classifier.json` but the metrics and the hash.
        history: One dict an epoch: `loss`, `accuracy`, `val_loss` and
            `val_accuracy`; both losses carry the class weights.
        answers: split -> answers, for `validation` and, where there is one,
            `test`.
    """

    model: keras.Model
    labels: tuple[str, ...]
    info: dict
    history: list[dict]
    answers: dict[str, Answers]

    def save(self, folder: str | os.PathLike, metrics: dict) -> None:
        """Writes the folder; `face_classifier.json` last completes it.

        Args:
            folder: Where to.
            metrics: split -> metrics, ready for JSON.

        Raises:
            EmorecError: A file cannot be written.
        """
        folder = pathlib.Path(folder)
        layer_weights.save_atomically(folder / MODEL, self.model.save)
        with files.atomic(folder / LABELS) as temporary:
            temporary.write_text(
                "".join(f"{n}\n" for n in self.labels), encoding="utf-8"
            )
        files.write_json(folder / HISTORY, {"epochs": self.history})
        files.write_json(folder / METRICS, metrics)
        self._write_predictions(folder / PREDICTIONS)
        with open(folder / MODEL, "rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        files.write_json(
            folder / INFO, {**self.info, "metrics": metrics, "sha256": digest}
        )
        (folder / BEST).unlink(missing_ok=True)

    def _write_predictions(self, path):
        with (
            files.atomic(path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as f,
        ):
            writer = csv.writer(f)
            columns = (f"p_{name}" for name in self.labels)
            writer.writerow(["split", "image", "label", "predicted", *columns])
            for split, answers in self.answers.items():
                for name, label_id, shares in zip(
                    answers.names, answers.label_ids, answers.probabilities
                ):
                    writer.writerow(
                        [
                            split,
                            name,
                            self.labels[label_id],
                            self.labels[int(shares.argmax())],
                            *(f"{p:.6f}" for p in shares),
                        ]
                    )


def check_free(folder: str | os.PathLike, overwrite: bool) -> None:
    """Refuses to train over a finished classifier, before any work.

    Args:
        folder: The folder of the result; it need not exist.
        overwrite: Whether an earlier one may go. It goes when the training
            begins, not before images and weights were read.

    Raises:
        TrainingError: There is one, and it is to stay.
    """
    if (pathlib.Path(folder) / INFO).exists() and not overwrite:
        raise TrainingError(
            f"{folder}: holds a trained face classifier; choose another "
            "--output_dir, or give --overwrite"
        )


def _clear(folder: pathlib.Path):
    # The file that completes a folder goes first.
    for name in (INFO, MODEL, LABELS, HISTORY, METRICS, PREDICTIONS, BEST):
        (folder / name).unlink(missing_ok=True)
    for left in folder.glob(f"{layer_weights.SAVING}*"):
        shutil.rmtree(left, ignore_errors=True)


def image_size(config: Config, architecture: str) -> int:
    """Returns the side of the images, the architecture's own by default."""
    return config.face_train.image_size or face_networks.own_size(architecture)


def train(
    images: FaceImages,
    folder: str | os.PathLike,
    config: Config,
    *,
    architecture: str = face_networks.DEFAULT,
    weights: str | os.PathLike | None = None,
    freeze: bool = False,
    seed: int = 0,
    on_start: Callable[[dict], None] | None = None,
    on_epoch: Callable[[int, dict], None] | None = None,
) -> FaceClassifier:
    """Trains to the epoch of the best validation loss.

    The same seed, images and config give the same classifier on a CPU.

    Args:
        images: The images; read at `image_size`.
        folder: Where the best weights are kept while it trains; an earlier
            classifier in it goes.
        config: Its section `face_train` is used.
        architecture: One of `face_networks.names`.
        weights: A file of initial weights; None draws them at random.
        freeze: Train the last layer alone.
        seed: Of initialisation, shuffling, augmentation and dropout.
        on_start: Called with what is known before the first epoch.
        on_epoch: Called with (epoch from 0, figures).

    Raises:
        ConfigError: There is no such architecture, or not of this size.
        WeightsError: The file is not one of this architecture's weights.
        TrainingError: The loss is not finite; `best.weights.h5` stays.
    """
    settings = config.face_train
    keras.utils.set_random_seed(seed)
    _make_deterministic()
    size = image_size(config, architecture)
    network = face_networks.build(architecture, size, len(images.labels))
    provenance = {"initial": "random"}
    if weights is not None:
        provenance = face_weights.load(network, weights)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    batches = face_loop.Batches(images, settings, seed)
    if freeze:
        face_networks.freeze(network)
    else:
        face_networks.quicken_norms(network.model, batches.steps)
    info = _info(images, network, config, provenance, freeze, seed)
    if on_start is not None:
        on_start(info)
    trainer = face_loop.trainer(
        network.model, images.pixels.shape[1:], settings
    )
    history, best = face_loop.fit(
        network.model,
        trainer,
        batches,
        settings,
        folder / BEST,
        on_epoch,
    )
    # What was frozen here need not be where it is trained on.
    for layer in network.model.layers:
        layer.trainable = True
    return FaceClassifier(
        model=network.model,
        labels=images.labels.names,
        info={
            **info,
            "epochs": len(history),
            "best_epoch": best,
            "best": history[best],
        },
        history=history,
        answers={
            split: _answers(trainer, batches, split)
            for split in images.rows
            if split != "train"
        },
    )


def _info(images, network, config, provenance, freeze, seed) -> dict:
    """Returns what is known before the training, ready for JSON."""
    return {
        "format": FORMAT,
        "architecture": network.architecture,
        "image_size": network.model.input_shape[1],
        "labels": images.labels.to_dict(),
        "parameters": network.model.count_params(),
        "weights": provenance,
        "freeze": freeze,
        "seed": seed,
        "config": {"face_train": config.to_dict()["face_train"]},
        "data": images.describe(),
        "versions": {
            "emorec": emorec.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }


def _make_deterministic():
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _answers(trainer, batches, split) -> Answers:
    rows = batches.images.rows[split]
    return Answers(
        names=[batches.images.names[i] for i in rows],
        label_ids=batches.images.label_ids[rows],
        probabilities=face_loop.probabilities(trainer, batches, split),
    )
