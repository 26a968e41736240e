"""A model server for the time of a trial: the real one, or the embedded."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator

from emorec.errors import ModelError, ServerError, UsageError
from serving.client.emotion_client import EmotionClient
from serving.client.errors import (
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    Unavailable,
    Unsupported,
)
from serving.server import external

MODEL_NAME = "candidate"
_TRIES = 5
AUTO, EMBEDDED = "auto", "embedded"
# Seconds between two looks whether a process that starts is still there.
_LOOK_S = 1.0
# The state of a version that the server does not try to load any more.
_GIVEN_UP = "END"


class OutOfTime(ServerError):
    """The trial's time is over."""


# What a call raises for reasons that are the server's or the machine's.
NOT_OF_THE_MODEL = (
    OutOfTime,
    Unavailable,
    DeadlineExceeded,
    ModelNotFound,
    Overloaded,
    Unsupported,
)


class Deadline:
    """The one time limit of a trial."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds that are left, more than 0.

        Raises:
            OutOfTime: None are.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise OutOfTime(
                f"the trial took longer than its {self.seconds:g} s; raise "
                "`deadline_s` or lower `max_clips`"
            )
        return left


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that is ready.

    Attributes:
        kind: `tensorflow_model_server` or `embedded`.
        version: What it says of itself.
        address: host:port of gRPC.
    """

    kind: str
    version: str
    address: str

    def client(self, deadline: Deadline) -> EmotionClient:
        """Returns a client whose calls end with the trial's time.

        After a few tries at the latest: a server that has ended is gone.
        """
        return EmotionClient(
            self.address,
            model_name=MODEL_NAME,
            timeout_s=deadline.left(),
            tries=_TRIES,
        )


def binary_of(server: str) -> str | None:
    """Returns the binary that a choice of server means; None is embedded.

    Cheap: it loads neither TensorFlow nor TFX, and starts nothing.

    Args:
        server: `auto` (the real server where it is on the PATH), `embedded`,
            or the path of a binary.

    Raises:
        UsageError: There is no such binary.
    """
    if server == EMBEDDED:
        return None
    if server == AUTO:
        return external.find_model_server()
    if not (os.path.isfile(server) and os.access(server, os.X_OK)):
        raise UsageError(
            f"`server` must be {AUTO}, {EMBEDDED} or the path of a "
            f"{external.BINARY}. Received: {server!r}, which is no file that "
            "can be run"
        )
    return server


@contextlib.contextmanager
def serve(
    base_path: str, binary: str | None, deadline: Deadline
) -> Iterator[Server]:
    """Serves the versions in a folder for the time of a block.

    Args:
        base_path: A local folder of version folders.
        binary: The real server's, or None for the embedded one.
        deadline: When the trial ends.

    Raises:
        ModelError: The server says that the model does not load.
        ServerError: The server does not start, has ended (with its last
            words), or the time is over. Of the model this tells nothing.
    """
    if binary is None:
        # Not for `binary_of`: these two take seconds.
        import tensorflow as tf

        from serving.server.server import ModelServer

        with ModelServer(
            base_path, MODEL_NAME, port=0, start_timeout_s=deadline.left()
        ) as server:
            yield Server(
                EMBEDDED,
                f"TensorFlow {tf.__version__}",
                f"127.0.0.1:{server.port}",
            )
        return
    found = external.version(binary, timeout_s=min(10.0, deadline.left()))
    port = external.free_port()
    line = external.command(binary, base_path, model_name=MODEL_NAME, port=port)
    with external.running(line) as check:
        server = Server(external.BINARY, found, f"127.0.0.1:{port}")
        _wait_ready(server, check, deadline)
        try:
            yield server
        except NOT_OF_THE_MODEL:
            # Why it has ended tells more than that it does not answer.
            check()
            raise


def _wait_ready(server: Server, check, deadline: Deadline) -> None:
    while True:
        check()
        with server.client(deadline) as client:
            try:
                client.wait_ready(min(_LOOK_S, deadline.left()))
                return
            except (Unavailable, ModelNotFound):
                deadline.left()
                _check_loads(client)


def _check_loads(client: EmotionClient) -> None:
    """Raises ModelError where a server that answers has given a model up."""
    try:
        states = client.status()
    except ServerError:
        return
    for found in states:
        if found.state == _GIVEN_UP and found.error_message:
            raise ModelError(
                "the server does not load the model: "
                f"{' '.join(found.error_message.split())[:500]}"
            )
