"""`emorec serve --embedded` in a process of its own."""

import contextlib
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

from serving.client import EmotionClient
from testing import commands


class Served:
    """A running server.

    Attributes:
        port: Its gRPC port.
    """

    def __init__(self, process: subprocess.Popen, port: int):
        self._process = process
        self.port = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes that the process holds, or held at most (`VmHWM`)."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (x for x in status.splitlines() if x.startswith(field + ":"))
        return int(line.split()[1]) << 10

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> int:
        """Ends it with SIGTERM; returns its exit code."""
        self._process.terminate()
        return self._process.wait(60)


@contextlib.contextmanager
def served(base: pathlib.Path, port: int, *flags: str) -> Iterator[Served]:
    """Serves the model `emotion` below `base` on a port that is free."""
    process = subprocess.Popen(
        commands.line(
            "serve",
            "--embedded",
            f"--port={port}",
            "--model_name=emotion",
            f"--model_base_path={base}",
            *flags,
        ),
        stdout=subprocess.DEVNULL,
        env=commands.environment(),
        start_new_session=True,
    )
    server = Served(process, port)
    try:
        with EmotionClient(server.address) as client:
            client.wait_ready(120)
        yield server
    finally:
        # The group, so that a failure leaves no server behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
