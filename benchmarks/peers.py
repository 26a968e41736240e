"""The peers' environment, `build/bench-venv`, from its own locks."""

import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import sys

from benchmarks.processes import ROOT

LOCK = ROOT / "benchmarks" / "requirements.lock"
TORCH_LOCK = ROOT / "benchmarks" / "requirements-torch.lock"
VENV = ROOT / "build" / "bench-venv"


@dataclasses.dataclass(frozen=True)
class Peers:
    """Where the peers run, and what cannot.

    Attributes:
        python: Their interpreter.
        missing: Why the environment could not be made, or None.
        torch_missing: Why torch could not be installed into it, or None.
    """

    python: pathlib.Path
    missing: str | None = None
    torch_missing: str | None = None

    def why_not(self, venv: str) -> str | None:
        """Says why `peers` or `torch` cannot be used, or None."""
        return self.missing or (self.torch_missing if venv == "torch" else None)


def make(*, torch: bool, say) -> Peers:
    """Makes the environment where its locks changed, else takes it.

    Args:
        torch: Whether torch's lock is wanted too.
        say: Takes a line of progress.
    """
    python = VENV / "bin" / "python"
    missing = _installed(LOCK, VENV / "ready", say, anew=True)
    torch_missing = None
    if missing is None and torch:
        # torch by pip alone: its index may hold builds of the machine's own.
        torch_missing = _installed(
            TORCH_LOCK, VENV / "ready-torch", say, anew=False
        )
    return Peers(python, missing, torch_missing)


def _installed(lock, marker, say, *, anew) -> str | None:
    """Installs a lock unless the marker says so; returns why not, or None."""
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if marker.is_file() and marker.read_text() == wanted:
        return None
    say(f"setting up {VENV.relative_to(ROOT)} from {lock.relative_to(ROOT)}")
    uv = shutil.which("uv") if anew else None
    steps = []
    if anew:
        steps.append(
            [uv, "venv", "-q", "--clear", "--python", sys.executable, VENV]
            if uv
            else [sys.executable, "-m", "venv", "--clear", VENV]
        )
        if uv:
            # torch's lock wants pip.
            steps.append([uv, "pip", "install", "-q", *_into(), "pip"])
    if uv:
        install = [uv, "pip", "install", "-q", *_into()]
    else:
        install = [VENV / "bin" / "pip", "install", "-qq"]
        install.append("--disable-pip-version-check")
    steps.append([*install, "--no-deps", "-r", lock])
    for words in steps:
        done = subprocess.run(
            [str(w) for w in words], capture_output=True, text=True
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            return (
                f"{lock.relative_to(ROOT)} could not be installed "
                f"({lines[-1][:200]}); check pip's index, then run again"
            )
    marker.write_text(wanted)
    return None


def _into() -> list:
    return ["--python", VENV / "bin" / "python"]
