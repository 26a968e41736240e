"""emorec serve: a SavedModel over gRPC and REST, on loopback.

  emorec serve --port=8500 --rest_api_port=8501 --model_name=emotion \
      --model_base_path=/path/to/serving/emotion

The flags are tensorflow_model_server's own, which is run where it is on the
PATH. Else the embedded server answers, with the same codes and messages; it
is for development, tests and small loads.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_PORT = flags.DEFINE_integer(
    "port",
    8500,
    "gRPC port; 0 takes a free one.",
    lower_bound=0,
    upper_bound=65535,
    flag_values=FLAGS,
)
_REST_PORT = flags.DEFINE_integer(
    "rest_api_port",
    0,
    "REST port; 0 opens none.",
    lower_bound=0,
    upper_bound=65535,
    flag_values=FLAGS,
)
_NAME = flags.DEFINE_string(
    "model_name", "default", "The model's name.", flag_values=FLAGS
)
_BASE_PATH = flags.DEFINE_string(
    "model_base_path",
    None,
    "The folder of the version folders.",
    required=True,
    flag_values=FLAGS,
)
_HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address that the embedded server listens on. Whoever can reach it can "
    "use the model. (tensorflow_model_server always listens on all.)",
    flag_values=FLAGS,
)
_EMBEDDED = flags.DEFINE_bool(
    "embedded",
    False,
    "Use the embedded server even where tensorflow_model_server is there.",
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    base_path = os.path.abspath(_BASE_PATH.value)
    if not os.path.isdir(base_path):
        raise UsageError(
            f"{base_path}: `--model_base_path` must be a folder of version "
            "folders; make one with `emorec export`"
        )

    from serving.server import external

    binary = None if _EMBEDDED.value else external.find_model_server()
    if binary:
        return _run_external(external, binary, base_path)
    return _run_embedded(base_path)


def _run_external(external, binary, base_path) -> int:
    if _HOST.present:
        raise UsageError(
            f"`--host` needs --embedded: {binary} has no such option and "
            f"listens on every address. Received: {_HOST.value}"
        )
    print(f"{binary}: listens on every address of this machine", flush=True)
    stop, started = [], []

    def passed_on(number, _):
        # Ctrl-C reaches the server as well: only wait for its own end.
        stop.append(number)
        for process in started:
            process.send_signal(number)

    # Before the server is started: a signal between the two must not end
    # this process and leave the server behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, passed_on)
    process = subprocess.Popen(
        external.command(
            binary,
            base_path,
            model_name=_NAME.value,
            port=_PORT.value,
            rest_port=_REST_PORT.value or None,
        )
    )
    started.append(process)
    if stop:
        process.send_signal(stop[-1])
    code = process.wait()
    if stop:
        return 0
    return code if code >= 0 else 128 - code


def _run_embedded(base_path) -> int:
    from serving.server.server import ModelServer

    server = ModelServer(
        base_path=base_path,
        model_name=_NAME.value,
        port=_PORT.value,
        rest_port=_REST_PORT.value or None,
        host=_HOST.value,
    )
    with _until_stopped() as (stop, started):
        if _has_to_wait(base_path):
            print(f"waiting for a version folder in {base_path}", flush=True)
        with server:
            started.set()
            rest = f", REST on {server.rest_port}" if _REST_PORT.value else ""
            print(
                f"embedded server (for development, tests and small loads): "
                f"{_NAME.value!r} on {_HOST.value}, gRPC on {server.port}"
                f"{rest}",
                flush=True,
            )
            # Not signal.pause(): a signal just before it would be lost.
            while not stop.is_set() and not server.wait(0.5):
                pass
    print("stopped", flush=True)
    return 0


def _has_to_wait(base_path) -> bool:
    import tensorflow as tf

    from serving.server import versions

    if os.path.exists(os.path.join(base_path, "saved_model.pb")):
        return False  # One folder too deep: the server says so.
    try:
        return not versions.find_versions(base_path)
    except tf.errors.OpError:
        return True


class _StoppedEarly(BaseException):
    """A signal to stop came before the server had started."""


@contextlib.contextmanager
def _until_stopped() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Gives the events `stop`, set by Ctrl-C and SIGTERM, and `started`.

    Until the caller sets `started`, the first signal ends the block: the
    wait for a version and the loading of a model look at no event.
    """
    stop, started = threading.Event(), threading.Event()

    def told(*_):
        first = not stop.is_set()
        stop.set()
        if first and not started.is_set():
            raise _StoppedEarly

    before = {
        number: signal.signal(number, told)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop, started
    except _StoppedEarly:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
