"""The gRPC API, asked with TensorFlow Serving's own stubs."""

import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    model_pb2,
    predict_pb2,
)

Code = grpc.StatusCode
ONE_ROW = np.ones((1, 3), np.float32)


def request(signature="", version=None, label="", outputs=(), **inputs):
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = "toy"
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if label:
        message.model_spec.version_label = label
    for name, value in inputs.items():
        if not isinstance(value, TensorProto):
            value = tf.make_tensor_proto(value)
        message.inputs[name].CopyFrom(value)
    return message


def refusal(method, message):
    with pytest.raises(grpc.RpcError) as raised:
        method(message, timeout=20)
    return raised.value.code(), raised.value.details()


def test_predict_answers_typed_fields_and_the_resolved_spec(prediction):
    response = prediction.Predict(request(x=ONE_ROW))

    spec = response.model_spec
    assert (spec.name, spec.version.value) == ("toy", 1)
    assert spec.signature_name == "serving_default"
    logits = response.outputs["logits"]
    assert list(logits.float_val) == [9.0, 12.0]
    assert logits.tensor_content == b""
    assert [d.size for d in logits.tensor_shape.dim] == [1, 2]
    assert list(response.outputs["rows"].float_val) == [3.0]


def test_predict_carries_every_dtype(prediction):
    values = {
        "f32": np.array([[1.5, np.nan], [-np.inf, 0]], np.float32),
        "f64": np.array([1e300]),
        "f16": np.array([0.1, -2], np.float16),
        "bf16": tf.constant([1.5, -3], tf.bfloat16).numpy(),
        "u8": np.arange(256, dtype=np.uint8),
        "i32": np.array(-(2**31), np.int32),
        "i64": np.array([2**62, -1]),
        "flag": np.array([[True], [False]]),
        "text": np.array([b"\xff\x00", b"", "é".encode()], object),
    }
    response = prediction.Predict(request("echo", **values))

    for name, value in values.items():
        echoed = tf.make_ndarray(response.outputs[name])
        assert echoed.dtype == value.dtype, name
        np.testing.assert_array_equal(echoed, value, err_msg=name)


def test_predict_reads_short_typed_lists_as_tensorflow_does(prediction):
    proto = TensorProto(dtype=1, float_val=[1, 2])
    proto.tensor_shape.dim.add(size=2)
    proto.tensor_shape.dim.add(size=3)
    response = prediction.Predict(request(x=proto, outputs=["rows"]))
    assert list(response.outputs) == ["rows"]
    assert list(response.outputs["rows"].float_val) == [5, 6]


def test_a_batch_of_no_rows_gives_no_rows(prediction):
    response = prediction.Predict(request(x=np.ones((0, 3), np.float32)))
    logits = tf.make_ndarray(response.outputs["logits"])
    assert logits.shape == (0, 2)


def test_an_output_of_rank_0(prediction):
    response = prediction.Predict(request("total", x=np.float32([1, 2])))
    assert tf.make_ndarray(response.outputs["total"]) == 3


BAD_BYTES = TensorProto(dtype=1, tensor_content=b"abc")
BAD_BYTES.tensor_shape.dim.add(size=1)
# 4 bytes that ask for 4 TB.
BOMB = TensorProto(dtype=1, float_val=[1])
BOMB.tensor_shape.dim.add(size=2**40)
UNKNOWN = TensorProto(dtype=1)
UNKNOWN.tensor_shape.unknown_rank = True


@pytest.mark.parametrize(
    ("message", "code", "details"),
    [
        (
            predict_pb2.PredictRequest(),
            Code.INVALID_ARGUMENT,
            "Missing ModelSpec",
        ),
        (
            predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec()),
            Code.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name="other")
            ),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(other)",
        ),
        (
            request(version=99, x=ONE_ROW),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(toy, 99)",
        ),
        (
            request(label="canary", x=ONE_ROW),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        ),
        (
            request("nope", x=ONE_ROW),
            Code.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            request(),
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). "
            "Sent extra: {}. Missing but required: {x}.",
        ),
        (
            request("add", a=[1.0], b=[1.0], z=[1.0]),
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 3!=2 len({a,b,z}) != "
            "len({a,b}). Sent extra: {z}. Missing but required: {}.",
        ),
        (
            request(y=ONE_ROW),
            Code.INVALID_ARGUMENT,
            "Signature input alias: x(feed name: serving_default_x:0) not "
            "found in request and no default value provided. Inputs expected "
            "to be in the request {y}, or default input alias set: ",
        ),
        (
            request(x=BAD_BYTES),
            Code.INVALID_ARGUMENT,
            "tensor parsing error: x",
        ),
        (request(x=BOMB), Code.INVALID_ARGUMENT, "tensor parsing error: x"),
        (
            request(x=UNKNOWN),
            Code.INVALID_ARGUMENT,
            "tensor parsing error: x",
        ),
        (
            request(x=ONE_ROW.astype(np.float64)),
            Code.INVALID_ARGUMENT,
            "Expects arg[0] to be float but double is provided",
        ),
        (
            request("add", a=np.float32([1]), b=[b"text"]),
            Code.INVALID_ARGUMENT,
            "Expects arg[1] to be float but string is provided",
        ),
        (
            request(x=ONE_ROW, outputs=["z"]),
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: z Outputs expected "
            "to be in the set {logits,rows}.",
        ),
        (
            request(x=ONE_ROW, outputs=["rows", "rows"]),
            Code.INVALID_ARGUMENT,
            "duplicate output tensor alias: rows",
        ),
    ],
)
def test_predict_refuses(prediction, message, code, details):
    assert refusal(prediction.Predict, message) == (code, details)


def test_a_wrong_shape_is_told_by_the_op(prediction):
    code, details = refusal(
        prediction.Predict, request(x=np.ones((1, 4), np.float32))
    )
    assert code == Code.INVALID_ARGUMENT
    assert "[1,4], In[1]: [3,2]" in details


def test_a_long_message_is_cut(prediction):
    code, details = refusal(prediction.Predict, request("s" * 5000))
    assert code == Code.FAILED_PRECONDITION
    assert len(details) == 1024 + len("...TRUNCATED")
    assert details.endswith("s...TRUNCATED")


def test_a_larger_request_than_allowed(prediction):
    code, details = refusal(
        prediction.Predict, request(x=np.ones((800_000, 3), np.float32))
    )
    assert code == Code.RESOURCE_EXHAUSTED
    assert "larger than max" in details


def test_too_many_requests_at_once(prediction, pipe):
    slow = request("block", path=[pipe.path])
    calls = [prediction.Predict.future(slow, timeout=30) for _ in range(8)]
    while sum(call.done() for call in calls) < 4:
        time.sleep(0.01)
    pipe.release()
    codes = [call.exception() and call.exception().code() for call in calls]
    assert codes.count(None) == 4
    assert codes.count(Code.RESOURCE_EXHAUSTED) == 4


def test_a_late_answer_is_the_callers_deadline(prediction, pipe):
    with pytest.raises(grpc.RpcError) as raised:
        prediction.Predict(request("block", path=[pipe.path]), timeout=0.3)
    assert raised.value.code() == Code.DEADLINE_EXCEEDED
