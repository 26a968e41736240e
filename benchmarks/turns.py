"""Sides in turn: A B A B, each in a process of its environment."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence

from benchmarks import processes
from benchmarks.peers import Peers
from benchmarks.processes import SideError, Worker


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        module: A module with `prepare(args) -> run`.
        args: What `prepare` gets: JSON.
        venv: `ours`, `peers`, or `torch` (the peers', with torch in it).
        env: Environment variables of its process.
        fresh: Whether it needs a process of its own: because its peak memory
            counts, or it changes what belongs to the whole process.
    """

    module: str
    args: Mapping = dataclasses.field(default_factory=dict)
    venv: str = "ours"
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fresh: bool = False


class Turns:
    """Runs sides; processes are kept for the next ones of their environment.

    Args:
        peers: The peers' environment.
        quick: Whether torch is left out.
        work: A folder; logs go to `log` in it.
        weights: Folder of the encoders' weights, or None.

    Attributes:
        versions: Of the packages that were loaded, by environment.
    """

    def __init__(
        self,
        peers: Peers,
        *,
        quick: bool,
        work: pathlib.Path,
        weights: pathlib.Path | None,
    ):
        self.versions: dict[str, dict[str, str]] = {}
        self._peers = peers
        self._quick = quick
        self._log = work / "log"
        self._weights = weights
        self._workers: dict[tuple, Worker] = {}

    def close(self) -> None:
        """Ends all processes."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def why_not(self, venv: str) -> str | None:
        """Says why an environment cannot be used, or None."""
        if venv == "ours":
            return None
        if venv == "torch" and self._quick:
            return "left out by QUICK=1: torch takes long to set up"
        return self._peers.why_not(venv)

    def answers(
        self, sides: Sequence[Side], rounds: int, warm_up: int
    ) -> tuple[list[list[dict]], list[str | None]]:
        """Runs sides in turn; returns the workers' answers.

        Args:
            sides: Those of other environments prepare at the same time.
            rounds: Measured runs of each.
            warm_up: Runs of each before them.

        Returns:
            For each side its answers, one a round; and for each side why it
            failed, or None. One that failed has no answers.
        """
        found: list[list[dict]] = [[] for _ in sides]
        failed: list[str | None] = [self.why_not(s.venv) for s in sides]
        with contextlib.ExitStack() as stack:
            workers = [
                None if why else self._worker(stack, side)
                for side, why in zip(sides, failed)
            ]
            self._prepare(workers, sides, failed)
            for number in range(-warm_up, rounds):
                for i, worker in enumerate(workers):
                    if failed[i]:
                        continue
                    try:
                        answer = worker.ask({"run": i})
                    except SideError as e:
                        failed[i], found[i] = str(e), []
                        continue
                    self._note(sides[i].venv, answer.pop("versions"))
                    if number >= 0:
                        found[i].append(answer)
        return found, failed

    def commands(
        self,
        sides: Sequence[tuple[str, Sequence[str]]],
        rounds: int,
        warm_up: int,
        cores: Sequence[set[int] | None] | None = None,
        env: Sequence[Mapping[str, str]] | None = None,
    ) -> tuple[list[list[dict]], list[str | None]]:
        """Runs whole commands in turn; returns as `answers`.

        Args:
            sides: (venv, words) each; the words after the interpreter.
            rounds: Measured runs of each.
            warm_up: Runs of each before them, for the disk.
            cores: For each side the cores that it may use, or None.
            env: For each side environment variables.
        """
        found: list[list[dict]] = [[] for _ in sides]
        failed = [self.why_not(venv) for venv, _ in sides]
        for number in range(-warm_up, rounds):
            for i, (venv, words) in enumerate(sides):
                if failed[i]:
                    continue
                try:
                    answer = processes.command(
                        [self._python(venv), *words],
                        self._environment(env[i] if env else None),
                        self._log / "commands.txt",
                        cores=cores[i] if cores else None,
                    )
                except SideError as e:
                    failed[i], found[i] = str(e), []
                    continue
                if number >= 0:
                    found[i].append(answer)
        return found, failed

    def _worker(self, stack, side: Side) -> Worker:
        key = (side.venv, tuple(sorted(side.env.items())))
        worker = self._workers.get(key)
        if not side.fresh and worker is not None and worker.alive:
            return worker
        worker = Worker(
            self._python(side.venv),
            self._environment(side.env),
            self._log / f"{side.venv}.txt",
        )
        if side.fresh:
            return stack.enter_context(worker)
        self._workers[key] = worker
        return worker

    def _prepare(self, workers, sides, failed) -> None:
        """Prepares all sides; notes who failed."""
        for worker in {id(w): w for w in workers if w is not None}.values():
            # What a comparison before left in memory.
            worker.ask({"forget": True})
        for i, (worker, side) in enumerate(zip(workers, sides)):
            if not failed[i]:
                worker.send(
                    {
                        "prepare": side.module,
                        "args": dict(side.args),
                        "slot": i,
                    }
                )
        for i, worker in enumerate(workers):
            if not failed[i]:
                try:
                    worker.receive()
                except SideError as e:
                    failed[i] = str(e)

    def _python(self, venv: str) -> pathlib.Path | str:
        return sys.executable if venv == "ours" else self._peers.python

    def _environment(self, extra) -> dict[str, str]:
        return processes.environment(self._weights, extra)

    def _note(self, venv: str, found: Mapping[str, str]) -> None:
        self.versions.setdefault(venv, {}).update(found)
