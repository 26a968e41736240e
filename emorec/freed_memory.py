"""Memory that was freed: kept for a while, then given back to the system.

glibc keeps what a thread frees for that thread's next use. With a dozen threads
that take turns with frames of megabytes, this was a quarter of a prediction's
memory, and grew with the number of videos. So all of it is given back from
time to time, and not, as glibc would, each large piece at once: the system
clears every page that it is asked for again.
"""

import ctypes
import functools
import os

# Of `mallopt`, in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# Bytes of a piece that are asked of the system for it alone: the most that
# glibc takes.
_ALONE = 32 << 20
# Free bytes at the end of a heap from which on it shrinks; what `give_back`
# cannot give back of the heaps of threads.
_SHRINK = 16 << 20


@functools.cache
def keep(heaps: int) -> None:
    """Has the process keep large pieces too until `give_back`.

    A user's own setting stays, and where the C library cannot nothing happens.

    Args:
        heaps: How many, of which each thread has one; the later ones share.
    """
    set_by_user = "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if set_by_user or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = _function("mallopt")
    mallopt(_MMAP_THRESHOLD, _ALONE)
    mallopt(_TRIM_THRESHOLD, _SHRINK)
    mallopt(_ARENA_MAX, heaps)


def give_back() -> None:
    """Gives back what was freed; does nothing where the C library cannot."""
    _function("malloc_trim")(0)


@functools.cache
def _function(name: str):
    """Returns a function of glibc's, or what does nothing in its place."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows.
        return lambda *given: 0
