"""Classify, Regress and MultiInference: records through a signature.

As the real server does by default (`--enable_signature_method_name_check` is
off there), a signature is not asked for its own `method_name`, which every
signature of `tf.saved_model.save` has as `tensorflow/serving/predict`. What
counts is the shape of the signature: one input `inputs`, and outputs
`classes` and/or `scores` (Classify) or `outputs` (Regress).
"""

from collections.abc import Mapping

import grpc
import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    regression_pb2,
)

from serving.server import responses, status
from serving.server.inference_methods import (
    CLASSIFY,
    INPUTS,
    METHODS,
    REGRESS,
    Method,
)
from serving.server.models import Models

_NO_LIMIT = 2**31 - 1


def classify(
    models: Models,
    request: classification_pb2.ClassificationRequest,
    max_bytes: int = _NO_LIMIT,
) -> classification_pb2.ClassificationResponse:
    """Answers a ClassificationRequest.

    Args:
        models: Where its model is looked up.
        request: The request; an empty signature name is `serving_default`.
        max_bytes: Most bytes that its records may take.

    Raises:
        StatusError: The request does not fit the model.
        tf.errors.OpError: The model cannot compute it.
    """
    response = classification_pb2.ClassificationResponse()
    _single(models, request, response, METHODS[CLASSIFY], max_bytes)
    responses.log(
        models, request.model_spec.name, "classify", request, response
    )
    return response


def regress(
    models: Models,
    request: regression_pb2.RegressionRequest,
    max_bytes: int = _NO_LIMIT,
) -> regression_pb2.RegressionResponse:
    """Answers a RegressionRequest; arguments and errors as in `classify`."""
    response = regression_pb2.RegressionResponse()
    _single(models, request, response, METHODS[REGRESS], max_bytes)
    responses.log(models, request.model_spec.name, "regress", request, response)
    return response


def multi_inference(
    models: Models,
    request: inference_pb2.MultiInferenceRequest,
    max_bytes: int = _NO_LIMIT,
) -> inference_pb2.MultiInferenceResponse:
    """Answers a MultiInferenceRequest, its results in the order of its tasks.

    The first task chooses the version for all of them. Every signature runs
    by itself, where the real server runs their graphs together.

    Args:
        models: Where the model is looked up.
        request: The request: signatures that share one input tensor.
        max_bytes: Most bytes that its records may take.

    Raises:
        StatusError: A task does not fit the model or the other tasks.
        tf.errors.OpError: The model cannot compute it.
    """
    response = inference_pb2.MultiInferenceResponse()
    # As in the real server, no task is a task that names no model.
    spec = request.tasks[0].model_spec if request.tasks else None
    first = inference_pb2.InferenceTask(model_spec=spec)
    first.model_spec.SetInParent()
    with models.use(first) as (version, model):
        signatures = _checked_tasks(model.signatures, request.tasks)
        examples = records(request.input, max_bytes)
        for task, (name, outputs) in zip(request.tasks, signatures.items()):
            method = METHODS[task.method_name]
            arrays = model.run(name, {INPUTS: examples}, outputs)
            result = response.results.add()
            responses.fill_spec(
                result.model_spec, task.model_spec.name, version, name
            )
            method.fill(getattr(result, method.field), arrays, len(examples))
    responses.log(
        models, first.model_spec.name, "multi_inference", request, response
    )
    return response


def records(message: input_pb2.Input, max_bytes: int) -> np.ndarray:
    """Returns the records of an Input, string [B], each with its context.

    A context comes before each record's own bytes, which merges the two:
    where both have a feature, the record's counts.

    Raises:
        StatusError: There is no record, or they take more than `max_bytes`.
    """
    kind = message.WhichOneof("kind")
    found = getattr(message, kind).examples if kind else []
    if not found:
        raise status.invalid("Input is empty.")
    context = b""
    if kind == "example_list_with_context":
        context = message.example_list_with_context.context.SerializeToString()
    # A few bytes could stand for a huge batch.
    if len(context) * len(found) > max_bytes:
        raise status.StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"{len(found)} examples with a context of {len(context)} bytes "
            f"are larger than {max_bytes} bytes",
        )
    array = np.empty(len(found), object)
    array[:] = [context + example.SerializeToString() for example in found]
    return array


def _single(models, request, response, method: Method, max_bytes) -> None:
    with models.use(request) as (version, model):
        name = responses.signature_name(request.model_spec)
        if name not in model.signatures:
            raise status.invalid(
                f"No signature was found with the name: {name}"
            )
        outputs = method.outputs(model.signatures[name])
        examples = records(request.input, max_bytes)
        arrays = model.run(name, {INPUTS: examples}, outputs)
    responses.fill_spec(
        response.model_spec, request.model_spec.name, version, name
    )
    method.fill(response.result, arrays, len(examples))


def _checked_tasks(
    signatures: Mapping[str, meta_graph_pb2.SignatureDef], tasks
) -> dict[str, list[str]]:
    """Returns the outputs to fetch by signature name, in the tasks' order."""
    found: dict[str, list[str]] = {}
    tensor = ""
    for task in tasks:
        spec = task.model_spec
        if not spec.name:
            raise status.invalid("Found ModelSpec with an empty model name.")
        if spec.name != tasks[0].model_spec.name:
            raise status.invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the "
                "same model name."
            )
        name = responses.signature_name(spec)
        if name in found:
            raise status.invalid(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise status.invalid(
                f"Requested signature not found in model graph: {name}"
            )
        method = METHODS.get(task.method_name)
        if method is None:
            raise status.StatusError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
        found[name] = method.outputs(signatures[name])
        fed = signatures[name].inputs[INPUTS].name
        if tensor and fed != tensor:
            raise status.invalid(
                "Input tensor must be the same for all Signatures."
            )
        tensor = fed
    return found
