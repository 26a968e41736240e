"""What every answer to a prediction has: its model_spec, and its log entry."""

from typing import Any

from tensorflow_serving.apis import model_pb2

from serving.server.models import Models

DEFAULT_SIGNATURE = "serving_default"


def signature_name(spec: model_pb2.ModelSpec) -> str:
    """Returns the signature that a spec asks for."""
    return spec.signature_name or DEFAULT_SIGNATURE


def fill_spec(
    spec: model_pb2.ModelSpec, name: str, version: int, signature: str
) -> None:
    """Writes what answered: model, resolved version and signature."""
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature


def is_logged(models: Models, name: str) -> bool:
    """Whether a model's config asks for a log of its requests."""
    return models.request_log(name) is not None


def log(
    models: Models, name: str, kind: str, request: Any, response: Any
) -> None:
    """Logs an answered request, where the model's config asks for it.

    Args:
        models: What knows the model's log.
        name: The model's name.
        kind: `predict`, `classify`, `regress` or `multi_inference`.
        request: The request's message.
        response: The response's message.
    """
    request_log = models.request_log(name)
    if request_log is not None:
        request_log.write(kind, request, response)
