"""Predict: a request's tensors, through a signature, into an answer."""

from collections.abc import Iterable, Mapping

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from serving import tensors
from serving.server import responses
from serving.server.models import Models
from serving.server.saved_model import LoadedModel
from serving.server.status import StatusError, invalid


def predict(
    models: Models, request: predict_pb2.PredictRequest, max_bytes: int
) -> predict_pb2.PredictResponse:
    """Answers a PredictRequest.

    Args:
        models: Where its model is looked up.
        request: The request; an empty signature name is `serving_default`.
        max_bytes: Largest input tensor, in bytes.

    Returns:
        The outputs in typed fields (`float_val`), as the real server gives.

    Raises:
        StatusError: The request does not fit the model.
        tf.errors.OpError: The model cannot compute it.
    """
    with models.use(request) as (version, model):
        name = responses.signature_name(request.model_spec)
        if name not in model.signatures:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        protos = _inputs(model.signatures[name], request.inputs)
        outputs = run(
            model,
            name,
            {alias: _parse(alias, p, max_bytes) for alias, p in protos.items()},
            request.output_filter,
        )
    model_name = request.model_spec.name
    response = predict_pb2.PredictResponse()
    responses.fill_spec(response.model_spec, model_name, version, name)
    fill(response.outputs, outputs)
    responses.log(models, model_name, "predict", request, response)
    return response


def run(
    model: LoadedModel,
    signature_name: str,
    inputs: Mapping[str, np.ndarray],
    output_filter: Iterable[str] = (),
) -> dict[str, np.ndarray]:
    """Runs a signature for the outputs in `output_filter`, or all of them.

    Raises:
        StatusError: The filter names an unknown output, or one twice.
        tf.errors.OpError: The model cannot compute it.
    """
    signature = model.signatures[signature_name]
    wanted: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs "
                f"expected to be in the set {_names(signature.outputs)}."
            )
        if alias in wanted:
            raise invalid(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return model.run(
        signature_name, inputs, wanted or sorted(signature.outputs)
    )


def _inputs(
    signature: meta_graph_pb2.SignatureDef,
    sent: Mapping[str, tensor_pb2.TensorProto],
) -> dict[str, tensor_pb2.TensorProto]:
    """Pairs the signature's inputs with what was sent, or their defaults."""
    extra, missing = set(sent), set(signature.inputs)
    extra, missing = extra - missing, missing - extra
    too_few = len(sent) < len(signature.inputs) and not signature.defaults
    if len(sent) > len(signature.inputs) or too_few:
        raise invalid(
            f"input size does not match signature: {len(sent)}"
            f"!={len(signature.inputs)} len({_names(sent)}) != "
            f"len({_names(signature.inputs)}). Sent extra: {_names(extra)}. "
            f"Missing but required: {_names(missing)}."
        )
    found = {}
    for alias in sorted(signature.inputs):
        if alias in sent:
            found[alias] = sent[alias]
        elif alias in signature.defaults:
            found[alias] = signature.defaults[alias]
        else:
            raise invalid(
                f"Signature input alias: {alias}(feed name: "
                f"{signature.inputs[alias].name}) not found in request and no "
                "default value provided. Inputs expected to be in the request "
                f"{_names(sent)}, or default input alias set: "
                f"{','.join(sorted(signature.defaults))}"
            )
    return found


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _parse(
    alias: str, proto: tensor_pb2.TensorProto, max_bytes: int
) -> np.ndarray:
    try:
        if proto.dtype in tensors.KINDS:
            return tensors.to_array(proto, max_bytes)
        # bfloat16, complex: rare, so TensorFlow's own slower way will do.
        size = tf.TensorShape(proto.tensor_shape).num_elements()
        if size is None or size * 16 > max_bytes:
            raise ValueError("the shape is unknown or too large")
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, OverflowError, KeyError) as e:
        raise invalid(f"tensor parsing error: {alias}") from e


def fill(
    protos: Mapping[str, tensor_pb2.TensorProto],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Writes arrays into a message's map of tensors, in typed fields."""
    for alias, array in arrays.items():
        try:
            tensors.fill(protos[alias], array)
        except ValueError:
            protos[alias].CopyFrom(tf.make_tensor_proto(array))
