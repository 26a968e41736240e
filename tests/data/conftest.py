"""Fixtures of the tests of data."""

import contextlib
import resource

import pytest


@pytest.fixture
def file_size_limit():
    """A context in which no file may outgrow some bytes.

    It stands for a full disk: the kernel refuses the write (EFBIG) just as
    it does with ENOSPC, and no privilege is needed.
    """

    @contextlib.contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
