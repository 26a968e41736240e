"""The real TensorFlow Serving, where its binary is installed."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence

from emorec import signals
from emorec.errors import ServerError
from serving.configs.plan import is_uri

BINARY = "tensorflow_model_server"
# Seconds that a server which was told to end may take before it is killed.
_GRACE_S = 10.0


def find_model_server() -> str | None:
    """Returns the path of `tensorflow_model_server` on PATH, or None."""
    return shutil.which(BINARY)


def command(
    binary: str,
    base_path: str | None = None,
    *,
    model_name: str = "default",
    port: int = 8500,
    rest_port: int | None = None,
    models_file: str | None = None,
    batching: bool = False,
    batching_file: str | None = None,
    monitoring_file: str | None = None,
    ssl_file: str | None = None,
    poll_wait_s: int | None = None,
    allow_labels_for_unavailable: bool = False,
    health: bool = False,
    extra: Sequence[str] = (),
) -> list[str]:
    """Returns the command line that serves what `ModelServer` would.

    The real server listens on every address of the machine: unlike ours it
    has no option for one host.

    Args:
        binary: Path of the server's binary.
        base_path: Folder of the version folders; made absolute, as the
            server demands, unless it is a URI. Not used with `models_file`.
        model_name: The name that clients ask for.
        port: gRPC port.
        rest_port: REST port; None leaves REST off.
        models_file: Text file of ModelServerConfig, of several models.
        batching: Whether requests are batched; so they are with
            `batching_file`.
        batching_file: Text file of BatchingParameters.
        monitoring_file: Text file of MonitoringConfig.
        ssl_file: Text file of SSLConfig.
        poll_wait_s: Seconds between two looks for versions; None is the
            server's own second.
        allow_labels_for_unavailable: Whether labels may go to versions that
            are not loaded.
        health: Whether the health service is offered.
        extra: Further flags, as they are.
    """
    if models_file:
        line = [binary, f"--model_config_file={os.path.abspath(models_file)}"]
    else:
        if not is_uri(base_path):
            base_path = os.path.abspath(base_path)
        line = [
            binary,
            f"--model_name={model_name}",
            f"--model_base_path={base_path}",
        ]
    line += [f"--port={port}", f"--rest_api_port={rest_port or 0}"]
    if batching or batching_file:
        line.append("--enable_batching")
    for name, path in (
        ("batching_parameters_file", batching_file),
        ("monitoring_config_file", monitoring_file),
        ("ssl_config_file", ssl_file),
    ):
        if path:
            line.append(f"--{name}={os.path.abspath(path)}")
    if poll_wait_s is not None:
        line.append(f"--file_system_poll_wait_seconds={poll_wait_s}")
    if allow_labels_for_unavailable:
        line.append("--allow_version_labels_for_unavailable_models")
    if health:
        line.append("--enable_grpc_healthcheck_service")
    return [*line, *extra]


def free_port() -> int:
    """Returns a port on which nothing listens.

    It is free until somebody takes it: the real server cannot be asked for
    any port, as ours can.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def version(binary: str, timeout_s: float = 10.0) -> str:
    """Returns the first line of what a binary says of its version.

    Args:
        binary: Path of the server's binary.
        timeout_s: Longest wait in seconds.

    Returns:
        Such as `TensorFlow ModelServer: 2.16.1`; `unknown` where it says
        nothing.

    Raises:
        ServerError: It cannot be run.
    """
    try:
        done = subprocess.run(
            [binary, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "unknown"
    except OSError as e:
        raise ServerError(
            f"{binary}: cannot be run ({e.strerror or e}); give the path of "
            f"{BINARY}"
        ) from e
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if lines and not done.returncode else "unknown"


@contextlib.contextmanager
def running(line: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Runs a server for the time of a block, and ends it in any case.

    Args:
        line: What `command` gives.

    Yields:
        A function that raises ServerError, with the server's last words,
        once the server has ended by itself.

    Raises:
        ServerError: It cannot be run.
    """
    with tempfile.TemporaryFile() as log:
        process = None

        def check() -> None:
            code = process.poll()
            if code is not None:
                log.seek(0)
                words = _last_words(log.read().decode(errors="replace"))
                raise ServerError(f"{line[0]} ended with code {code}: {words}")

        try:
            try:
                with signals.held():
                    process = subprocess.Popen(
                        line, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                    )
            except OSError as e:
                raise ServerError(
                    f"{line[0]}: cannot be run ({e.strerror or e}); give the "
                    f"path of {BINARY}"
                ) from e
            yield check
        finally:
            if process is not None:
                stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ends a server: asked first, killed after a time of grace."""
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(log: str) -> str:
    """Returns the last line that tells of an error, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it wrote no log"])[-1][:300]
