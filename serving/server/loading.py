"""How a server makes a version ready: loads it, sets up batching, warms up."""

import posixpath

import tensorflow as tf
from google.protobuf.message import Message

from emorec.errors import UsageError
from serving.configs import schemas
from serving.server import warmup
from serving.server.batching import BatchedModel
from serving.server.batching_limits import Limits, thread_count
from serving.server.batching_queue import Scheduler
from serving.server.saved_model import LoadedModel
from serving.server.status import invalid

# A model's own parameters, in its version folder.
BATCHING_FILE = "batching_params.pbtxt"


class Loader:
    """Loads versions, of any model, for one server."""

    def __init__(self, batching: Message | None = None):
        """Does nothing yet.

        Args:
            batching: BatchingParameters of the server; None for no batching.
                A version with a `batching_params.pbtxt` has those instead,
                but for the threads, which all models share.

        Raises:
            UsageError: `batching` is out of range.
        """
        self._limits = self._scheduler = None
        if batching is not None:
            self._limits = Limits.from_message(batching)
            self._scheduler = Scheduler(thread_count(batching))

    def __call__(self, path: str) -> LoadedModel | BatchedModel:
        """Loads the SavedModel at `path` and runs its warmup records.

        Returns:
            The model; both kinds have `signatures`, `run` and `close`.

        Raises:
            StatusError: The batching file or a warmup record is bad.
            Exception: Whatever TensorFlow raises on an unusable model.
        """
        # Read first: a model may take long to load.
        limits = self._limits_of(path)
        model = LoadedModel(path)
        try:
            if limits is not None:
                model = BatchedModel(model, limits, self._scheduler)
            # Behind the queues, so that just the batch sizes that can come
            # are run.
            warmup.run(model, path)
        except BaseException:
            model.close()
            raise
        return model

    def _limits_of(self, path: str) -> Limits | None:
        file = posixpath.join(path, BATCHING_FILE)
        if self._limits is None or not tf.io.gfile.exists(file):
            return self._limits
        try:
            with tf.io.gfile.GFile(file, "rb") as f:
                data = f.read(schemas.MAX_FILE_BYTES + 1)
            if len(data) > schemas.MAX_FILE_BYTES:
                raise UsageError(
                    f"{file}: is larger than {schemas.MAX_FILE_BYTES} bytes"
                )
            params = schemas.parse("batching", data.decode(), file)
            schemas.check_batching(params, file)
        except UnicodeDecodeError as e:
            raise invalid(f"{file}: is not UTF-8 text") from e
        except UsageError as e:
            raise invalid(str(e)) from e
        return Limits.from_message(params)
