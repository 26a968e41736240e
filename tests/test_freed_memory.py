"""Freed memory goes back to the system where the C library can do it."""

import platform
import subprocess
import sys

import pytest

from emorec import freed_memory

# A thread frees many pieces, and keeps the last one above them.
CODE = """
import ctypes, pathlib, threading
from emorec import freed_memory

c = ctypes.CDLL(None)
c.malloc.restype = c.memset.restype = ctypes.c_void_p
c.malloc.argtypes, c.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
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


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library"
)
def test_what_a_thread_freed_goes_back():
    found = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert float(found.stdout) > 0.8


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: object())
    freed_memory._trim.cache_clear()
    try:
        freed_memory.give_back()
    finally:
        freed_memory._trim.cache_clear()
