"""Fixtures of the tests that go the whole way."""

import pytest
from testing import commands


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs one command in this process; gives what it printed."""
    # No download: neither another machine's cache nor the network decides.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("EMOREC_WEIGHTS_DIR", raising=False)

    def run(*args):
        done = commands.here(capsys, *args)
        assert done.code == 0, done.err
        return done

    return run
