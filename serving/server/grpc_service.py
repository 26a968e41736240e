"""The gRPC services: PredictionService and ModelService."""

import functools

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.server import inference, predict, status
from serving.server.grpc_answer import answer
from serving.server.in_flight import InFlight
from serving.server.metrics import Metrics
from serving.server.model_service import ModelService
from serving.server.models import Models

SIGNATURE_DEF = "signature_def"


def add_services(
    server: grpc.Server,
    models: Models,
    in_flight: InFlight,
    max_bytes: int,
    metrics: Metrics | None = None,
) -> None:
    """Adds both services to a gRPC server that is not started yet.

    Args:
        server: The server.
        models: What it serves.
        in_flight: What counts the requests.
        max_bytes: Largest input tensor, in bytes.
        metrics: Where predictions are counted; None counts them nowhere.
    """
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(models, in_flight, max_bytes, metrics), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelService(models, in_flight), server
    )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(
        self,
        models: Models,
        in_flight: InFlight,
        max_bytes: int,
        metrics: Metrics | None = None,
    ):
        self._models = models
        self._answer = functools.partial(answer, in_flight)
        self._max_bytes = max_bytes
        self._metrics = metrics or Metrics()

    def Predict(self, request, context):
        return self._infer(
            "Predict", predict.predict, request.model_spec, request, context
        )

    def Classify(self, request, context):
        return self._infer(
            "Classify", inference.classify, request.model_spec, request, context
        )

    def Regress(self, request, context):
        return self._infer(
            "Regress", inference.regress, request.model_spec, request, context
        )

    def MultiInference(self, request, context):
        spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
        return self._infer(
            "MultiInference", inference.multi_inference, spec, request, context
        )

    def GetModelMetadata(self, request, context):
        return self._answer(context, metadata, self._models, request)

    def _infer(self, api: str, method, spec, request, context):
        @functools.wraps(method)
        def counted():
            with self._metrics.request(self._models, spec.name, api, "GRPC"):
                return method(self._models, request, self._max_bytes)

        return self._answer(context, counted)


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
