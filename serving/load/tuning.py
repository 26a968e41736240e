"""Finds batching parameters by trying: one server process for each candidate.

Each candidate serves the model with its own parameters and is asked by a
closed loop with the model's own warmup requests. What is best depends on the
model, the machine and the load, so nothing here is a default: a result is a
measurement, and says of what.
"""

import contextlib
import dataclasses
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

from google.protobuf.message import Message

from emorec.errors import ServerError, UsageError
from serving.client import EmotionClient
from serving.client.connection import Endpoint
from serving.client.errors import Unavailable
from serving.configs import schemas
from serving.load import generator
from serving.load.tuning_load import Load
from serving.server import external

_MAX_MESSAGE = 2**31 - 1
# Of the seconds of a candidate, before those that count.
_WARM_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Batching parameters to try.

    Attributes:
        max_batch_size: Most rows of a batch; None is a server without
            batching, to compare with.
        timeout_micros: How long a batch waits to be filled.
        threads: Batches that run at a time.
        enqueued: Most batches that wait.
    """

    max_batch_size: int | None = None
    timeout_micros: int = 0
    threads: int = 1
    enqueued: int = 100

    def parameters(self) -> Message:
        """Returns them as BatchingParameters.

        The allowed sizes are the powers of two, so that a server meets few
        shapes: those that the warmup of `emorec export` has seen.
        """
        params = schemas.message_class("batching")()
        params.max_batch_size.value = self.max_batch_size
        params.batch_timeout_micros.value = self.timeout_micros
        params.max_enqueued_batches.value = self.enqueued
        params.num_batch_threads.value = self.threads
        params.allowed_batch_sizes.extend(
            2**i for i in range((self.max_batch_size - 1).bit_length())
        )
        params.allowed_batch_sizes.append(self.max_batch_size)
        schemas.check_batching(params)
        return params


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one candidate did.

    Attributes:
        candidate: The parameters.
        report: Of `generator.report`.
    """

    candidate: Candidate
    report: dict

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.report["answers_per_s"]

    @property
    def p99_ms(self) -> float:
        """Milliseconds of all but one in 100; infinite without an answer."""
        return self.report["latency_ms"].get("p99", math.inf)

    def is_within(self, p99_ms: float) -> bool:
        """Whether all was answered, and 99 of 100 in that time."""
        return not self.report["errors"] and self.p99_ms <= p99_ms


def candidates(
    load: Load,
    sizes: Sequence[int],
    timeouts_micros: Sequence[int],
    threads: int,
    enqueued: int = 100,
) -> list[Candidate]:
    """Returns no batching, and each size with each timeout.

    Raises:
        UsageError: No size can hold the warmup's largest record.
    """
    fitting = sorted({n for n in sizes if n >= load.least_batch})
    if not fitting:
        raise UsageError(
            f"`--batch_sizes` must have one of {load.least_batch} or more: a "
            "server refuses a version whose warmup has a larger record. "
            f"Received: {', '.join(map(str, sizes))}"
        )
    return [
        Candidate(),
        *(
            Candidate(size, timeout, threads, enqueued)
            for size in fitting
            for timeout in sorted(set(timeouts_micros))
        ),
    ]


def measure(
    candidate: Candidate,
    load: Load,
    concurrency: int,
    seconds: float,
    *,
    binary: str | None = None,
    start_timeout_s: float = 300.0,
) -> Measurement:
    """Measures one candidate in a server of its own, which ends in any case.

    Args:
        candidate: The parameters.
        load: What is asked.
        concurrency: Callers of the closed loop.
        seconds: How long answers count; a fifth of it goes before.
        binary: Path of tensorflow_model_server; None is the embedded one.
        start_timeout_s: Longest wait in seconds for the model.

    Raises:
        ServerError: The server does not start, or ends by itself.
    """
    with _server(candidate, load, binary, start_timeout_s) as (address, check):
        endpoint = Endpoint(address, load.model_name, _MAX_MESSAGE)
        for share in (_WARM_SHARE, 1.0):
            plan = generator.Plan(share * seconds, concurrency, timeout_s=60.0)
            with generator.Load(endpoint, load.requests, plan) as asking:
                report = generator.report(plan, asking.run())
        check()
    return Measurement(candidate, report)


def choose(
    found: Sequence[Measurement], target_p99_ms: float
) -> Measurement | None:
    """Returns the most answers per second within the target, with batching."""
    return max(
        (
            m
            for m in found
            if m.candidate.max_batch_size and m.is_within(target_p99_ms)
        ),
        key=lambda m: m.rate,
        default=None,
    )


def describe(
    load: Load, found: Sequence[Measurement], chosen: Measurement | None
) -> dict:
    """Returns all measurements as plain data, for JSON."""
    return {
        "model": load.model_name,
        "version": load.version,
        "signature": load.signature_name,
        "rows": load.rows,
        "requests": len(load.requests),
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": found[0].report["machine"] if found else {},
        "candidates": [dataclasses.asdict(m) for m in found],
        "chosen": chosen and dataclasses.asdict(chosen.candidate),
    }


def to_text(
    load: Load, chosen: Measurement, server: str, target_p99_ms: float
) -> str:
    """Returns the batching file of a candidate, with what was measured."""
    plan, machine = chosen.report["plan"], chosen.report["machine"]
    # A model's and a server's name may hold any letter.
    comments = (
        "Measured by `emorec tune_batching`: true of this model, machine and "
        "load.",
        f"{load.model_name!a} version {load.version}, signature "
        f"{load.signature_name!a}, {load.rows} row(s) a request, "
        f"{plan['concurrency']} callers,",
        f"server {server!a}, {machine['processors']} processors "
        f"({machine['machine']}):",
        f"{chosen.rate:.1f} answers/s, p99 {chosen.p99_ms:.1f} ms, target "
        f"{target_p99_ms:g} ms.",
    )
    text = schemas.to_text(chosen.candidate.parameters())
    return "".join(f"# {line}\n" for line in comments) + text


@contextlib.contextmanager
def _server(
    candidate: Candidate, load: Load, binary: str | None, timeout_s: float
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Runs a server; gives its address and what tells that it has ended."""
    with tempfile.TemporaryDirectory(prefix="emorec-tuning-") as folder:
        file = None
        if candidate.max_batch_size:
            file = os.path.join(folder, "batching_parameters.txt")
            with open(file, "w", encoding="utf-8") as f:
                f.write(schemas.to_text(candidate.parameters()))
        port = external.free_port()
        line = external.command(
            binary or sys.executable,
            load.base_path,
            model_name=load.model_name,
            port=port,
            batching_file=file,
        )
        if binary is None:
            line[1:1] = ["-m", "emorec", "serve", "--embedded"]
        address = f"127.0.0.1:{port}"
        with external.running(line) as check:
            _wait(address, load.model_name, check, timeout_s)
            yield address, check


def _wait(address, model_name, check, timeout_s) -> None:
    ends = time.monotonic() + timeout_s
    with EmotionClient(address, model_name) as client:
        while True:
            check()
            try:
                return client.wait_ready(0.5)
            except Unavailable as e:
                if time.monotonic() > ends:
                    raise ServerError(
                        f"{address}: the server has not loaded "
                        f"{model_name!r} after {timeout_s:g} s"
                    ) from e
