"""The requests under way, so that a server can stop without cutting any."""

import contextlib
import threading
import time
from collections.abc import Iterator

import grpc

from serving.server.status import StatusError


class InFlight:
    """Counts requests; once `drain` is called, refuses new ones.

    gRPC's own stop tells new calls CANCELLED, which no client tries again;
    UNAVAILABLE they do.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._count = 0
        self._draining = False

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request while it is answered.

        Raises:
            StatusError: UNAVAILABLE, the server is stopping.
        """
        with self._changed:
            if self._draining:
                raise StatusError(
                    grpc.StatusCode.UNAVAILABLE, "the server is stopping"
                )
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def drain(self, grace_s: float) -> bool:
        """Refuses new requests and waits for the others.

        Args:
            grace_s: Longest wait in seconds.

        Returns:
            Whether none is left.
        """
        ends = time.monotonic() + grace_s
        with self._changed:
            self._draining = True
            while self._count and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._count
