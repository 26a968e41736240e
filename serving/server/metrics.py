"""Counts and times of requests and loads, for Prometheus.

The names, labels and buckets are those of the real server, so that its
dashboards work: `:tensorflow:serving:request_count` and so on.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import prometheus_client
from prometheus_client.utils import floatToGoString

from serving.server import status
from serving.server.models import Models

DEFAULT_PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = "text/plain"
# Stands for each name that is no model here: a client could send a new one
# with each request, and every value of a label is kept for ever.
UNKNOWN_MODEL = "(unknown)"

# Microseconds: 10 to 25 minutes.
_BUCKETS = [10 * 1.8**i for i in range(33)]

_T = TypeVar("_T")


class Metrics:
    """The metrics of one server.

    Attributes:
        registry: The registry that holds them.
    """

    def __init__(
        self, registry: prometheus_client.CollectorRegistry | None = None
    ):
        """Starts from zero.

        Args:
            registry: Where to register; None makes a registry of its own, so
                that two servers of one process do not mix.
        """
        # Not `or`: a registry without a metric would be replaced too.
        if registry is None:
            registry = prometheus_client.CollectorRegistry()
        self.registry = registry
        self._requests = prometheus_client.Counter(
            ":tensorflow:serving:request_count",
            "The total number of requests.",
            ("model_name", "status"),
            registry=registry,
        )
        self._latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) of requests.",
            ("model_name", "API", "entrypoint"),
            registry=registry,
            buckets=_BUCKETS,
        )
        self._loads = prometheus_client.Counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was loaded.",
            ("model_path", "status"),
            registry=registry,
        )
        self._load_latency = prometheus_client.Counter(
            ":tensorflow:cc:saved_model:load_latency",
            "Microseconds that the successful loads of a SavedModel took.",
            ("model_path",),
            registry=registry,
        )

    @contextlib.contextmanager
    def request(
        self, models: Models, name: str, api: str, entrypoint: str
    ) -> Iterator[None]:
        """Counts the request that the block answers, and times a good one.

        Args:
            models: What tells whether there is such a model.
            name: The model that is asked for.
            api: `Predict` and so on; from REST `predict` and so on.
            entrypoint: `GRPC` or `REST`.
        """
        start = time.perf_counter()
        try:
            yield
        except Exception as e:
            code = status.from_exception(e).code.name
            known = name if name in models.names else UNKNOWN_MODEL
            self._requests.labels(known, code).inc()
            raise
        took = (time.perf_counter() - start) * 1e6
        self._requests.labels(name, "OK").inc()
        self._latency.labels(name, api, entrypoint).observe(took)

    def timed(self, load: Callable[[str], _T]) -> Callable[[str], _T]:
        """Returns `load`, a function of a version's path, counted and timed."""

        def timed_load(path: str) -> _T:
            start = time.perf_counter()
            try:
                model = load(path)
            except BaseException:
                self._loads.labels(path, "fail").inc()
                raise
            took = (time.perf_counter() - start) * 1e6
            self._loads.labels(path, "success").inc()
            self._load_latency.labels(path).inc(took)
            return model

        return timed_load

    def text(self) -> bytes:
        """Returns every metric in Prometheus' text format.

        `prometheus_client.generate_latest` would add `_total` to the names of
        the counters, which the real server's have not.
        """
        lines = []
        for family in self.registry.collect():
            lines.append(f"# HELP {family.name} {family.documentation}")
            lines.append(f"# TYPE {family.name} {family.type}")
            for sample in family.samples:
                name = sample.name
                if family.type == "counter":
                    name = name.removesuffix("_total")
                if name == f"{family.name}_created":
                    continue
                labels = ",".join(
                    f'{key}="{_escaped(value)}"'
                    for key, value in sample.labels.items()
                )
                value = floatToGoString(sample.value)
                lines.append(f"{name}{{{labels}}} {value}")
        return "".join(f"{line}\n" for line in lines).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
