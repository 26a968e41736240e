"""Freed memory goes back to the system where the C library can do it."""

import os
import platform
import subprocess
import sys

import pytest

from emorec import freed_memory

HEAD = """
import ctypes, pathlib, resource, threading
from emorec import freed_memory

c = ctypes.CDLL(None)
c.malloc.restype = c.memset.restype = ctypes.c_void_p
c.malloc.argtypes, c.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
"""
# A thread frees many pieces, and keeps the last one above them.
CODE = """
SIZE, COUNT = 100_000, 600

def work():
    pieces = [c.memset(c.malloc(SIZE), 1, SIZE) for _ in range(COUNT)]
    for piece in pieces[:-1]:
        c.free(piece)

def resident():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096

thread = threading.Thread(target=work)
thread.start()
thread.join()
before = resident()
freed_memory.give_back()
print((before - resident()) / (SIZE * COUNT))
"""


def printed(code, **env):
    """Returns the number that code prints in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **env},
    )
    return float(found.stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library"
)
def test_what_a_thread_freed_goes_back():
    assert printed(CODE) > 0.8


# Pieces of megabytes that are freed and asked for again, each time as new ones.
AGAIN = """
SIZES, COUNT = (6 << 20, 3 << 20, 1 << 20), 30

def work():
    for size in SIZES:
        c.free(c.memset(c.malloc(size), 1, size))

freed_memory.keep(2)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(COUNT):
    work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults / (COUNT * sum(SIZES) / 4096))
"""


def faults(**env):
    """Returns the share of pages that the system had to clear again."""
    return printed(AGAIN, **env)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library"
)
def test_large_pieces_are_kept_unless_a_user_says_otherwise():
    assert faults() < 0.05
    # Each piece above this size is asked of the system, and goes back to it.
    own = "glibc.malloc.mmap_threshold=65536"
    assert faults(GLIBC_TUNABLES=own) > 0.5
    assert faults(MALLOC_MMAP_THRESHOLD_="65536") > 0.5


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: object())
    functions = freed_memory._function, freed_memory.keep
    for function in functions:
        function.cache_clear()
    try:
        freed_memory.keep(2)
        freed_memory.give_back()
    finally:
        for function in functions:
            function.cache_clear()
