"""Loops that put a server under load, and what they measure.

Closed loop: a fixed number of callers, each waiting for its answer before it
asks again; it finds the most that a server can do. Open loop: requests come
at a rate of their own, whether or not answers do, as the world's do; its
latencies count from the moment at which a request was due, so that a server
that stalls cannot hide it by being asked less (coordinated omission).
"""

import collections
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent import futures

import grpc
import numpy as np

PERCENTILES = (50, 90, 95, 99)


@dataclasses.dataclass
class Samples:
    """What one load run saw.

    Attributes:
        seconds: How long it ran, the last answer included.
        by_kind: Seconds of each answered request, by what the call returned.
        errors: Failed requests by gRPC code name.
        not_sent: Requests of an open loop that were due while too many were
            under way.
    """

    seconds: float = 0.0
    by_kind: dict[Hashable, list[float]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    errors: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    not_sent: int = 0

    @property
    def latencies(self) -> list[float]:
        """Seconds of every answered request."""
        return [s for kind in self.by_kind.values() for s in kind]

    @property
    def answered(self) -> int:
        """Requests that were answered."""
        return sum(map(len, self.by_kind.values()))

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds if self.seconds else 0.0


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Returns `mean`, `p50`, `p90`, `p95`, `p99` and `max` of latencies.

    Args:
        seconds: Latencies; where there is none, the result is empty.
    """
    if not len(seconds):
        return {}
    found = np.percentile(seconds, PERCENTILES)
    return {
        "mean": float(np.mean(seconds)),
        **{f"p{p}": float(v) for p, v in zip(PERCENTILES, found)},
        "max": float(np.max(seconds)),
    }


def closed_loop(
    call: Callable[[], Hashable],
    concurrency: int,
    seconds: float,
    stop: threading.Event | None = None,
) -> Samples:
    """Lets `concurrency` callers ask one after the other for some time.

    Args:
        call: Asks once, from any thread; returns what the answer is counted
            under, or raises grpc.RpcError (or an error that came from one).
        concurrency: Callers.
        seconds: Until the last requests are sent.
        stop: Ends the run early once it is set.

    Returns:
        The samples.
    """
    samples, lock = Samples(), threading.Lock()
    stop = stop or threading.Event()
    started = time.monotonic()

    def caller():
        while not stop.is_set() and time.monotonic() - started < seconds:
            _ask(call, time.monotonic(), samples, lock)

    _in_threads([caller] * concurrency, stop)
    samples.seconds = time.monotonic() - started
    return samples


def open_loop(
    call: Callable[[], Hashable],
    rate: float,
    seconds: float,
    max_in_flight: int,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> Samples:
    """Asks at `rate` a second on average, at random moments (Poisson).

    Args:
        call: As for `closed_loop`.
        rate: Requests per second that are due.
        seconds: For how long.
        max_in_flight: Requests that may be under way; one that is due beyond
            them is counted as not sent.
        seed: Of the moments.
        stop: Ends the run early once it is set.

    Returns:
        The samples; latencies count from when a request was due.
    """
    samples, lock = Samples(), threading.Lock()
    stop = stop or threading.Event()
    rng = random.Random(seed)
    free = threading.BoundedSemaphore(max_in_flight)
    started = due = time.monotonic()
    pool = futures.ThreadPoolExecutor(max_in_flight, "open-loop")
    faults = []

    def ask(due):
        try:
            _ask(call, due, samples, lock)
        except BaseException as e:
            faults.append(e)
            stop.set()
        finally:
            free.release()

    try:
        while (due := due + rng.expovariate(rate)) < started + seconds:
            if stop.wait(max(0.0, due - time.monotonic())):
                break
            if free.acquire(blocking=False):
                pool.submit(ask, due)
            else:
                samples.not_sent += 1
    finally:
        pool.shutdown()
    if faults:
        raise faults[0]
    samples.seconds = time.monotonic() - started
    return samples


def _ask(call, since, samples, lock):
    try:
        kind = call()
        took = time.monotonic() - since
        with lock:
            samples.by_kind[kind].append(took)
    except Exception as e:
        code = _code(e)
        if code is None:
            raise
        with lock:
            samples.errors[code] += 1


def _code(error: BaseException | None) -> str | None:
    """Returns the gRPC code behind an error, or None if there is none."""
    while error is not None:
        if isinstance(error, grpc.RpcError):
            return error.code().name
        error = error.__cause__
    return None


def _in_threads(targets, stop):
    """Runs the targets; the first fault of one ends all and is raised."""
    faults = []

    def guarded(target):
        try:
            target()
        except BaseException as e:
            faults.append(e)
            stop.set()

    threads = [
        threading.Thread(target=guarded, args=(t,), daemon=True)
        for t in targets
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl-C: no caller goes on behind our back.
        stop.set()
        raise
    if faults:
        raise faults[0]
