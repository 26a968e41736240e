"""The TensorBoard log of a run."""

import contextlib

import tensorflow as tf

from emorec.data import files
from emorec.errors import TrainingError


class EventLog:
    """TensorBoard scalars; both splits under one tag, so curves overlay.

    Args:
        folder: Where the event files go, local or remote; made on the first
            write.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._writers = {}

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *_):
        # Everything was flushed. A writer whose flush failed tries once more
        # here and fails again.
        for writer in self._writers.values():
            with contextlib.suppress(tf.errors.OpError):
                writer.close()

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        """Adds the figures of an epoch; `val_*` are the validation's.

        Raises:
            TrainingError: The log cannot be written.
        """
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
            folder = files.open_file_system(self._folder)
            self._writers[split] = tf.summary.create_file_writer(
                f"{folder}/{split}"
            )
        return self._writers[split]
