"""Logs of a share of the requests, for checking the skew of serving.

Writes what TensorFlow Serving's API calls a PredictionLog: request, response
and when it was, in TFRecord files. A file has its final name when it is
complete: PREFIX-MODEL-TIME-PROCESS-NUMBER.tfrecord; the one being written
ends in `.part`. Files are readable for the server's user alone: they hold
what clients send, faces among it.

The open source tensorflow_model_server writes no such logs: where a model has
a `logging_config`, it ends at start (`No request-logger-creator provided.`,
its issues #408 and #1846; read, not tried).
"""

import collections
import contextlib
import itertools
import logging
import os
import random
import re
import threading
import time

import tensorflow as tf
from google.protobuf import message
from tensorflow_serving.apis import prediction_log_pb2

from emorec.errors import UsageError
from serving.configs.plan import check_log_prefix

_log = logging.getLogger(__name__)

KINDS = ("predict", "classify", "regress", "multi_inference")
# Of `log_collector_config`: what is written here. "" is taken for it.
TYPE = "tfrecord"
# What TFRecord puts around a record.
_FRAMING = 16
# Of all logs of this process: a reload makes new ones of the same names.
_NUMBERS = itertools.count()


class RequestLog:
    """Logs the requests to one model."""

    def __init__(
        self,
        logging_config,
        model_name: str,
        *,
        max_file_bytes: int = 64 << 20,
        max_file_s: float = 600.0,
        max_files: int = 100,
        retry_s: float = 60.0,
    ):
        """Writes nothing yet; the folder is made with the first file.

        Args:
            logging_config: LoggingConfig of models.config.
            model_name: The model, for the files' names.
            max_file_bytes: Size after which a file is finished. A larger
                request is not logged.
            max_file_s: Age in seconds after which the next logged request
                begins a new file.
            max_files: Files of this server that are kept; the oldest goes.
            retry_s: Seconds without a log after a file could not be written.

        Raises:
            UsageError: The collector's type, its prefix or the sampling rate
                cannot be used.
        """
        collector = logging_config.log_collector_config
        sampling = logging_config.sampling_config
        where = f"`logging_config` of model {model_name!r}"
        if collector.type not in ("", TYPE):
            raise UsageError(
                f"{where}: `type` must be {TYPE!r}. "
                f"Received: {collector.type!r}"
            )
        if not 0 <= sampling.sampling_rate <= 1:
            raise UsageError(
                f"{where}: `sampling_rate` must be 0 to 1. "
                f"Received: {sampling.sampling_rate}"
            )
        check_log_prefix(collector.filename_prefix)
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", model_name)
        self._prefix = f"{collector.filename_prefix}-{name}"
        self._sampling = sampling
        self._max_bytes = max_file_bytes
        self._max_s = max_file_s
        self._max_files = max_files
        self._retry_s = retry_s
        self._random = random.Random()
        self._lock = threading.Lock()
        self._writer: tf.io.TFRecordWriter | None = None
        self._path = ""
        self._bytes = 0
        self._opened_at = 0.0
        self._silent_until = 0.0
        self._files = collections.deque()
        self._is_closed = False

    def write(self, kind: str, request, response) -> None:
        """Logs an answered request, if the sampling picks it.

        Never fails the request: what goes wrong is said in the server's log.

        Args:
            kind: One of `KINDS`.
            request: The request's message.
            response: The response's message.
        """
        if self._random.random() >= self._sampling.sampling_rate:
            return
        try:
            record = self._record(kind, request, response)
        except (ValueError, message.Error) as e:
            _log.error("%s: a request is not logged: %s", self._prefix, e)
            return
        if len(record) + _FRAMING > self._max_bytes:
            _log.warning(
                "%s: a request of %d bytes is not logged, more than %d",
                self._prefix,
                len(record),
                self._max_bytes,
            )
            return
        with self._lock:
            now = time.monotonic()
            if self._is_closed or now < self._silent_until:
                return
            try:
                self._add(record, now)
            except (OSError, tf.errors.OpError) as e:
                self._silent_until = now + self._retry_s
                _log.error(
                    "%s: requests are not logged for %.0f s: %s",
                    self._path or self._prefix,
                    self._retry_s,
                    " ".join(str(e).split()),
                )
                self._abandon()

    def close(self) -> None:
        """Finishes the file; later requests are not logged."""
        with self._lock:
            self._is_closed = True
            try:
                self._finish()
            except (OSError, tf.errors.OpError) as e:
                _log.error("%s: %s", self._path, " ".join(str(e).split()))
                self._abandon()

    def _record(self, kind, request, response) -> bytes:
        log = prediction_log_pb2.PredictionLog()
        part = getattr(log, f"{kind}_log")
        part.request.CopyFrom(request)
        part.response.CopyFrom(response)
        metadata = log.log_metadata
        # The response has the version that answered.
        answers = response.results if kind == "multi_inference" else [response]
        if answers:
            metadata.model_spec.CopyFrom(answers[0].model_spec)
        metadata.sampling_config.CopyFrom(self._sampling)
        metadata.saved_model_tags.append(tf.saved_model.SERVING)
        metadata.timestamp_secs = int(time.time())
        return log.SerializeToString()

    def _add(self, record: bytes, now: float) -> None:
        size = len(record) + _FRAMING
        if self._writer and (
            self._bytes + size > self._max_bytes
            or now - self._opened_at > self._max_s
        ):
            self._finish()
        if self._writer is None:
            self._open(now)
        self._writer.write(record)
        self._bytes += size

    def _open(self, now: float) -> None:
        os.makedirs(os.path.dirname(self._prefix), mode=0o700, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        number = f"{os.getpid()}-{next(_NUMBERS):06d}"
        self._path = f"{self._prefix}-{stamp}-{number}.tfrecord"
        # The writer keeps the mode of a file that is there.
        part = f"{self._path}.part"
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._writer = tf.io.TFRecordWriter(part)
        self._bytes, self._opened_at = 0, now

    def _finish(self) -> None:
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.close()
        os.replace(f"{self._path}.part", self._path)
        self._files.append(self._path)
        while len(self._files) > self._max_files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._files.popleft())

    def _abandon(self) -> None:
        """Lets go of a file that cannot be written to the end."""
        writer, self._writer = self._writer, None
        if writer:
            with contextlib.suppress(tf.errors.OpError):
                writer.close()
        with contextlib.suppress(OSError):
            os.unlink(f"{self._path}.part")
