r"""emorec tune_batching: measure a model server's best batching parameters.

  emorec tune_batching --model_base_path=serving/emotion \
      --signature=features --target_p99_ms=100 \
      --output=batching_parameters.txt

Starts a server for each candidate, tensorflow_model_server where it is on the
PATH and the embedded one elsewhere, and asks it in a closed loop with the
model's own warmup requests. Writes the candidate of the most answers per
second whose p99 is within the target, and OUTPUT.json with all measurements.
Clients and server share this machine, so a server with a machine of its own
does better; the order of the candidates is what counts. Measure on the
machine that will serve, while it does nothing else.
"""

import os

from absl import flags

from emorec.cli import options
from emorec.errors import ServerError, UsageError

FLAGS = flags.FlagValues()
_BASE_PATH = flags.DEFINE_string(
    "model_base_path",
    None,
    "The folder of the version folders; the newest one is measured, and must "
    "have a warmup file.",
    required=True,
    flag_values=FLAGS,
)
_NAME = flags.DEFINE_string(
    "model_name", "emotion", "The model's name.", flag_values=FLAGS
)
_SIGNATURE = flags.DEFINE_string(
    "signature", "serving_default", "The signature to ask.", flag_values=FLAGS
)
_ROWS = flags.DEFINE_integer(
    "rows",
    None,
    "Batch size of each request; by default the smallest in the warmup file.",
    lower_bound=1,
    flag_values=FLAGS,
)
_TARGET = flags.DEFINE_float(
    "target_p99_ms",
    None,
    "The longest time in milliseconds that 99 of 100 requests may take.",
    lower_bound=0.001,
    required=True,
    flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "The batching parameters file to write.",
    required=True,
    flag_values=FLAGS,
)
_CONCURRENCY = flags.DEFINE_integer(
    "concurrency",
    32,
    "Callers, each waiting for its answer before it asks again.",
    lower_bound=1,
    upper_bound=1024,
    flag_values=FLAGS,
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    5.0,
    "How long each candidate is measured; a fifth of it goes before.",
    lower_bound=0.1,
    upper_bound=3600,
    flag_values=FLAGS,
)
_SIZES = flags.DEFINE_list(
    "batch_sizes",
    ["8", "16", "32", "64"],
    "Values of max_batch_size to try. Those below the largest record of the "
    "warmup file are left out: no server would load the model with them.",
    flag_values=FLAGS,
)
_TIMEOUTS = flags.DEFINE_list(
    "timeouts_micros",
    ["0", "1000", "5000", "20000"],
    "Values of batch_timeout_micros to try.",
    flag_values=FLAGS,
)
_THREADS = flags.DEFINE_integer(
    "batch_threads",
    None,
    "num_batch_threads; by default the number of CPUs.",
    lower_bound=1,
    upper_bound=1024,
    flag_values=FLAGS,
)
_EMBEDDED = flags.DEFINE_bool(
    "embedded",
    False,
    "Measure the embedded server even where tensorflow_model_server is there.",
    flag_values=FLAGS,
)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    sizes = _numbers("batch_sizes", _SIZES.value, 1)
    timeouts = _numbers("timeouts_micros", _TIMEOUTS.value, 0)
    base_path = os.path.abspath(_BASE_PATH.value)
    if not os.path.isdir(base_path):
        raise UsageError(
            f"{base_path}: `--model_base_path` must be a folder of version "
            "folders; make one with `emorec export`"
        )
    # Both now, rather than after minutes of measuring.
    target = options.check_output(_OUTPUT.value)
    details = options.check_output(f"{_OUTPUT.value}.json")

    from emorec.data import files
    from serving.load import tuning, tuning_load
    from serving.server import external

    binary = None if _EMBEDDED.value else external.find_model_server()
    load = tuning_load.read(
        base_path, _NAME.value, _SIGNATURE.value, _ROWS.value
    )
    found = _measure(tuning, load, sizes, timeouts, binary)
    chosen = tuning.choose(found, _TARGET.value)
    server = external.version(binary) if binary else "embedded"
    result = {
        "server": server,
        "target_p99_ms": _TARGET.value,
        **tuning.describe(load, found, chosen),
    }
    files.write_json(details, result)
    _print(load, server, found)
    if chosen is None:
        best = min(found[1:], key=lambda m: m.p99_ms)
        raise ServerError(
            f"no candidate answers everything with a p99 within "
            f"{_TARGET.value:g} ms; the lowest p99 was {best.p99_ms:.1f} ms "
            f"(all are in {_OUTPUT.value}.json); raise --target_p99_ms or "
            "lower --concurrency"
        )
    with files.atomic(target) as temporary:
        temporary.write_text(
            tuning.to_text(load, chosen, server, _TARGET.value),
            encoding="utf-8",
        )
    _print_choice(found[0], chosen)
    print(_OUTPUT.value)
    print(f"{_OUTPUT.value}.json")
    return 0


