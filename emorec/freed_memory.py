"""Memory that was freed, given back to the system.

glibc keeps what a thread frees for that thread's next use. With a dozen threads
that take turns with frames of megabytes, this was a quarter of a prediction's
memory, and grew with the number of videos.
"""

import ctypes
import functools


def give_back() -> None:
    """Gives back what was freed; does nothing where the C library cannot."""
    _trim()(0)


@functools.cache
def _trim():
    """Returns glibc's `malloc_trim`, or what does nothing in its place."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows.
        return lambda padding: 0
