"""What is wrong with a model server's container, however it is started."""

import dataclasses
from collections.abc import Iterable

from emorec.errors import UsageError
from serving.configs import check as configs
from serving.configs import plan as plans
from serving.configs import schemas

_FILE_FLAGS = {
    "model_config_file": "models",
    "batching_parameters_file": "batching",
    "monitoring_config_file": "monitoring",
    "ssl_config_file": "ssl",
}


@dataclasses.dataclass
class Container:
    """A model server's container.

    Attributes:
        where: Its name, for findings.
        image: Its image.
        args: The server's flags.
        ports: The container's ports that are named or published.
        mounts: Paths in the container, and what is there: a text of a config
            file, a folder of this machine, or None where nobody can look.
        metrics_needed: Whether something reads its metrics.
    """

    where: str
    image: str
    args: dict[str, str]
    ports: set[int]
    mounts: dict[str, str | None]
    metrics_needed: bool = False


def parse_args(args: Iterable[str]) -> dict[str, str]:
    """Returns the flags of a command line of `--name=value`."""
    found = {}
    for arg in args:
        name, _, value = str(arg).partition("=")
        found[name.lstrip("-")] = value or "true"
    return found


def check(container: Container, texts_too: bool = True) -> list[str]:
    """Checks a container's flags against its files, ports and image.

    Args:
        container: The container.
        texts_too: Whether its config files are checked by themselves as well,
            not only against the container.

    Returns:
        What is wrong, with the container's name.
    """
    args = container.args
    findings = _image(container.image) + _ports(container)
    for flag, kind in _FILE_FLAGS.items():
        path = args.get(flag)
        if path is None:
            continue
        mount = _mount_of(path, container.mounts)
        if mount is None:
            findings.append(f"--{flag}={path} is in no volume")
        elif mount == path and container.mounts[path] is not None:
            found = _config(kind, path, container, texts_too)
            findings += [f"{path}: {text}" for text in found]
    if "model_config_file" not in args and "model_base_path" not in args:
        findings.append("has neither --model_config_file nor a base path")
    if "batching_parameters_file" in args and (
        args.get("enable_batching") != "true"
    ):
        findings.append("--batching_parameters_file needs --enable_batching")
    return [f"{container.where}: {text}" for text in findings]


def _ports(container) -> list[str]:
    grpc = container.args.get("port", "8500")
    rest = container.args.get("rest_api_port", "0")
    findings = [
        f"--{flag} must be a number. Received: {port!r}"
        for flag, port in (("port", grpc), ("rest_api_port", rest))
        if not port.isdigit()
    ]
    for port in sorted(container.ports):
        if str(port) not in (grpc, rest):
            findings.append(
                f"port {port} is open, and the server listens on {grpc} and "
                f"{rest}"
            )
    # The REST port may stay closed, as it does with TLS.
    if grpc not in map(str, container.ports):
        findings.append(f"--port={grpc} is not open")
    return findings


def _config(kind, path, container, texts_too) -> list[str]:
    """Checks a config file that a container is given."""
    text = container.mounts[path]
    try:
        message = schemas.parse(kind, text, path)
    except UsageError as e:
        return [str(e).removeprefix(f"{path}: ")] if texts_too else []
    findings = configs.check_config(kind, text, path) if texts_too else []
    if kind == "models":
        return findings + _models(message, container)
    if (
        kind == "monitoring"
        and container.metrics_needed
        and not message.prometheus_config.enable
    ):
        findings.append("metrics are read, and `enable` is not true")
    return findings


def _models(message, container) -> list[str]:
    """Checks models.config against the container's volumes and flags."""
    findings = []
    models = message.model_config_list.config
    for model in models:
        path = model.base_path
        if not plans.is_uri(path) and not _mount_of(path, container.mounts):
            findings.append(f"model {model.name!r}: {path} is in no volume")
        if model.HasField("logging_config"):
            findings.append(
                f"model {model.name!r}: `logging_config` ends the open source "
                "server at start; emorec's embedded server alone logs requests"
            )
    flag = "allow_version_labels_for_unavailable_models"
    if container.args.get(flag) != "true" and any(
        model.version_labels for model in models
    ):
        findings.append(f"labels need --{flag}")
    return findings


def _image(image: str) -> list[str]:
    name, _, tag = image.partition(":")
    wanted = plans.IMAGE.partition(":")[2]
    minor = wanted.rpartition(".")[0]
    if name.endswith("tensorflow/serving") and not tag.startswith(f"{minor}."):
        return [
            f"image {image}: the models are TensorFlow {minor}'s, which "
            f"{plans.IMAGE} loads"
        ]
    return []


def _mount_of(path: str, mounts: dict) -> str | None:
    """Returns the mount that holds a path, the longest of several."""
    held = [
        m for m in mounts if path == m or path.startswith(m.rstrip("/") + "/")
    ]
    return max(held, key=len, default=None)
