"""A model server for the time of a trial: the real one, or the embedded."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator

import tensorflow as tf

from emorec.errors import ServerError, UsageError
from serving.client.emotion_client import EmotionClient
from serving.client.errors import ModelNotFound, Unavailable
from serving.server import external
from serving.server.server import ModelServer

MODEL_NAME = "candidate"
AUTO, EMBEDDED = "auto", "embedded"
# Seconds between two looks whether a process that starts is still there.
_LOOK_S = 1.0


class Deadline:
    """The one time limit of a trial."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._ends = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds that are left, more than 0.

        Raises:
            ServerError: None are.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise ServerError(
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
        """Returns a client whose calls end with the trial's time."""
        return EmotionClient(
            self.address, model_name=MODEL_NAME, timeout_s=deadline.left()
        )


def binary_of(server: str) -> str | None:
    """Returns the binary that a choice of server means; None is embedded.

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
        EmorecError: The server does not start, the model does not load, or
            the time is over.
    """
    if binary is None:
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
        yield server


def _wait_ready(server: Server, check, deadline: Deadline) -> None:
    while True:
        check()
        with server.client(deadline) as client:
            try:
                client.wait_ready(min(_LOOK_S, deadline.left()))
                return
            except (Unavailable, ModelNotFound):
                deadline.left()
