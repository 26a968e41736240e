"""GetModelMetadata and GetModelStatus, asked with the real stubs."""

import grpc
import pytest
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
)

Code = grpc.StatusCode


def refusal(method, message):
    with pytest.raises(grpc.RpcError) as raised:
        method(message, timeout=20)
    return raised.value.code(), raised.value.details()


def metadata_request(*fields, name="toy"):
    message = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=fields
    )
    if name is not None:
        message.model_spec.name = name
    return message


def test_metadata_holds_every_signature(prediction):
    response = prediction.GetModelMetadata(metadata_request("signature_def"))

    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == ""
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert {"serving_default", "echo", "__saved_model_init_op"} <= set(
        found.signature_def
    )
    x = found.signature_def["serving_default"].inputs["x"]
    assert x.dtype == 1
    assert [d.size for d in x.tensor_shape.dim] == [-1, 3]


@pytest.mark.parametrize(
    ("message", "code", "details"),
    [
        (
            metadata_request(),
            Code.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            metadata_request("weights"),
            Code.INVALID_ARGUMENT,
            "Metadata field weights is not supported",
        ),
        (
            metadata_request("signature_def", name=None),
            Code.INVALID_ARGUMENT,
            "Missing ModelSpec",
        ),
        (
            metadata_request("signature_def", name="other"),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(other)",
        ),
    ],
)
def test_metadata_refuses(prediction, message, code, details):
    assert refusal(prediction.GetModelMetadata, message) == (code, details)


def status_request(**spec):
    return get_model_status_pb2.GetModelStatusRequest(
        model_spec=model_pb2.ModelSpec(**spec)
    )


@pytest.mark.parametrize("label", ["", "ignored"])
def test_status(model_service, label):
    (found,) = model_service.GetModelStatus(
        status_request(name="toy", version_label=label)
    ).model_version_status
    assert (found.version, found.state) == (1, 30)
    assert (found.status.error_code, found.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("message", "details"),
    [
        (
            status_request(name="toy", version={"value": 99}),
            "Could not find version 99 of model toy",
        ),
        (
            status_request(name="other"),
            "Could not find any versions of model other",
        ),
    ],
)
def test_status_of_what_is_not_there(model_service, message, details):
    assert refusal(model_service.GetModelStatus, message) == (
        Code.NOT_FOUND,
        details,
    )
