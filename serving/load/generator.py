"""A load run on one server: mixed requests, closed or open loop, a report."""

import dataclasses
import os
import platform
import random
import threading
from collections.abc import Sequence

import grpc

from serving.client.connection import Endpoint
from serving.client.messages import messages
from serving.load import measure
from serving.load.requests import Request

# Channels, each with a connection of its own, as separate clients have.
MAX_CHANNELS = 32


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        seconds: How long requests are sent.
        concurrency: Callers of a closed loop; None for an open one.
        rate: Requests per second of an open loop; None for a closed one.
        max_in_flight: Requests of an open loop that may be under way.
        timeout_s: Deadline of each request in seconds. None is tried again.
        seed: Of the order of requests and of an open loop's moments.
    """

    seconds: float
    concurrency: int | None = None
    rate: float | None = None
    max_in_flight: int = 64
    timeout_s: float = 10.0
    seed: int = 0


class Load:
    """Sends requests over a few channels; also a context manager."""

    def __init__(
        self, endpoint: Endpoint, requests: Sequence[Request], plan: Plan
    ):
        """Connects at the first request.

        Args:
            endpoint: The server.
            requests: What is sent, drawn at random.
            plan: How.
        """
        self._plan = plan
        self._requests = requests
        self._random = random.Random(plan.seed)
        self._lock = threading.Lock()
        self._metadata = endpoint.metadata
        callers = plan.concurrency or plan.max_in_flight
        self._channels = [
            endpoint.channel(_Apart(i))
            for i in range(min(callers, MAX_CHANNELS))
        ]
        self._methods = [
            channel.unary_unary(
                "/tensorflow.serving.PredictionService/Predict",
                request_serializer=None,
                response_deserializer=messages().PredictResponse.FromString,
            )
            for channel in self._channels
        ]

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_) -> None:
        for channel in self._channels:
            channel.close()

    def call(self) -> tuple[str, int, int]:
        """Sends one request; returns its signature, rows, and the version.

        Raises:
            grpc.RpcError: It failed.
        """
        with self._lock:
            request = self._random.choice(self._requests)
            method = self._random.choice(self._methods)
        response = method(
            request.data,
            timeout=self._plan.timeout_s,
            metadata=self._metadata,
        )
        return (
            request.signature_name,
            request.rows,
            response.model_spec.version.value,
        )

    def run(self, stop: threading.Event | None = None) -> measure.Samples:
        """Sends requests as planned until the time is over, or `stop`."""
        plan = self._plan
        if plan.rate is None:
            return measure.closed_loop(
                self.call, plan.concurrency, plan.seconds, stop
            )
        return measure.open_loop(
            self.call,
            plan.rate,
            plan.seconds,
            plan.max_in_flight,
            plan.seed,
            stop,
        )


def report(plan: Plan, samples: measure.Samples) -> dict:
    """Returns a run as plain data, for JSON; latencies in milliseconds."""
    versions: dict[str, int] = {}
    signatures: dict[str, list[float]] = {}
    for (name, rows, version), seconds in samples.by_kind.items():
        key = str(version)
        versions[key] = versions.get(key, 0) + len(seconds)
        signatures.setdefault(f"{name} x{rows}", []).extend(seconds)
    return {
        "plan": dataclasses.asdict(plan),
        "loop": "closed" if plan.rate is None else "open",
        "seconds": round(samples.seconds, 3),
        "answered": samples.answered,
        "answers_per_s": round(samples.rate, 2),
        "errors": dict(sorted(samples.errors.items())),
        "not_sent": samples.not_sent,
        "latency_ms": _milliseconds(samples.latencies),
        "signatures": {
            name: {"answered": len(s), "latency_ms": _milliseconds(s)}
            for name, s in sorted(signatures.items())
        },
        "versions": dict(sorted(versions.items())),
        "machine": {
            "processors": os.cpu_count(),
            "machine": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
    }


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    found = measure.percentiles(seconds)
    return {key: round(1000 * value, 3) for key, value in found.items()}


class _Apart:
    """`grpc` for `Endpoint.channel`, with connections that are not shared.

    gRPC lets channels of the same arguments share one connection; another
    argument keeps them apart.
    """

    def __init__(self, number: int):
        self._option = ("emorec.load.channel", number)

    def insecure_channel(self, address, options):
        return grpc.insecure_channel(address, [*options, self._option])

    def secure_channel(self, address, credentials, options):
        return grpc.secure_channel(
            address, credentials, [*options, self._option]
        )
