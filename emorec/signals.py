"""Ctrl-C and SIGTERM, put off for a moment."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Lets SIGINT and SIGTERM arrive at the end of a block, not within it.

    For the start of a process: `Popen` that is left by an exception loses
    the process it has begun, which then lives on with nobody to end it.
    Outside of the main thread, where Python handles no signal, it does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
