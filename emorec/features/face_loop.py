"""The training loop of a face classifier, one epoch after the other."""

import collections
import math
import pathlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import layers

from emorec.config import FaceTrainConfig
from emorec.errors import TrainingError
from emorec.features import layer_weights
from emorec.features.face_images import FaceImages
from emorec.features.mini_xception import Resample

# A certain and wrong answer costs -ln(1e-7), as in Keras' own loss.
_SMALLEST_PROBABILITY = 1e-7


class Batches:
    """The images of each split, in batches as the trainer takes them."""

    def __init__(self, images: FaceImages, settings: FaceTrainConfig, seed):
        self.images = images
        self._seed = seed
        rows = images.rows["train"]
        self._size = settings.batch_size
        # A last batch that is not full would be a shape of its own, and of
        # one image no statistics: what is left over comes in another epoch.
        self.steps = max(1, len(rows) // self._size)
        self._weights = np.ones(len(images.labels), np.float32)
        if settings.class_weights:
            counts = images.counts("train")
            self._weights = np.float32(len(rows) / (len(counts) * counts))

    def training(self, epoch: int) -> Iterator[tuple]:
        """Yields (f32 [b, s, s, C], int [b], f32 [b]) of an epoch."""
        rows = self.images.rows["train"]
        order = np.random.default_rng([self._seed, epoch]).permutation(rows)
        for step in range(self.steps):
            yield self._batch(order[step * self._size :][: self._size])

    def of(self, split: str) -> Iterator[tuple]:
        """Yields the same of all images of a split, in their order."""
        rows = self.images.rows[split]
        for start in range(0, len(rows), self._size):
            yield self._batch(rows[start : start + self._size])

    def targets(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 [n] classes of a split and f32 [n] their weights."""
        labels = self.images.label_ids[self.images.rows[split]]
        return labels, self._weights[labels]

    def _batch(self, rows):
        labels = self.images.label_ids[rows]
        pixels = np.float32(self.images.pixels[rows])
        return pixels, labels, self._weights[labels]


def trainer(
    model: keras.Model, shape: tuple[int, int, int], settings: FaceTrainConfig
) -> keras.Model:
    """Puts what is done to the pixels in training before the model.

    It is no part of what is saved. The random layers do nothing when asked
    for answers.

    Args:
        model: f32 [B, s, s, 3] -> [B, K].
        shape: (height, width, 1 or 3) of the images as they are kept.
        settings: The step size and the augmentation.
    """
    image = keras.Input(shape, dtype="float32")
    x = image
    size, channels = model.input_shape[1:3], model.input_shape[3]
    if tuple(shape) != (*size, channels):
        mix = None if shape[2] == channels else [[1.0] * channels]
        x = Resample(size, mix)(x)
    for layer in augmentation(settings):
        x = layer(x)
    made = keras.Model(image, model(x))
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    # Built within the step it would be traced twice, seconds each.
    optimizer.build(made.trainable_variables)
    made.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        # XLA makes these networks slower on a CPU.
        jit_compile=False,
    )
    return made


def augmentation(settings: FaceTrainConfig) -> list[layers.Layer]:
    """Returns the random changes of images, RGB 0 to 255, in training."""
    s, fill = settings, {"fill_mode": "nearest"}
    made = []
    if s.flip:
        made.append(layers.RandomFlip("horizontal"))
    if s.rotation:
        made.append(layers.RandomRotation(s.rotation, **fill))
    if s.zoom:
        made.append(layers.RandomZoom(s.zoom, **fill))
    if s.shift:
        made.append(layers.RandomTranslation(s.shift, s.shift, **fill))
    if s.brightness:
        made.append(layers.RandomBrightness(s.brightness, (0, 255)))
    return made


def fit(
    model: keras.Model,
    trainer: keras.Model,
    batches: Batches,
    settings: FaceTrainConfig,
    best_path: pathlib.Path,
    on_epoch: Callable[[int, dict], None] | None = None,
) -> tuple[list[dict], int]:
    """Trains; leaves the weights of the best validation loss in the model.

    Args:
        model: The classifier.
        trainer: The same as `trainer` made it.
        batches: The images.
        settings: When to stop.
        best_path: Where the best weights so far are kept.
        on_epoch: Called with (epoch from 0, figures).

    Returns:
        `(figures of each epoch, the best epoch)`.

    Raises:
        TrainingError: The loss is not finite; `best_path` stays.
    """
    history, best, kept = [], -1, None
    # Even a patience of 0 needs one epoch that is not better.
    while len(history) < settings.epochs and (
        len(history) - 1 - best < max(settings.patience, 1) or not history
    ):
        try:
            figures = _epoch(trainer, batches, len(history))
        except FloatingPointError as e:
            raise _not_finite(e, best, best_path) from e
        history.append(figures)
        if best < 0 or figures["val_loss"] < history[best]["val_loss"]:
            best = len(history) - 1
            kept = model.get_weights()
            layer_weights.save_atomically(best_path, model.save_weights)
        if on_epoch is not None:
            on_epoch(len(history) - 1, figures)
    model.set_weights(kept)
    return history, best


def _epoch(trainer, batches, epoch) -> dict:
    """Trains one epoch and measures it."""
    sums = collections.Counter()
    for step, (x, y, weights) in enumerate(batches.training(epoch), 1):
        figures = trainer.train_on_batch(x, y, weights, return_dict=True)
        _check(figures["loss"], f"step {step} of epoch {epoch + 1}")
        sums.update(figures)
    shares = probabilities(trainer, batches, "validation")
    labels, weights = batches.targets("validation")
    chosen = shares[np.arange(len(labels)), labels].astype(np.float64)
    losses = -weights * np.log(np.maximum(chosen, _SMALLEST_PROBABILITY))
    _check(losses.mean(), f"the validation of epoch {epoch + 1}")
    return {
        # All batches are of one size.
        "loss": float(sums["loss"] / batches.steps),
        "accuracy": float(sums["accuracy"] / batches.steps),
        "val_loss": float(losses.mean()),
        "val_accuracy": float((shares.argmax(axis=1) == labels).mean()),
    }


def _check(loss, where):
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss} at {where}")


def _not_finite(error, best, best_path) -> TrainingError:
    kept = (
        f"the weights of epoch {best + 1}, the best, are kept in {best_path}"
        if best >= 0
        else "no epoch was finished, so nothing is kept"
    )
    return TrainingError(
        f"{error}; {kept}. Lower face_train.learning_rate and train again"
    )


def probabilities(
    trainer: keras.Model, batches: Batches, split: str
) -> np.ndarray:
    """Returns the answers for a split's images, f32 [n, K]."""
    return np.concatenate(
        [trainer.predict_on_batch(x) for x, _, _ in batches.of(split)]
    )
