"""ModelService: what state models are in, and which are served."""

import functools

import grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

from serving.server.grpc_answer import answer
from serving.server.in_flight import InFlight
from serving.server.models import Models


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, models: Models, in_flight: InFlight):
        self._models = models
        self._in_flight = in_flight
        self._answer = functools.partial(answer, in_flight)

    def GetModelStatus(self, request, context):
        return self._answer(context, model_status, self._models, request)

    def HandleReloadConfigRequest(self, request, context):
        return self._answer(context, self._reload, request, context)

    def _reload(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.ServicerContext,
    ) -> model_management_pb2.ReloadConfigResponse:
        def is_over() -> bool:
            return not context.is_active() or self._in_flight.is_draining

        self._models.reload(request.config, is_over)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
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
