"""What a decoding thread and the reader of its frames share."""

import threading
import time as clock
from collections import deque

# Frames of 8K are 106 MB each; fewer of them wait.
_BUFFER_BYTES = 256 << 20


class Channel:
    """A bounded queue of frames with an info, a heartbeat and an end.

    Args:
        limit: Most frames that wait.

    Attributes:
        dropped: Frames that `offer` has pushed out.
    """

    def __init__(self, limit: int):
        self._changed = threading.Condition()
        self._limit = limit
        self.dropped = 0
        self._frames = deque()
        self._info = None
        self._error = None
        self._over = False
        self._beat = clock.monotonic()

    def open(self, info):
        """Publishes the info; bounds the buffer in bytes as well."""
        frame_bytes = info.width * info.height * 3
        with self._changed:
            self._limit = max(1, min(self._limit, _BUFFER_BYTES // frame_bytes))
            self._info = info
            self._changed.notify_all()

    def beat(self) -> bool:
        """Tells that a frame was decoded; False once the reader is closed."""
        self._beat = clock.monotonic()
        return not self._over

    def put(self, frame) -> bool:
        """Adds a frame when there is room; False once closed."""
        with self._changed:
            while len(self._frames) >= self._limit and not self._over:
                self._changed.wait()
            if self._over:
                return False
            self._frames.append(frame)
            self._beat = clock.monotonic()
            self._changed.notify_all()
            return True

    def offer(self, frame) -> None:
        """Adds a frame at once; where there is no room, the oldest goes."""
        with self._changed:
            if self._over:
                return
            while len(self._frames) >= self._limit:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._beat = clock.monotonic()
            self._changed.notify_all()

    def finish(self, error: BaseException | None = None):
        """Ends the frames, with an error once those waiting are taken."""
        with self._changed:
            if not self._over:
                self._error, self._over = error, True
            self._changed.notify_all()

    def close(self):
        """Drops what waits and lets the thread end."""
        with self._changed:
            self._frames.clear()
            self._error, self._over = None, True
            self._changed.notify_all()

    def take(self, what: str, timeout: float):
        """Returns the info or the next frame, None when there are no more.

        Raises:
            TimeoutError: Nothing was decoded for `timeout` seconds. Only time
                spent in here counts, never that of a full buffer.
        """
        entered = clock.monotonic()
        with self._changed:
            while True:
                if what == "info" and self._info is not None:
                    return self._info
                if what == "frame" and self._frames:
                    frame = self._frames.popleft()
                    self._changed.notify_all()
                    return frame
                if self._error is not None:
                    raise self._error
                if self._over:
                    return None
                since = max(entered, self._beat)
                left = since + timeout - clock.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._changed.wait(left)
