"""The training loop: one run of one system on cached features.

Our own loop over epochs instead of `fit`: a run that is killed and resumed
then equals one that was not (Keras' callbacks forget the best weights and the
patience), and `fit` fails under MultiWorkerMirroredStrategy on this stack.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from emorec.config import Config
from emorec.data import files, input_pipeline
from emorec.data.feature_files import FeatureFiles
from emorec.errors import TrainingError
from emorec.training import checkpoint, distribution, event_log, steps


@dataclasses.dataclass(frozen=True)
class Run:
    """What one training run needs.

    Attributes:
        model: The network, made in the strategy's scope; its variables are
            trained in place.
        train: Records of features.
        validation: The same; may be empty.
        config: The resolved config.
        class_counts: Clips of each class that an epoch sees, [K].
        seed: Of shuffling, sampling and dropout.
        name: Names config, data and seed; a checkpoint of another name is
            refused.
        folder: Where checkpoints and logs go, local or remote; of several
            workers, the one folder of all.
        strategy: Where it runs; by default what is in scope, one device. The
            figures and the model are those of one device but for the order
            of sums, and for the dropout.
    """

    model: keras.Model
    train: Sequence[FeatureFiles]
    validation: Sequence[FeatureFiles]
    config: Config
    class_counts: np.ndarray
    seed: int
    name: str
    folder: str
    strategy: tf.distribute.Strategy = dataclasses.field(
        default_factory=tf.distribute.get_strategy
    )


def fit(
    run: Run, on_epoch: Callable[[int, dict], None] | None = None
) -> list[dict]:
    """Trains to the epoch of the best validation loss.

    Args:
        run: The run; goes on from its checkpoint, if there is one.
        on_epoch: Called with (epoch, figures) after each epoch, on every
            worker.

    Returns:
        One dict an epoch: `loss`, `accuracy`, and `val_loss`, `val_accuracy`
        where there are validation clips. Without any, the training loss is
        what is monitored.

    Raises:
        TrainingError: There is nothing to train on, the loss or a weight is
            not finite, the log cannot be written, or another worker has
            stopped; the last good checkpoint stays.
        EmorecError: The checkpoint cannot be written; so does the last one.
    """
    trainer = _Trainer(run)
    folder = files.join(run.folder, "checkpoints")
    writes = distribution.is_chief(run.strategy)
    progress = _restore(run, folder, trainer.steps)
    with event_log.EventLog(files.join(run.folder, "logs")) as log:
        while not _is_over(progress, run.config.train):
            epoch = progress.epoch
            with distribution.connected(run.strategy):
                figures = trainer.epoch(epoch)
            with distribution.together(run.strategy):
                if writes:
                    log.write(epoch, figures)
                _add(progress, figures, run.model)
                if writes:
                    checkpoint.save(folder, progress, trainer.steps.variables)
                if on_epoch is not None:
                    on_epoch(epoch, figures)
    for variable, value in zip(
        run.model.variables, progress.best_weights, strict=True
    ):
        variable.assign(value)
    return progress.history


def _restore(run, folder, compiled) -> checkpoint.Progress:
    """Takes up the checkpoint, which all workers have to see."""
    with distribution.together(run.strategy):
        progress = checkpoint.restore(folder, run.name, compiled.variables)
    distribution.agree(
        run.strategy,
        progress.epoch,
        "numbers of finished epochs: they need an output folder that all of "
        "them see",
    )
    compiled.spread_seeds()
    return progress


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
    """The epochs of a run."""

    def __init__(self, run: Run):
        self._run = run
        settings = run.config.train
        weights = np.ones(len(run.class_counts), np.float32)
        if settings.class_weights:
            weights = class_weights(run.class_counts)
        # Built once: tracing a pipeline takes longer than a small epoch.
        self._validation = self._validation_data()
        spec = self._epoch_data(0).element_spec
        self.steps = steps.Steps(
            run.model, settings, weights, spec, run.strategy
        )

    def epoch(self, epoch: int) -> dict:
        """Trains one epoch and measures it."""
        sums, step, batch = self._train_epoch(epoch)
        values = {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}
        sums = np.zeros(3)
        for inputs, labels in self._validation:
            sums += self.steps.test(inputs, labels)
        if sums[2]:
            values["val_loss"] = sums[0] / sums[2]
            values["val_accuracy"] = sums[1] / sums[2]
            if not math.isfinite(sums[0]):
                raise _not_finite("loss", sums[0], "the validation", epoch)
        else:
            # Nothing else sees what the last update did: finite weights of
            # 1e30 answer with NaN too.
            loss = float(self.steps.test(*batch)[0])
            if not math.isfinite(loss):
                raise _not_finite("loss", loss, f"step {step}", epoch)
        return {name: float(value) for name, value in values.items()}

    def _train_epoch(self, epoch) -> tuple:
        """Returns the sums of the figures, the steps and the last batch."""
        sums, step = np.zeros(3), 0
        for inputs, labels in self._epoch_data(epoch):
            step += 1
            figures = self.steps.train(inputs, labels)
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
