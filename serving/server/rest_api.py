"""What the REST API answers to a path: status, metadata, predictions."""

import json
import re
import urllib.parse
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import (
    grpc_service,
    inference,
    json_request,
    json_response,
    json_text,
    model_service,
    predict,
    responses,
    rest_inference,
    status,
)
from serving.server.models import Models

_MODEL = (
    r"/v1/models{}"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
)
_NAME = r"/(?P<name>[^/:]+)"
_STATUS = re.compile(
    _MODEL.format(f"(?:{_NAME})?") + r"(?P<metadata>/metadata)?", re.ASCII
)
_PREDICTION = re.compile(
    _MODEL.format(_NAME) + r":(?P<method>predict|classify|regress)", re.ASCII
)


def prediction(method: str, path: str) -> tuple[str, str] | None:
    """Returns what a request asks of which model, if it runs one.

    Args:
        method: The HTTP method, in capitals.
        path: The path without its query.

    Returns:
        The model's name and `predict`, `classify` or `regress`; None for
        every other request.
    """
    match = _PREDICTION.fullmatch(path) if method == "POST" else None
    return match and (_decoded(match["name"]), match["method"])


def answer(
    models: Models, method: str, path: str, body: bytes, max_bytes: int
) -> str:
    """Returns the JSON that answers a request below `/v1/`.

    Args:
        models: What is served.
        method: The HTTP method, in capitals.
        path: The path without its query.
        body: The body, unpacked.
        max_bytes: Most bytes that the records of a request may take.

    Raises:
        StatusError: The request is malformed or does not fit the model.
        tf.errors.OpError: The model cannot compute it.
    """
    if method == "POST" and (match := _PREDICTION.fullmatch(path)):
        document = json_text.parse(body)
        if match["method"] == "predict":
            return _predict(models, _spec(match), document)
        return _infer(models, match, document, max_bytes)
    if method == "GET" and (match := _STATUS.fullmatch(path)):
        if not match["name"]:
            raise status.invalid("Missing model name in request.")
        describe = _metadata if match["metadata"] else _status
        return describe(models, _spec(match))
    raise status.invalid(f"Malformed request: {method} {path}")


def _spec(match: re.Match) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=_decoded(match["name"]))
    if match["version"]:
        try:
            spec.version.value = int(match["version"])
        except ValueError as e:
            raise status.invalid(
                f"Failed to convert version: {match['version']} to numeric."
            ) from e
    elif match["label"]:
        spec.version_label = _decoded(match["label"])
    return spec


def _decoded(part: str) -> str:
    return urllib.parse.unquote(part, errors="replace")


def _status(models: Models, spec: model_pb2.ModelSpec) -> str:
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
    found = _to_dict(model_service.model_status(models, request))
    return json.dumps(found, indent=1) + "\n"


def _metadata(models: Models, spec: model_pb2.ModelSpec) -> str:
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=spec, metadata_field=[grpc_service.SIGNATURE_DEF]
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


def _predict(
    models: Models, spec: model_pb2.ModelSpec, document: dict[str, Any]
) -> str:
    spec.signature_name = json_request.signature_name(document)
    name = responses.signature_name(spec)
    request = predict_pb2.PredictRequest(model_spec=spec)
    with models.use(request) as (version, model):
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
                "Failed to get input map for signature: "
                f"{spec.signature_name or 'DEFAULT'}"
            )
        arrays, is_row = json_request.arrays(document, inputs)
        outputs = predict.run(model, name, arrays)
    to_json = json_response.rows if is_row else json_response.columns
    text = to_json(outputs)
    if responses.is_logged(models, spec.name):
        # What a gRPC client would have sent and got.
        predict.fill(request.inputs, arrays)
        response = predict_pb2.PredictResponse()
        responses.fill_spec(response.model_spec, spec.name, version, name)
        predict.fill(response.outputs, outputs)
        responses.log(models, spec.name, "predict", request, response)
    return text


def _infer(
    models: Models, match: re.Match, document: dict[str, Any], max_bytes: int
) -> str:
    is_classify = match["method"] == "classify"
    request = (
        classification_pb2.ClassificationRequest()
        if is_classify
        else regression_pb2.RegressionRequest()
    )
    request.model_spec.CopyFrom(_spec(match))
    request.model_spec.signature_name = json_request.signature_name(document)
    rest_inference.fill_input(document, request.input)
    if is_classify:
        response = inference.classify(models, request, max_bytes)
        return json_response.classifications(response.result)
    response = inference.regress(models, request, max_bytes)
    return json_response.regressions(response.result)
