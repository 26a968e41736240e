"""The training loop: one run of one system on cached features.

Our own loop over epochs instead of `fit`: a run that is killed and resumed
then equals one that was not (Keras' callbacks forget the best weights and the
patience), and `fit` fails under MultiWorkerMirroredStrategy on this stack.
"""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import input_pipeline
from emorec.data.feature_files import FeatureFiles
from emorec.errors import TrainingError
from emorec.training import checkpoint


@dataclasses.dataclass(frozen=True)
class Run:
    """What one training run needs.

    Attributes:
        model: The network; its variables are trained in place.
        train: Records of features.
        validation: The same; may be empty.
        config: The resolved config.
        class_counts: Clips of each class that an epoch sees, [K].
        seed: Of shuffling, sampling and dropout.
        name: Names config, data and seed; a checkpoint of another name is
            refused.
        folder: Where checkpoints and logs go.
    """

    model: keras.Model
    train: Sequence[FeatureFiles]
    validation: Sequence[FeatureFiles]
    config: Config
    class_counts: np.ndarray
    seed: int
    name: str
    folder: pathlib.Path


def fit(
    run: Run, on_epoch: Callable[[int, dict], None] | None = None
) -> list[dict]:
    """Trains to the epoch of the best validation loss.

    Args:
        run: The run; goes on from its checkpoint, if there is one.
        on_epoch: Called with (epoch, figures) after each epoch.

    Returns:
        One dict an epoch: `loss`, `accuracy`, and `val_loss`, `val_accuracy`
        where there are validation clips. Without any, the training loss is
        what is monitored.

    Raises:
        TrainingError: There is nothing to train on, the loss or a weight is
            not finite, or the log cannot be written; the last good
            checkpoint stays.
        EmorecError: The checkpoint cannot be written; so does the last one.
    """
    trainer = _Trainer(run)
    variables = trainer.variables()
    checkpoints = run.folder / "checkpoints"
    progress = checkpoint.restore(checkpoints, run.name, variables)
    with _Log(run.folder / "logs") as log:
        while not _is_over(progress, run.config.train):
            epoch = progress.epoch
            figures = trainer.epoch(epoch)
            log.write(epoch, figures)
            _add(progress, figures, run.model)
            checkpoint.save(checkpoints, progress, variables)
            if on_epoch is not None:
                on_epoch(epoch, figures)
    for variable, value in zip(
        run.model.variables, progress.best_weights, strict=True
    ):
        variable.assign(value)
    return progress.history


def _add(progress, figures, model):
    """Takes up the figures of an epoch, and the weights if they are better."""
    monitored = figures.get("val_loss", figures["loss"])
    if monitored < progress.best:
        progress.best, progress.best_epoch = monitored, progress.epoch
        progress.best_weights = [np.array(v) for v in model.variables]
    progress.history.append(figures)
    progress.epoch += 1


def _is_over(progress, settings) -> bool:
    """Whether the last epoch, or `patience` epochs without a better, is done.

    Even a patience of 0 needs one epoch that is not better.
    """
    waited = progress.epoch - 1 - progress.best_epoch
    return progress.epoch >= settings.epochs or (
        progress.epoch > 0 and waited >= max(settings.patience, 1)
    )


