"""Runs `emorec` commands, in this process or in one of their own."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import warnings
from unittest import mock

from absl import logging

from emorec.cli import main as command

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    def fault(self) -> str:
        """Returns its one line of error; fails if there is more or less."""
        lines = self.err.splitlines()
        assert self.code != 0, f"it should have failed; it printed {self.out}"
        assert len(lines) == 1, f"not one line of error: {self.err}"
        assert "Traceback" not in self.err
        return lines[0]


def here(capsys, *args) -> Done:
    """Runs a command in this process, which has TensorFlow loaded already."""
    capsys.readouterr()
    verbosity = logging.get_verbosity()
    try:
        with mock.patch.dict(os.environ), warnings.catch_warnings():
            code = command.main([str(a) for a in args])
    finally:
        logging.set_verbosity(verbosity)
    return Done(code, *capsys.readouterr())


def environment() -> dict[str, str]:
    """The environment of a command in a process of its own."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def line(*args) -> list[str]:
    """The command line of a command in a process of its own."""
    return [sys.executable, "-m", "emorec", *map(str, args)]


def apart(*args, timeout: float = 120, **options) -> Done:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        line(*args),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=timeout,
        **options,
    )
    return Done(done.returncode, done.stdout, done.stderr)
