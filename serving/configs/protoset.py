"""The protocol as one file of descriptors, for grpcurl and its like.

The messages are the real definitions in tensorflow-serving-api, since the
light client's own hold only what it uses; the services are written out, since
the package's own (2.16.1) cannot be imported beside protobuf 4: they set an
attribute that is read-only. A model server has no reflection: without this
file such tools know none of its methods.
"""

from collections.abc import Iterable

from google.protobuf import descriptor_pb2

_APIS = "tensorflow_serving/apis"
_PACKAGE = "tensorflow.serving"

# service: {method: (request, response)}
_SERVICES = {
    "PredictionService": {
        "Classify": ("ClassificationRequest", "ClassificationResponse"),
        "Regress": ("RegressionRequest", "RegressionResponse"),
        "Predict": ("PredictRequest", "PredictResponse"),
        "MultiInference": ("MultiInferenceRequest", "MultiInferenceResponse"),
        "GetModelMetadata": (
            "GetModelMetadataRequest",
            "GetModelMetadataResponse",
        ),
    },
    "ModelService": {
        "GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse"),
        "HandleReloadConfigRequest": (
            "ReloadConfigRequest",
            "ReloadConfigResponse",
        ),
    },
}


def file_descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """Returns PredictionService and ModelService with all that they name.

    Every file comes after those that it imports.
    """
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        predict_pb2,
        regression_pb2,
    )

    modules = (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        predict_pb2,
        regression_pb2,
    )
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    _collect((m.DESCRIPTOR for m in modules), found)
    services = descriptor_pb2.FileDescriptorProto(
        name=f"{_APIS}/services.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[m.DESCRIPTOR.name for m in modules],
    )
    for name, methods in _SERVICES.items():
        service = services.service.add(name=name)
        for method, (request, response) in methods.items():
            service.method.add(
                name=method,
                input_type=f".{_PACKAGE}.{request}",
                output_type=f".{_PACKAGE}.{response}",
            )
    return descriptor_pb2.FileDescriptorSet(file=[*found.values(), services])


def _collect(files: Iterable, found: dict) -> None:
    for file in files:
        if file.name in found:
            continue
        _collect(file.dependencies, found)
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        found[file.name] = proto
