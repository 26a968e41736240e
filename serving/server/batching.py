"""A model whose requests run in batches, as in TensorFlow Serving.

Requests to the same signature for the same outputs wait for each other, run
as one batch, and each gets its own rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from serving.server import batching_rows as rows
from serving.server.batching_limits import Limits
from serving.server.batching_queue import Scheduler, Task
from serving.server.saved_model import LoadedModel
from serving.server.status import invalid


class BatchedModel:
    """A LoadedModel with queues before it.

    Attributes:
        signatures: Those of the model.
    """

    def __init__(
        self, model: LoadedModel, limits: Limits, scheduler: Scheduler
    ):
        """Takes a model over; `close` closes it too.

        Args:
            model: What runs the batches.
            limits: Of the queues.
            scheduler: Whose threads run them.
        """
        self.signatures = model.signatures
        self._model = model
        self._limits = limits
        self._lane = scheduler.lane(limits, self._process)

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Runs a signature as a part of a batch; waits for the others.

        Args and result as `LoadedModel.run`; arrays share the batch's memory.

        Raises:
            StatusError: INVALID_ARGUMENT, the inputs are not 1 to
                `max_batch_size` rows of the signature's dtypes;
                FAILED_PRECONDITION, requests of other shapes are in the
                batch, or the outputs are not its rows; RESOURCE_EXHAUSTED,
                the queue is full; or what the model says of these inputs.
        """
        # Now, so that a request which cannot run does not spoil a batch.
        self._model.check_dtypes(signature_name, inputs)
        size = rows.count(inputs)
        if size > self._limits.max_batch_size:
            raise invalid(
                f"Task size {size} is larger than maximum input batch size "
                f"{self._limits.max_batch_size}"
            )
        key = (signature_name, tuple(sorted(set(outputs))))
        found = self._lane.run(key, inputs, size)
        return {alias: found[alias] for alias in outputs}

    def close(self) -> None:
        """Runs what is queued, then closes the model."""
        self._lane.close()
        self._model.close()

    def _process(self, key: tuple, tasks: Sequence[Task]) -> None:
        try:
            self._run_joined(key, tasks)
        except tf.errors.OpError:
            # The real server fails all of them. One bad JPEG is no reason to
            # refuse its neighbours, so each gets a run of its own.
            for task in tasks:
                self._run_alone(key, task)

    def _run_alone(self, key: tuple, task: Task) -> None:
        try:
            self._run_joined(key, [task])
        except Exception as e:
            task.error = e

    def _run_joined(self, key: tuple, tasks: Sequence[Task]) -> None:
        signature_name, outputs = key
        sizes = [task.size for task in tasks]
        size = self._limits.padded(sum(sizes))
        inputs = rows.join(
            [task.inputs for task in tasks],
            size,
            self._limits.pad_variable_length_inputs,
        )
        found = self._model.run(signature_name, inputs, outputs)
        for task, result in zip(tasks, rows.split(found, sizes, size)):
            task.result = result
