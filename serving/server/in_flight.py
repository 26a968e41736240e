"""The requests under way, so that a server can stop without cutting any."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

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
        self._thread = threading.local()

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
        if getattr(self._thread, "is_counted", False):
            yield
            return
        if not self.enter():
            raise StatusError(
                grpc.StatusCode.UNAVAILABLE, "the server is stopping"
            )
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> bool:
        """Counts a request until `leave`; False where it is refused."""
        with self._changed:
            self._count += not self._draining
            return not self._draining

    def leave(self) -> None:
        """Ends what `enter` began."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def counted(self, function: Callable, *arguments: Any) -> Any:
        """Calls a function for a request that has entered, which then leaves.

        `request` neither counts nor refuses it in this thread.
        """
        self._thread.is_counted = True
        try:
            return function(*arguments)
        finally:
            self._thread.is_counted = False
            self.leave()

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


class RequestPool(futures.ThreadPoolExecutor):
    """gRPC's threads; a request counts from when it came, not from its start.

    Else those that wait for a thread would be refused by a server that stops.
    """

    def __init__(self, workers: int, in_flight: InFlight):
        super().__init__(workers, thread_name_prefix="grpc")
        self._in_flight = in_flight

    def submit(self, function: Callable, /, *arguments: Any) -> futures.Future:
        """As `ThreadPoolExecutor.submit`, which gRPC calls once a request."""
        if not self._in_flight.enter():
            # `InFlight.request` refuses it.
            return super().submit(function, *arguments)
        try:
            return super().submit(self._in_flight.counted, function, *arguments)
        except BaseException:
            self._in_flight.leave()
            raise
