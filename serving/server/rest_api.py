"""What the REST API answers to a path: status, metadata, predict."""

import json
import re

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.server import (
    grpc_service,
    json_request,
    json_response,
    json_text,
    predict,
    status,
)
from serving.server.models import Models

_MODEL = (
    r"/v1/models/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
)
_STATUS = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.ASCII)
_PREDICT = re.compile(
    _MODEL + r":(?P<method>predict|classify|regress)", re.ASCII
)


def is_prediction(method: str, path: str) -> bool:
    """Whether a request runs a model (the costly ones)."""
    return method == "POST" and _PREDICT.fullmatch(path) is not None


def answer(models: Models, method: str, path: str, body: bytes) -> str:
    """Returns the JSON that answers a request below `/v1/`.

    Args:
        models: What is served.
        method: The HTTP method, in capitals.
        path: The path without its query.
        body: The body, unpacked.

    Raises:
        StatusError: The request is malformed or does not fit the model.
        tf.errors.OpError: The model cannot compute it.
    """
    if method == "POST" and (match := _PREDICT.fullmatch(path)):
        return _predict(models, match, body)
    if method == "GET" and path == "/v1/models":
        raise status.invalid("Missing model name in request.")
    if method == "GET" and (match := _STATUS.fullmatch(path)):
        describe = _metadata if match["metadata"] else _status
        return describe(models, match)
    raise status.invalid(f"Malformed request: {method} {path}")


def _spec(match: re.Match) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=match["name"])
    if match["version"]:
        try:
            spec.version.value = int(match["version"])
        except ValueError as e:
            raise status.invalid(
                f"Failed to convert version: {match['version']} to numeric."
            ) from e
    elif match["label"]:
        spec.version_label = match["label"]
    return spec


def _status(models: Models, match: re.Match) -> str:
    request = get_model_status_pb2.GetModelStatusRequest(
        model_spec=_spec(match)
    )
    found = _to_dict(grpc_service.model_status(models, request))
    return json.dumps(found, indent=1) + "\n"


def _metadata(models: Models, match: re.Match) -> str:
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=_spec(match), metadata_field=[grpc_service.SIGNATURE_DEF]
    )
    response = grpc_service.metadata(models, request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[grpc_service.SIGNATURE_DEF].Unpack(signatures)
    found = {
        "model_spec": _to_dict(response.model_spec),
        "metadata": {grpc_service.SIGNATURE_DEF: _to_dict(signatures)},
    }
    return json.dumps(found, indent=1) + "\n"


def _to_dict(message) -> dict:
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        including_default_value_fields=True,
    )


def _predict(models: Models, match: re.Match, body: bytes) -> str:
    if match["method"] != "predict":
        raise status.StatusError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"{match['method']} is not served here; use predict",
        )
    document = json_text.parse(body)
    name = json_request.signature_name(document) or predict.DEFAULT_SIGNATURE
    request = predict_pb2.PredictRequest(model_spec=_spec(match))
    with models.use(request) as (_, model):
        if name not in model.signatures:
            raise status.invalid(
                f'Serving signature name: "{name}" not found in signature def'
            )
        inputs = {
            alias: info.dtype
            for alias, info in model.signatures[name].inputs.items()
        }
        if not inputs:
            raise status.invalid(
                f"Failed to get input map for signature: {name}"
            )
        arrays, is_row = json_request.arrays(document, inputs)
        outputs = predict.run(model, name, arrays)
    to_json = json_response.rows if is_row else json_response.columns
    return to_json(outputs)
