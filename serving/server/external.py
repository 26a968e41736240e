"""The real TensorFlow Serving, where its binary is installed."""

import os
import shutil
from collections.abc import Sequence

BINARY = "tensorflow_model_server"


def find_model_server() -> str | None:
    """Returns the path of `tensorflow_model_server` on PATH, or None."""
    return shutil.which(BINARY)


def command(
    binary: str,
    base_path: str,
    *,
    model_name: str = "default",
    port: int = 8500,
    rest_port: int | None = None,
    batching_file: str | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """Returns the command line that serves what `ModelServer` would.

    The real server listens on every address of the machine: unlike ours it
    has no option for one host.

    Args:
        binary: Path of the server's binary.
        base_path: Folder of the version folders; made absolute, as the
            server demands, unless it is a URI.
        model_name: The name that clients ask for.
        port: gRPC port.
        rest_port: REST port; None leaves REST off.
        batching_file: Text file of BatchingParameters; None leaves batching
            off.
        extra: Further flags, as they are.
    """
    if "://" not in base_path:
        base_path = os.path.abspath(base_path)
    line = [
        binary,
        f"--model_name={model_name}",
        f"--model_base_path={base_path}",
        f"--port={port}",
        f"--rest_api_port={rest_port or 0}",
    ]
    if batching_file:
        line += [
            "--enable_batching",
            f"--batching_parameters_file={os.path.abspath(batching_file)}",
        ]
    return [*line, *extra]
