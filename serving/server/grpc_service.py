"""The gRPC services: PredictionService and ModelService."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.server import predict, status
from serving.server.in_flight import InFlight
from serving.server.models import Models

_log = logging.getLogger(__name__)
SIGNATURE_DEF = "signature_def"


def add_services(
    server: grpc.Server, models: Models, in_flight: InFlight, max_bytes: int
) -> None:
    """Adds both services to a gRPC server that is not started yet.

    Args:
        server: The server.
        models: What it serves.
        in_flight: What counts the requests.
        max_bytes: Largest input tensor, in bytes.
    """
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(models, in_flight, max_bytes), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(models, in_flight), server
    )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other methods are UNIMPLEMENTED."""

    def __init__(self, models: Models, in_flight: InFlight, max_bytes: int):
        self._models = models
        self._answer = functools.partial(_answer, in_flight)
        self._max_bytes = max_bytes

    def Predict(self, request, context):
        return self._answer(
            context, predict.predict, self._models, request, self._max_bytes
        )

    def GetModelMetadata(self, request, context):
        return self._answer(context, metadata, self._models, request)

    def Classify(self, request, context):
        return self._answer(context, _unimplemented, "Classify")

    def Regress(self, request, context):
        return self._answer(context, _unimplemented, "Regress")

    def MultiInference(self, request, context):
        return self._answer(context, _unimplemented, "MultiInference")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; HandleReloadConfigRequest is UNIMPLEMENTED."""

    def __init__(self, models: Models, in_flight: InFlight):
        self._models = models
        self._answer = functools.partial(_answer, in_flight)

    def GetModelStatus(self, request, context):
        return self._answer(context, model_status, self._models, request)

    def HandleReloadConfigRequest(self, request, context):
        return self._answer(
            context, _unimplemented, "HandleReloadConfigRequest"
        )


def metadata(
    models: Models, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answers GetModelMetadata: every signature of a version.

    Raises:
        StatusError: A field but `signature_def` is asked for, or none, or
            the version is not loaded.
    """
    if not request.HasField("model_spec"):
        raise status.invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise status.invalid(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise status.invalid(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    with models.use(request) as (version, model):
        for name, signature in model.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def model_status(
    models: Models, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """Answers GetModelStatus, the newest version first.

    Raises:
        StatusError: There is no such model or version.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in models.statuses(request):
        found = response.model_version_status.add(
            version=version.version, state=int(version.state)
        )
        if version.error:
            found.status.error_code = version.error.code.value[0]
            found.status.error_message = version.error.message
        else:
            found.status.error_code = 0
    return response


def _unimplemented(method: str):
    raise status.StatusError(
        grpc.StatusCode.UNIMPLEMENTED,
        f"{method} is not served here; use Predict",
    )


def _answer(
    in_flight: InFlight,
    context: grpc.ServicerContext,
    method: Callable,
    *arguments: Any,
) -> Any:
    """Runs a method; its errors become the call's status."""
    if not context.is_active():
        # It waited for a thread beyond its deadline: nobody reads an answer.
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late to start")
    try:
        with in_flight.request():
            return method(*arguments)
    except Exception as e:
        error = status.from_exception(e)
        if error.code == grpc.StatusCode.INTERNAL:
            _log.exception("%s failed", method.__name__)
    context.abort(error.code, error.grpc_details)
