"""The compiled steps of a training run, on any strategy.

Every process reads the same batches, and each of R replicas takes the rows
r, r + R, r + 2R, ... of a batch. Its loss is divided by the size of the whole
batch, so that the sum of the replicas' gradients is the gradient of one
device. It is clipped after that sum: Keras' optimizer would clip what each
replica has, which is another step.

On a CPU a replica computes the two halves of its rows side by side. A step is
a long row of small operations, most of them too small for a second thread;
two rows of them keep two threads busy all the time.
"""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from emorec.config import TrainConfig
from emorec.models import kernels
from emorec.training import recurrence

# Numbers that a dropout's seed moves on by from replica to replica: a large
# odd one, as two neighbours' seeds are close.
_SEED_STRIDE = 0x9E3779B1


class Steps:
    """The compiled steps of a run, and the optimizer's state.

    Args:
        model: The network, made in the strategy's scope.
        settings: Learning rate and clipping.
        class_weights: float32 [K], of the loss.
        spec: `tf.TensorSpec`s of a batch, `(inputs, labels)`.
        strategy: Where it runs.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: TrainConfig,
        class_weights: np.ndarray,
        spec: tuple,
        strategy: tf.distribute.Strategy,
    ):
        self._model = model
        self._strategy = strategy
        self._clip_norm = settings.clip_norm
        self._weights = tf.constant(class_weights)
        with strategy.scope():
            self._optimizer = keras.optimizers.Adam(settings.learning_rate)
            self._optimizer.build(model.trainable_variables)
        # A GPU has loops of its own for an LSTM.
        on_cpu = not tf.config.list_logical_devices("GPU")
        self._kernels = recurrence if on_cpu else None
        self._halved = on_cpu
        # One trace for every batch size and length.
        self._train = tf.function(self._train_all, input_signature=spec)
        self._test = tf.function(self._test_all, input_signature=spec)

    @property
    def variables(self) -> list:
        """All state of the run: model, seed generators, optimizer."""
        return [*self._model.variables, *self._optimizer.variables]

    def spread_seeds(self) -> None:
        """Gives each replica random numbers of its own, the first its old ones.

        To be called once, after variables were restored: what is saved is
        the first replica's state.
        """
        if self._strategy.num_replicas_in_sync == 1:
            return
        local = self._strategy.experimental_local_results
        ids = local(tf.function(lambda: self._strategy.run(_replica))())
        for variable in self._model.variables:
            if not variable.path.endswith("seed_generator_state"):
                continue
            for part, id_ in zip(local(variable.value), ids, strict=True):
                seed, count = part.numpy()
                moved = (int(seed) + int(id_) * _SEED_STRIDE) % 2**32
                part.assign(np.array([moved, count]))

    def train(self, inputs: Mapping, labels: tf.Tensor) -> np.ndarray:
        """Takes one step.

        Args:
            inputs: The network's, of the whole batch.
            labels: int64 [B].

        Returns:
            float64 [3]: the summed loss before the step, the hits, B.
        """
        return np.array(self._train(inputs, labels), np.float64)

    def test(self, inputs: Mapping, labels: tf.Tensor) -> np.ndarray:
        """Measures a batch; takes and returns the same as `train`."""
        return np.array(self._test(inputs, labels), np.float64)

    def _train_all(self, inputs, labels):
        return self._summed(self._train_one, inputs, labels)

    def _test_all(self, inputs, labels):
        return self._summed(self._test_one, inputs, labels)

    def _summed(self, step, inputs, labels):
        # Plain tensors: each replica is given the whole batch.
        figures = self._strategy.run(step, args=(inputs, labels))
        return self._strategy.reduce(
            tf.distribute.ReduceOp.SUM, figures, axis=None
        )

    def _train_one(self, inputs, labels):
        size = tf.cast(tf.size(labels), tf.float32)
        variables = self._model.trainable_variables
        with kernels.using(self._kernels), tf.GradientTape() as tape:
            losses, figures = self._measured(inputs, labels, training=True)
            loss = tf.add_n([tf.reduce_sum(part) for part in losses]) / size
        gradients = tape.gradient(
            loss,
            [v.value for v in variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        self._optimizer.apply(self._clipped_sum(gradients), variables)
        return figures

    def _test_one(self, inputs, labels):
        return self._measured(inputs, labels, training=False)[1]

    def _measured(self, inputs, labels, training):
        """Returns the losses of each part of this replica's rows, and figures.

        The figures are of all parts, see `train`.
        """
        parts = [self._own_rows(inputs, labels)]
        if self._halved:
            parts = _halves(*parts[0])
        losses, figures = [], []
        for inputs, labels, counted in parts:
            logits = self._model(inputs, training=training)["logits"]
            losses.append(self._losses(labels, logits, counted))
            figures.append(_figures(labels, logits, losses[-1], counted))
        return losses, tf.add_n(figures)

    def _own_rows(self, inputs, labels):
        """Returns this replica's rows, and which of them count: f32 [b].

        A replica without a row takes the last one, which does not count: no
        network has to know a batch of nothing.
        """
        replicas = self._strategy.num_replicas_in_sync
        if replicas == 1:
            return inputs, labels, tf.ones_like(labels, tf.float32)
        first, size = _replica(), tf.size(labels)
        rows = tf.range(first, tf.maximum(size, first + 1), replicas)
        counted = tf.cast(rows < size, tf.float32)
        rows = tf.minimum(rows, size - 1)
        # The batch lies there; a GPU is sent its own rows alone.
        with tf.device("/cpu:0"):
            inputs = {n: tf.gather(x, rows) for n, x in inputs.items()}
            labels = tf.gather(labels, rows)
        return inputs, labels, counted

    def _losses(self, labels, logits, counted):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return losses * tf.gather(self._weights, labels) * counted

    def _clipped_sum(self, gradients):
        """Sums the gradients over the replicas and clips them.

        Returns:
            The R-th part: the optimizer sums over the replicas once more.
        """
        replicas = self._strategy.num_replicas_in_sync
        if replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, gradients
            )
        if self._clip_norm > 0:
            gradients = _clipped(gradients, self._clip_norm)
        return [g / replicas for g in gradients]


def _halves(inputs, labels, counted):
    """Cuts a batch in two; one of one row is there twice, and counts once.

    No network has to know a batch of nothing.
    """
    middle = tf.size(labels) // 2
    first = slice(tf.maximum(middle, 1))
    weights = (
        counted[first] * tf.cast(middle > 0, tf.float32),
        counted[middle:],
    )
    return [
        ({n: x[rows] for n, x in inputs.items()}, labels[rows], weight)
        for rows, weight in zip(
            (first, slice(middle, None)), weights, strict=True
        )
    ]


def _clipped(gradients, limit):
    """Scales gradients down to a global norm of at most `limit`."""
    squares = [tf.reduce_sum(tf.square(g)) for g in gradients]
    norm = tf.sqrt(tf.reduce_sum(tf.stack(squares)))
    # In this order, as Keras rounds it: models made before stay the same.
    scale = limit * tf.minimum(1.0 / norm, 1.0 / limit)
    # An infinite norm becomes NaN, which the loop finds; else + 0.
    scale += norm - norm
    return [g * scale for g in gradients]


def _replica() -> tf.Tensor:
    """Returns the number of the replica that asks, int32."""
    context = tf.distribute.get_replica_context()
    return tf.cast(context.replica_id_in_sync_group, tf.int32)


def _figures(labels, logits, losses, counted):
    hits = tf.cast(tf.argmax(logits, axis=-1) == labels, tf.float32)
    return tf.stack(
        [
            tf.reduce_sum(losses),
            tf.reduce_sum(hits * counted),
            tf.reduce_sum(counted),
        ]
    )
