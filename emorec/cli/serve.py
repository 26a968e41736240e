r"""emorec serve: SavedModels over gRPC and REST, on loopback.

  emorec serve --port=8500 --rest_api_port=8501 --model_name=emotion \
      --model_base_path=/path/to/serving/emotion
  emorec serve --model_config_file=models.config --enable_batching \
      --batching_parameters_file=batching_parameters.txt

The flags are tensorflow_model_server's own, which is run with the same files
where it is on the PATH. Else the embedded server answers, with the same codes
and messages; it is for development, tests and small loads.
"""

import contextlib
import gc
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
    "The folder of the version folders, or a URI of one.",
    flag_values=FLAGS,
)
_MODELS = flags.DEFINE_string(
    "model_config_file",
    None,
    "Text file of a ModelServerConfig: several models, version policies, "
    "labels. With it, --model_name and --model_base_path are not used.",
    flag_values=FLAGS,
)
_BATCHING = flags.DEFINE_bool(
    "enable_batching",
    False,
    "Join requests that come together into batches.",
    flag_values=FLAGS,
)
_BATCHING_FILE = flags.DEFINE_string(
    "batching_parameters_file",
    None,
    "Text file of BatchingParameters, as `emorec tune_batching` writes.",
    flag_values=FLAGS,
)
_MONITORING = flags.DEFINE_string(
    "monitoring_config_file",
    None,
    "Text file of a MonitoringConfig: metrics for Prometheus, on the REST "
    "port.",
    flag_values=FLAGS,
)
_SSL = flags.DEFINE_string(
    "ssl_config_file",
    None,
    "Text file of an SSLConfig: TLS on the gRPC port. REST stays without.",
    flag_values=FLAGS,
)
_POLL = flags.DEFINE_integer(
    "file_system_poll_wait_seconds",
    1,
    "Seconds between two looks for new versions; 0 looks once, at the start; "
    "less never looks, so that the server waits for ever (it is there for "
    "tests of the real server).",
    upper_bound=86400,
    flag_values=FLAGS,
)
_LABELS = flags.DEFINE_bool(
    "allow_version_labels_for_unavailable_models",
    False,
    "Let new labels go to versions that are not loaded (yet): needed for "
    "labels in the first --model_config_file.",
    flag_values=FLAGS,
)
_HEALTH = flags.DEFINE_bool(
    "enable_grpc_healthcheck_service",
    False,
    "Offer grpc.health.v1.Health.",
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
    base_path = None if _MODELS.value else _base_path()
    if _BATCHING_FILE.value and not _BATCHING.value:
        raise UsageError("`--batching_parameters_file` needs --enable_batching")
    for holder in (_MODELS, _BATCHING_FILE, _MONITORING, _SSL):
        if holder.value and not os.path.isfile(holder.value):
            raise UsageError(
                f"{holder.value}: `--{holder.name}` must be a file; write one "
                "with `emorec serving_config`"
            )

    from serving.server import external

    binary = None if _EMBEDDED.value else external.find_model_server()
    if binary:
        return _run_external(external, binary, base_path)
    return _run_embedded(base_path)


def _base_path() -> str:
    from serving.configs.plan import is_uri

    if not _BASE_PATH.value:
        raise UsageError(
            "give one of --model_base_path, --model_config_file. Received: none"
        )
    if is_uri(_BASE_PATH.value):
        return _BASE_PATH.value
    base_path = os.path.abspath(_BASE_PATH.value)
    if not os.path.isdir(base_path):
        raise UsageError(
            f"{base_path}: `--model_base_path` must be a folder of version "
            "folders; make one with `emorec export`"
        )
    return base_path


def _notes(is_embedded: bool) -> list[str]:
    """Returns what the user may not expect of these flags, a line each."""
    notes = []
    if _MODELS.value and (_BASE_PATH.value or _NAME.present):
        notes.append(
            "--model_config_file is given: --model_name and "
            "--model_base_path are not used"
        )
    if _SSL.value and _REST_PORT.value:
        notes.append("TLS is on the gRPC port alone: REST has none")
    if _MONITORING.value and not _REST_PORT.value:
        notes.append("metrics are told over REST: none without --rest_api_port")
    if is_embedded and _POLL.value < 0:
        notes.append(
            "--file_system_poll_wait_seconds is below 0: never looks for "
            "versions, waits"
        )
    return notes


def _run_external(external, binary, base_path) -> int:
    if _HOST.present:
        raise UsageError(
            f"`--host` needs --embedded: {binary} has no such option and "
            f"listens on every address. Received: {_HOST.value}"
        )
    print(f"{binary}: listens on every address of this machine", flush=True)
    for note in _notes(is_embedded=False):
        print(note, flush=True)
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
            models_file=_MODELS.value,
            batching=_BATCHING.value,
            batching_file=_BATCHING_FILE.value,
            monitoring_file=_MONITORING.value,
            ssl_file=_SSL.value,
            poll_wait_s=_POLL.value if _POLL.present else None,
            allow_labels_for_unavailable=_LABELS.value,
            health=_HEALTH.value,
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
    configs = _read_configs()

    from serving.server.server import ModelServer

    server = ModelServer(
        base_path=base_path,
        model_name=_NAME.value,
        port=_PORT.value,
        rest_port=_REST_PORT.value or None,
        host=_HOST.value,
        health=_HEALTH.value,
        allow_labels_for_unavailable=_LABELS.value,
        poll_s=_POLL.value,
        **configs,
    )
    # After an unloading garbage is collected. With TensorFlow's half a million
    # objects, which never are garbage, that stops every request for 0.7 s;
    # without them, for 1 ms.
    gc.freeze()
    with _until_stopped() as (stop, started):
        for note in _notes(is_embedded=True):
            print(note, flush=True)
        for path in server.base_paths:
            if _POLL.value > 0 and _has_to_wait(path):
                print(f"waiting for a version folder in {path}", flush=True)
        with server:
            started.set()
            rest = f", REST on {server.rest_port}" if _REST_PORT.value else ""
            names = ", ".join(map(repr, server.model_names))
            print(
                f"embedded server (for development, tests and small loads): "
                f"{names} on {_HOST.value}, gRPC on {server.port}{rest}",
                flush=True,
            )
            # Not signal.pause(): a signal just before it would be lost.
            while not stop.is_set() and not server.wait(0.5):
                pass
    print("stopped", flush=True)
    return 0


def _read_configs() -> dict:
    """Reads the files; returns them as arguments of `ModelServer`."""
    from serving.configs import schemas

    configs = {
        kind: schemas.read(kind, holder.value) if holder.value else None
        for kind, holder in (
            ("models", _MODELS),
            ("batching", _BATCHING_FILE),
            ("monitoring", _MONITORING),
            ("ssl", _SSL),
        )
    }
    if configs["batching"] is not None:
        schemas.check_batching(configs["batching"], _BATCHING_FILE.value)
    elif _BATCHING.value:
        configs["batching"] = schemas.message_class("batching")()
    return configs


def _has_to_wait(base_path) -> bool:
    import tensorflow as tf

    from serving.server import version_folders

    if version_folders.is_saved_model(base_path):
        return False  # One folder too deep: the server says so.
    try:
        return not version_folders.find_versions(base_path)
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
