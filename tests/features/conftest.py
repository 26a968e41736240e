"""Fixtures of the tests of features."""

import contextlib
import gc
import resource
import sys

import pytest


@pytest.fixture
def full_disk(monkeypatch):
    """A context in which no file may outgrow some bytes: a full disk.

    The kernel refuses the write (EFBIG) just as it does with ENOSPC. Fails
    where an object that is thrown away complains: Python prints that as a
    traceback, which no `except` can catch.
    """

    @contextlib.contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        complaints = []
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", complaints.append)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            gc.collect()
        assert not complaints, complaints[0].exc_value

    return limit
