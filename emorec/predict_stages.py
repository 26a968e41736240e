"""A step of a prediction that works ahead in a thread of its own.

Decoding, finding faces and the CNNs each leave a core idle for a part of their
time (between two levels of the pyramid, in Python, waiting for a server); done
at once they share the cores. What waits between two steps is bounded.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

Item = TypeVar("Item")
# How long closing waits for the step that is being done: a batch of frames.
# A decoder that hangs takes longer, and ends by its own limit.
_CLOSE_S = 5.0


class Stage(Generic[Item]):
    """Takes items from a generator in a thread, at most so many ahead.

    The generator runs in the thread from its first line to its last: it is
    closed there when the stage is. An error of it comes out of `take` when
    the items before it are taken.

    Args:
        items: The generator.
        most: Items that may wait, the one that is being made among them.
        most_bytes: No item is begun while more than this waits.
        size: Gives the bytes of an item.
        drop: Called with each item that was not taken when it is closed.
    """

    def __init__(
        self,
        items: Generator[Item, None, None],
        most: int,
        *,
        most_bytes: float = float("inf"),
        size: Callable[[Item], int] = lambda item: 0,
        drop: Callable[[Item], None] = lambda item: None,
    ):
        self._items = items
        self._most = most
        self._most_bytes = most_bytes
        self._size = size
        self._drop = drop
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Item, int]] = deque()
        self._held = 0
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._thread = threading.Thread(
            target=self._work, name=f"emorec-{items.__name__}", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> "Stage[Item]":
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self) -> "Stage[Item]":
        return self

    def __next__(self) -> Item:
        item = self.take()
        if item is None:
            raise StopIteration
        return item

    @property
    def over(self) -> bool:
        """Whether the last item has been taken."""
        with self._changed:
            return self._is_over()

    def take(
        self, timeout: float | None = None, room: float = float("inf")
    ) -> Item | None:
        """Returns the next item.

        Args:
            timeout: Seconds to wait for it; None waits for ever.
            room: Most bytes that it may have.

        Returns:
            None where there is none, at the end or in this time, or where it
            is too large, and then stays.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._waiting and not self._is_over():
                left = None if ends is None else ends - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            item, size = self._waiting[0]
            if size > room:
                return None
            self._waiting.popleft()
            self._held -= size
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Ends the thread; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)
        with self._changed:
            dropped, self._waiting = self._waiting, deque()
        for item, _ in dropped:
            self._drop(item)

    def _is_over(self):
        return self._closed or (self._ended and not self._waiting)

    def _work(self):
        error = None
        try:
            with contextlib.closing(self._items) as items:
                while self._has_room():
                    try:
                        item = next(items)
                    except StopIteration:
                        break
                    self._put(item)
        except BaseException as e:
            error = e
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Waits for room; False once closed."""
        with self._changed:
            while not self._closed and (
                len(self._waiting) >= self._most
                or self._held > self._most_bytes
            ):
                self._changed.wait()
            return not self._closed

    def _put(self, item):
        size = self._size(item)
        with self._changed:
            self._waiting.append((item, size))
            self._held += size
            self._changed.notify_all()
