"""Worker processes, and whole commands, measured from outside."""

import json
import os
import pathlib
import select
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[1]
# No run takes longer; a side that hangs is ended.
TIMEOUT_S = 1800.0


class SideError(Exception):
    """A side failed; the message is one line."""


def environment(
    weights: pathlib.Path | None = None, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Returns the environment of every measured process.

    Processors alone, since the peers that need no torch run on nothing else.
    """
    names = ("PYTHONPATH", "TF_USE_LEGACY_KERAS", "PYTHONDONTWRITEBYTECODE")
    made = {k: v for k, v in os.environ.items() if k not in names}
    made |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if weights is not None:
        made["EMOREC_WEIGHTS_DIR"] = str(weights)
    return made | dict(extra or {})


class Worker:
    """A `benchmarks.worker` process.

    Args:
        python: The interpreter.
        env: Its whole environment.
        log: Where its standard error goes (appended).
    """

    def __init__(self, python, env: Mapping[str, str], log: pathlib.Path):
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._received = b""
        with open(log, "ab") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=dict(env),
            )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def send(self, request: dict) -> None:
        """Asks without waiting, so that two workers get ready at once."""
        try:
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
        except OSError as e:
            raise SideError(self._death()) from e

    def receive(self, timeout_s: float = TIMEOUT_S) -> dict:
        """Returns the answer to the oldest request.

        Raises:
            SideError: The side failed, died, or took too long.
        """
        pipe = self._process.stdout.fileno()
        until = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            left = max(0, until - time.monotonic())
            if not select.select([pipe], [], [], left)[0]:
                self.close()
                raise SideError(f"took over {timeout_s:g} s; see {self._log}")
            part = os.read(pipe, 1 << 16)
            if not part:
                raise SideError(self._death())
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise SideError(answer["error"])
        return answer

    def ask(self, request: dict, timeout_s: float = TIMEOUT_S) -> dict:
        """Sends, and waits for the answer."""
        self.send(request)
        return self.receive(timeout_s)

    def close(self) -> None:
        """Ends the process; a second call does nothing."""
        if self.alive:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except OSError:
                continue  # What was not yet sent to the dead process.

    def _death(self) -> str:
        code = self._process.wait()
        return f"its process ended with {code}; see {self._log}"


def command(
    words: Sequence[str],
    env: Mapping[str, str],
    log: pathlib.Path,
    timeout_s: float = TIMEOUT_S,
    cores: Collection[int] | None = None,
) -> dict:
    """Runs a command to its end.

    Args:
        words: The command.
        env: Its whole environment.
        log: Where its output goes (appended).
        timeout_s: Longest wall time.
        cores: The cores that it may run on; all by default.

    Returns:
        `seconds` of wall time, `cpu` seconds with those of its children, and
        `peak_mb`, its largest resident size (of it or one child), MiB.

    Raises:
        SideError: It failed or took too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [str(w) for w in words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env=dict(env),
        )
        if cores:
            # At once, before it has threads.
            os.sched_setaffinity(process.pid, cores)
        _, status, usage = _waited(process, start + timeout_s)
    seconds = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code:
        name = pathlib.Path(str(words[0])).name
        raise SideError(f"{name} ended with {code}: {_last_line(log)}")
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def _waited(process, until):
    """Waits with `wait4`, which gives the usage of this child alone."""
    while True:
        found = os.wait4(process.pid, os.WNOHANG)
        if found[0]:
            return found
        if time.perf_counter() > until:
            process.kill()
            return os.wait4(process.pid, 0)
        time.sleep(0.005)


def _last_line(log: pathlib.Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    return lines[-1][:300] if lines else f"see {log}"
