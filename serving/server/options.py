"""What a ModelServer is told: checked, and put into gRPC's own terms."""

import os

import grpc
from google.protobuf.message import Message

from emorec.errors import UsageError
from serving.configs import tls
from serving.server import model_config
from serving.server.metrics import DEFAULT_PATH
from serving.server.status import StatusError


def check_numbers(**values: tuple[float, float, float]) -> None:
    """Checks numbers, each given as (value, lowest, highest).

    Raises:
        UsageError: One is out of range.
    """
    for name, (value, low, high) in values.items():
        if not low <= value <= high:
            raise UsageError(
                f"`{name}` must be {low} to {high}. Received: {value}"
            )


def models_config(
    base_path: str | os.PathLike | None,
    model_name: str,
    models: model_config.ModelServerConfig | None,
) -> model_config.ModelServerConfig:
    """Returns the models to serve: `models`, or else the one of `base_path`.

    Raises:
        UsageError: There is neither, `model_name` cannot be part of a URL,
            or `models` breaks a rule of `model_config.check`.
    """
    if models is None:
        if not base_path:
            raise UsageError(
                "`base_path` or `models` is needed. Received: neither"
            )
        if not model_name or set(model_name) & set("/:"):
            raise UsageError(
                "`model_name` must be text without `/` and `:`. "
                f"Received: {model_name!r}"
            )
        return model_config.single(model_name, os.fspath(base_path))
    if models.WhichOneof("config") != "model_config_list":
        raise UsageError(
            "`models` must have a `model_config_list`. Received: "
            f"{models.WhichOneof('config') or 'an empty config'}"
        )
    try:
        model_config.check(models)
    except StatusError as e:
        raise refused_config(e) from e
    return models


def refused_config(error: StatusError) -> UsageError:
    """Returns the error for a list of models that is refused at the start."""
    remedy = ""
    if error.code == grpc.StatusCode.FAILED_PRECONDITION:
        remedy = (
            "; labels in the first config need "
            "`allow_version_labels_for_unavailable_models`"
        )
    return UsageError(f"`models`: {error.message}{remedy}")


def credentials(ssl: Message) -> grpc.ServerCredentials:
    """Returns gRPC's credentials for an SSLConfig message.

    Raises:
        UsageError: The texts are no key and certificate that fit, or
            `client_verify` has no `custom_ca`.
    """
    fault = tls.fault(ssl.server_key, ssl.server_cert, ssl.custom_ca)
    if fault:
        raise UsageError(f"`ssl`: `server_key` and `server_cert`: {fault}")
    if ssl.client_verify and not ssl.custom_ca:
        raise UsageError(
            "`ssl`: `client_verify` needs `custom_ca`, the authority that "
            "the clients' certificates are from"
        )
    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        ssl.custom_ca.encode() or None,
        ssl.client_verify,
    )


def metrics_path(monitoring: Message | None) -> str | None:
    """Returns the path of a MonitoringConfig's metrics, None where off.

    Raises:
        UsageError: The path does not begin with `/`.
    """
    if monitoring is None or not monitoring.prometheus_config.enable:
        return None
    path = monitoring.prometheus_config.path or DEFAULT_PATH
    if not path.startswith("/"):
        raise UsageError(
            f"`monitoring`: `path` must begin with `/`. Received: {path!r}"
        )
    return path