class _Trainer:
    """The compiled steps of a run."""

    def __init__(self, run: Run):
        self._run = run
        settings = run.config.train
        self._optimizer = keras.optimizers.Adam(
            settings.learning_rate, global_clipnorm=settings.clip_norm
        )
        self._optimizer.build(run.model.trainable_variables)
        self._weights = tf.constant(
            class_weights(run.class_counts)
            if settings.class_weights
            else np.ones(len(run.class_counts), np.float32)
        )
        # Built once: tracing a pipeline takes longer than a small epoch.
        self._validation = self._validation_data()
        spec = self._epoch_data(0).element_spec
        # One trace for every batch size and length.
        self._train = tf.function(self._train_step, input_signature=spec)
        self._test = tf.function(self._test_step, input_signature=spec)

    def variables(self):
        """All state of the run: model, seed generators, optimizer."""
        return [*self._run.model.variables, *self._optimizer.variables]

    def epoch(self, epoch: int) -> dict:
        """Trains one epoch and measures it."""
        sums, step, batch = self._train_epoch(epoch)
        values = {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}
        sums = np.zeros(3)
        for inputs, labels in self._validation:
            sums += np.array(self._test(inputs, labels), np.float64)
        if sums[2]:
            values["val_loss"] = sums[0] / sums[2]
            values["val_accuracy"] = sums[1] / sums[2]
            if not math.isfinite(sums[0]):
                raise _not_finite("loss", sums[0], "the validation", epoch)
        else:
            # Nothing else sees what the last update did: finite weights of
            # 1e30 answer with NaN too.
            loss = float(self._test(*batch)[0])
            if not math.isfinite(loss):
                raise _not_finite("loss", loss, f"step {step}", epoch)
        return {name: float(value) for name, value in values.items()}

    def _train_epoch(self, epoch) -> tuple:
        """Returns the sums of the figures, the steps and the last batch."""
        sums, step = np.zeros(3), 0
        for inputs, labels in self._epoch_data(epoch):
            step += 1
            figures = np.array(self._train(inputs, labels), np.float64)
            if not math.isfinite(figures[0]):
                raise _not_finite("loss", figures[0], f"step {step}", epoch)
            sums += figures
        if not sums[2]:
            raise TrainingError(
                "no clip to train on: none of the training records has both "
                "a face and a label"
            )
        # A loss is that of the weights before its update: without this, the
        # last update of an epoch would be kept unseen.
        for value in _floats(self._run.model):
            wrong = value[~np.isfinite(value)]
            if wrong.size:
                raise _not_finite("weights", wrong[0], f"step {step}", epoch)
        return sums, step, (inputs, labels)

    def _epoch_data(self, epoch):
        run = self._run
        return input_pipeline.training_epoch(
            run.train, run.config, run.seed, epoch
        )

    def _validation_data(self):
        run = self._run
        if not run.validation:
            return []
        return input_pipeline.evaluation_clips(
            run.validation, run.config, trainable_only=True
        )

    def _train_step(self, inputs, labels):
        variables = self._run.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._run.model(inputs, training=True)["logits"]
            losses = self._losses(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [v.value for v in variables])
        self._optimizer.apply(gradients, variables)
        return self._figures(labels, logits, losses)

    def _test_step(self, inputs, labels):
        logits = self._run.model(inputs, training=False)["logits"]
        return self._figures(labels, logits, self._losses(labels, logits))

    def _losses(self, labels, logits):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return losses * tf.gather(self._weights, labels)

    def _figures(self, labels, logits, losses):
        hits = tf.argmax(logits, axis=-1) == labels
        return (
            tf.reduce_sum(losses),
            tf.reduce_sum(tf.cast(hits, tf.float32)),
            tf.cast(tf.size(labels), tf.float32),
        )


def _floats(model):
    """Yields the model's arrays; the seed generators' are of integers."""
    for variable in model.variables:
        value = np.asarray(variable)
        if np.issubdtype(value.dtype, np.floating):
            yield value


def _not_finite(what, value, where, epoch) -> TrainingError:
    """The error of an epoch, counted from 0; its message counts from 1."""
    kept = (
        "the checkpoint of the epoch before is kept"
        if epoch
        else "no epoch was finished, so nothing is kept"
    )
    # Not --overwrite, which would delete that checkpoint.
    return TrainingError(
        f"the {what} became {value} at {where} of epoch {epoch + 1}; {kept}. "
        "Lower train.learning_rate and train again with another --output_dir"
    )


def class_weights(counts: np.ndarray) -> np.ndarray:
    """Inverse class frequencies, 1 on average over the clips.

    Args:
        counts: int [K], clips of each class.

    Returns:
        float32 [K]; 1 for a class without clips, which only validation may
        have.
    """
    counts = np.asarray(counts, np.float64)
    present = counts > 0
    weights = np.ones_like(counts)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)


class _Log:
    """TensorBoard scalars; both splits under one tag, so curves overlay."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._writers = {}

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_):
        # Everything was flushed. A writer whose flush failed tries once more
        # here and fails again.
        for writer in self._writers.values():
            with contextlib.suppress(tf.errors.OpError):
                writer.close()

    def write(self, epoch: int, figures: dict):
        try:
            self._write(epoch, figures)
        except tf.errors.OpError as e:
            reason = " ".join(e.message.split())[:300]
            raise TrainingError(
                f"{self._folder}: the log cannot be written ({reason}); free "
                "some space and train again: it goes on from the last epoch"
            ) from e

    def _write(self, epoch, figures):
        for name, value in figures.items():
            split = "validation" if name.startswith("val_") else "train"
            with self._writer(split).as_default():
                tf.summary.scalar(name.removeprefix("val_"), value, step=epoch)
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, split):
        if split not in self._writers:
            self._writers[split] = tf.summary.create_file_writer(
                str(self._folder / split)
            )
        return self._writers[split]
