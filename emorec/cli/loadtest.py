r"""emorec loadtest: put a model server under load and measure its answers.

  emorec loadtest --server=127.0.0.1:8500 --model_name=emotion \
      --requests=serving/emotion/1 --concurrency=8 --seconds=10

The requests are those of a version folder's warmup file, or of a request log.
--concurrency is a closed loop: so many callers, each waiting for its answer.
--rate is an open loop: requests come at that rate, answers or not, and
latencies count from when each was due. No request is tried again.
"""

import math
import threading

from absl import flags

from emorec.cli import options, server_flags
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_SERVER = flags.DEFINE_string(
    "server",
    None,
    "HOST:PORT of the gRPC port.",
    required=True,
    flag_values=FLAGS,
)
_NAME = flags.DEFINE_string(
    "model_name", "emotion", "The model's name there.", flag_values=FLAGS
)
_REQUESTS = flags.DEFINE_string(
    "requests",
    None,
    "A version folder with a warmup file, or TFRecords of PredictionLog.",
    required=True,
    flag_values=FLAGS,
)
_SIGNATURES = flags.DEFINE_list(
    "signatures",
    [],
    "Only requests to these signatures; several are mixed.",
    flag_values=FLAGS,
)
_BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "Only requests of so many rows.",
    lower_bound=1,
    flag_values=FLAGS,
)
_CONCURRENCY = flags.DEFINE_integer(
    "concurrency",
    None,
    "Callers of a closed loop.",
    lower_bound=1,
    upper_bound=1024,
    flag_values=FLAGS,
)
_RATE = flags.DEFINE_float(
    "rate",
    None,
    "Requests per second of an open loop.",
    lower_bound=0.001,
    upper_bound=1e5,
    flag_values=FLAGS,
)
_IN_FLIGHT = flags.DEFINE_integer(
    "max_in_flight",
    64,
    "Requests of an open loop that may be under way; those due beyond them "
    "are counted as not sent.",
    lower_bound=1,
    upper_bound=1024,
    flag_values=FLAGS,
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    10.0,
    "How long requests are sent.",
    lower_bound=0.1,
    upper_bound=86400,
    flag_values=FLAGS,
)
_TIMEOUT = flags.DEFINE_float(
    "timeout",
    10.0,
    "Deadline of a request in seconds, and longest wait for the server.",
    lower_bound=0.001,
    upper_bound=3600,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of the order of the requests.", flag_values=FLAGS
)
_SECURITY = server_flags.define(FLAGS)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Write the figures to this JSON file.", flag_values=FLAGS
)
_QUIET = options.define_quiet(FLAGS)

_MAX_MESSAGE = 2**31 - 1


def main(args: list[str]) -> int:
    options.no_arguments(args)
    if (_CONCURRENCY.value is None) == (_RATE.value is None):
        raise UsageError(
            "give exactly one of --concurrency (closed loop) and --rate "
            "(open loop)"
        )
    if not all(map(math.isfinite, (_RATE.value or 1.0, _SECONDS.value))):
        raise UsageError(
            "--rate and --seconds must be numbers. Received: "
            f"{_RATE.value} and {_SECONDS.value}"
        )
    target = options.check_output(_OUTPUT.value)

    from emorec.data import files
    from serving.client.connection import Endpoint
    from serving.client.emotion_client import EmotionClient
    from serving.load import generator, requests

    security = server_flags.security(_SECURITY)
    endpoint = Endpoint(_SERVER.value, _NAME.value, _MAX_MESSAGE, **security)
    found = requests.read(
        _REQUESTS.value, _NAME.value, _SIGNATURES.value, _BATCH.value
    )
    with EmotionClient(_SERVER.value, _NAME.value, **security) as client:
        client.wait_ready(_TIMEOUT.value)
    plan = generator.Plan(
        _SECONDS.value,
        _CONCURRENCY.value,
        _RATE.value,
        _IN_FLIGHT.value,
        _TIMEOUT.value,
        _SEED.value,
    )
    with generator.Load(endpoint, found, plan) as load, _progress(plan):
        samples = load.run()
    result = {"model": _NAME.value, **generator.report(plan, samples)}
    _print(result)
    if target:
        files.write_json(target, result)
        print(_OUTPUT.value)
    return 0 if samples.answered else 1


class _progress:
    """A bar of the seconds, on a terminal and only there."""

    def __init__(self, plan):
        self._bar = options.progress_bar("loadtest", "s", _QUIET.value)
        self._seconds = max(1, round(plan.seconds))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _draw(self):
        for second in range(self._seconds):
            if self._over.wait(1.0):
                break
            self._bar(second + 1, self._seconds)


def _print(result: dict) -> None:
    plan = result["plan"]
    how = (
        f"closed loop of {plan['concurrency']}"
        if result["loop"] == "closed"
        else f"open loop at {plan['rate']:g}/s"
    )
    print(
        f"{how}, {result['seconds']:.1f} s: {result['answered']} answers, "
        f"{result['answers_per_s']:.1f}/s"
    )
    width = max([8, *map(len, result["signatures"])])
    names = ("mean", "p50", "p90", "p95", "p99", "max")
    head = " ".join(f"{n:>8}" for n in names)
    print(f"{'ms':<{width}} {'answers':>8} {head}")
    rows = dict(result["signatures"])
    if len(rows) != 1:
        rows["all"] = result
    for name, row in rows.items():
        found = row["latency_ms"]
        cells = " ".join(
            f"{found[n]:8.2f}" if found else " " * 8 for n in names
        )
        print(f"{name:<{width}} {row['answered']:>8} {cells}".rstrip())
    errors = dict(result["errors"])
    if result["not_sent"]:
        errors["not sent"] = result["not_sent"]
    told = ", ".join(f"{code} {n}" for code, n in errors.items()) or "none"
    print(f"errors: {told}")
    if len(result["versions"]) > 1:
        told = ", ".join(f"{v}: {n}" for v, n in result["versions"].items())
        print(f"answers by version: {told}")
