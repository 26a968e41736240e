"""BatchingParameters, as the numbers that the queues go by."""

import dataclasses
import os

from google.protobuf.message import Message

from serving.configs import schemas


@dataclasses.dataclass(frozen=True)
class Limits:
    """What BatchingParameters say of the queues of one model.

    Attributes:
        max_batch_size: Most rows of a batch, and of a request.
        timeout_s: Longest time in seconds that a batch stays open.
        max_enqueued_batches: Most batches that wait in a queue.
        allowed_batch_sizes: Sizes to which a batch is filled up, ascending;
            empty for as it is.
        pad_variable_length_inputs: Whether requests of different shapes are
            filled up to join.
    """

    max_batch_size: int
    timeout_s: float
    max_enqueued_batches: int
    allowed_batch_sizes: tuple[int, ...]
    pad_variable_length_inputs: bool

    @classmethod
    def from_message(cls, params: Message) -> "Limits":
        """Returns the limits of a BatchingParameters message.

        Raises:
            UsageError: The message is out of range.
        """
        schemas.check_batching(params)
        timeout, enqueued = (
            getattr(params, name).value if params.HasField(name) else default
            for name, default in (
                ("batch_timeout_micros", schemas.DEFAULT_BATCH_TIMEOUT_MICROS),
                ("max_enqueued_batches", schemas.DEFAULT_MAX_ENQUEUED_BATCHES),
            )
        )
        return cls(
            schemas.max_batch_size(params),
            timeout / 1e6,
            enqueued,
            tuple(params.allowed_batch_sizes),
            params.pad_variable_length_inputs,
        )

    def padded(self, size: int) -> int:
        """Returns the allowed size that a batch of `size` rows is filled to."""
        allowed = self.allowed_batch_sizes
        return next((a for a in allowed if a >= size), size)


def thread_count(params: Message) -> int:
    """Returns the batch threads that BatchingParameters ask for."""
    if params.HasField("num_batch_threads"):
        return params.num_batch_threads.value
    return os.cpu_count() or 1