def _numbers(flag: str, texts: list[str], low: int) -> list[int]:
    values = []
    for text in texts:
        text = text.strip()
        if not (text.isascii() and text.isdigit()) or not (
            low <= int(text) < 2**31
        ):
            raise UsageError(
                f"`--{flag}` must be whole numbers from {low}, with commas "
                f"between. Received: {','.join(texts)}"
            )
        values.append(int(text))
    if not values:
        raise UsageError(f"`--{flag}` must name a number at least")
    return values


def _measure(tuning, load, sizes, timeouts, binary) -> list:
    threads = _THREADS.value or os.cpu_count() or 1
    candidates = tuning.candidates(load, sizes, timeouts, threads)
    left_out = sorted({n for n in sizes if n < load.least_batch})
    if left_out:
        print(
            f"note: no --batch_sizes of {', '.join(map(str, left_out))}: the "
            f"warmup file has a record of {load.least_batch} rows, and a "
            "server of smaller batches would refuse the model"
        )
    update = options.progress_bar("tune_batching", "server", _QUIET.value)
    found = []
    for candidate in candidates:
        update(len(found), len(candidates))
        found.append(
            tuning.measure(
                candidate,
                load,
                _CONCURRENCY.value,
                _SECONDS.value,
                binary=binary,
            )
        )
    update(len(found), len(candidates))
    return found


def _print(load, server, found) -> None:
    rows = "1 row" if load.rows == 1 else f"{load.rows} rows"
    print(
        f"{server}: signature {load.signature_name}, {rows} a request, "
        f"{_CONCURRENCY.value} callers, {_SECONDS.value:g} s each"
    )
    print(
        f"{'max_batch_size':>14} {'timeout_micros':>14} {'answers/s':>9} "
        f"{'p50 ms':>8} {'p99 ms':>8}  errors"
    )
    for m in found:
        batching = m.candidate.max_batch_size
        latency = m.report["latency_ms"]
        cells = [
            f"{latency[p]:8.1f}" if latency else " " * 8 for p in ("p50", "p99")
        ]
        errors = ", ".join(f"{k} {n}" for k, n in m.report["errors"].items())
        print(
            f"{batching or 'no batching':>14} "
            f"{m.candidate.timeout_micros if batching else '':>14} "
            f"{m.rate:9.1f} {' '.join(cells)}  {errors or 'none'}"
        )


def _print_choice(baseline, chosen) -> None:
    candidate = chosen.candidate
    print(
        f"chosen: max_batch_size {candidate.max_batch_size}, timeout "
        f"{candidate.timeout_micros} us: {chosen.rate:.1f} answers/s, p99 "
        f"{chosen.p99_ms:.1f} ms, within {_TARGET.value:g} ms"
    )
    if not baseline.is_within(_TARGET.value):
        print(
            f"without batching: {baseline.rate:.1f} answers/s, p99 "
            f"{baseline.p99_ms:.1f} ms, which is not within it"
        )
    elif baseline.rate < chosen.rate:
        print(f"batching gives {chosen.rate / baseline.rate:.2f} x the answers")
    else:
        print(
            f"note: without batching it is {baseline.rate:.1f} answers/s with "
            "a p99 within the target: under this load leave --enable_batching "
            "off"
        )
