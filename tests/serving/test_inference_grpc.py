"""Classify, Regress and MultiInference over gRPC."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from testing import toy_inference
from testing.toy_inference import (
    CLASSIFY,
    PREDICT,
    REGRESS,
    example,
    examples,
)

from serving.server.server import ModelServer

Code = grpc.StatusCode
ONE, TWO = example(x=[0.25, 0.75]), example(x=[1, 2], bonus=[0.5])
BOTH = examples(ONE, TWO)


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    base = tmp_path_factory.mktemp("inference")
    toy_inference.save(base / "7")
    with (
        ModelServer(
            str(base), "toy", port=0, max_message_bytes=1 << 20
        ) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def classification(signature="", data=BOTH, **spec):
    request = classification_pb2.ClassificationRequest(input=data)
    return _with_spec(request, signature, spec)


def regression(signature="regress", data=BOTH, **spec):
    request = regression_pb2.RegressionRequest(input=data)
    return _with_spec(request, signature, spec)


def multi(*tasks, data=BOTH):
    request = inference_pb2.MultiInferenceRequest(input=data)
    for signature, method, *name in tasks:
        task = request.tasks.add(method_name=method)
        _with_spec(task, signature, {"name": name[0] if name else "toy"})
    return request


def _with_spec(request, signature, spec):
    request.model_spec.signature_name = signature
    request.model_spec.name = spec.pop("name", "toy")
    if "version" in spec:
        request.model_spec.version.value = spec.pop("version")
    for field, value in spec.items():
        setattr(request.model_spec, field, value)
    return request


def pairs(result):
    return [
        [(c.label, c.score) for c in row.classes]
        for row in result.classifications
    ]


def refusal(method, message):
    with pytest.raises(grpc.RpcError) as raised:
        method(message, timeout=20)
    return raised.value.code(), raised.value.details()


@pytest.mark.parametrize("signature", ["", "classify"])
def test_classify_whatever_the_signatures_method_is(stub, signature):
    # The default signature says that its method is predict.
    response = stub.Classify(classification(signature))
    spec = response.model_spec
    assert (spec.name, spec.version.value) == ("toy", 7)
    assert spec.signature_name == (signature or "serving_default")
    assert pairs(response.result) == [
        [("low", 0.25), ("h\xefgh", 0.75)],
        [("low", 1.0), ("h\xefgh", 2.0)],
    ]


def test_classify_with_scores_or_classes_alone(stub):
    result = stub.Classify(classification("scores")).result
    assert pairs(result)[0] == [("", 0.25), ("", 0.75)]
    result = stub.Classify(classification("labels")).result
    assert pairs(result)[1] == [("low", 0.0), ("h\xefgh", 0.0)]


def test_a_label_that_is_not_text_is_still_sent(stub):
    result = stub.Classify(classification("bytes", examples(ONE))).result
    assert pairs(result) == [[("\ufffd\x00", 0.0)]]


@pytest.mark.parametrize("signature", ["regress", "column"])
def test_regress(stub, signature):
    response = stub.Regress(regression(signature))
    spec = response.model_spec
    assert (spec.name, spec.version.value) == ("toy", 7)
    assert spec.signature_name == signature
    assert [r.value for r in response.result.regressions] == [1.0, 3.5]


def test_a_context_is_merged_into_each_example(stub):
    message = input_pb2.Input()
    listed = message.example_list_with_context
    listed.context.CopyFrom(example(x=[3, 4], bonus=[10]))
    listed.examples.extend([tf.train.Example(), ONE, TWO])
    response = stub.Regress(regression(data=message))
    # The context's where the example has none, else the example's own.
    values = [r.value for r in response.result.regressions]
    assert values == [17.0, 11.0, 3.5]


def test_predict_serves_every_method_name(stub):
    request = predict_pb2.PredictRequest()
    _with_spec(request, "regress", {})
    records = np.array([ONE.SerializeToString()], object)
    request.inputs["inputs"].CopyFrom(tf.make_tensor_proto(records))
    response = stub.Predict(request)
    assert list(response.outputs["outputs"].float_val) == [1.0]


def addition(**inputs):
    request = predict_pb2.PredictRequest()
    _with_spec(request, "add", {})
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(
            tf.make_tensor_proto(value, dtype=tf.float32)
        )
    return request


def test_predict_fills_in_the_default_of_an_input(stub):
    for inputs, total in (({"a": [1]}, 11), ({"a": [1], "b": [2]}, 3)):
        response = stub.Predict(addition(**inputs))
        assert list(response.outputs["sum"].float_val) == [total]
    code, details = refusal(stub.Predict, addition(b=[2]))
    assert code == Code.INVALID_ARGUMENT
    assert details.startswith("Signature input alias: a(feed name: numbers:0)")
    assert details.endswith(
        " in the request {b}, or default input alias set: b"
    )


def test_multi_inference_answers_in_the_order_of_its_tasks(stub):
    tasks = [("regress", REGRESS), ("", CLASSIFY), ("column", REGRESS)]
    results = stub.MultiInference(multi(*tasks)).results
    specs = [r.model_spec for r in results]
    assert [s.signature_name for s in specs] == [
        "regress",
        "serving_default",
        "column",
    ]
    assert {(s.name, s.version.value) for s in specs} == {("toy", 7)}
    kinds = [r.WhichOneof("result") for r in results]
    assert kinds == [
        "regression_result",
        "classification_result",
        "regression_result",
    ]
    for i in (0, 2):
        values = [r.value for r in results[i].regression_result.regressions]
        assert values == [1.0, 3.5]
    assert pairs(results[1].classification_result)[0][0] == ("low", 0.25)


@pytest.mark.parametrize(
    ("request_", "details"),
    [
        (
            classification_pb2.ClassificationRequest(input=BOTH),
            "Missing ModelSpec",
        ),
        (classification(name=""), "ModelSpec has no name specified."),
        (
            classification(version_label="canary"),
            "Unrecognized servable version label: canary",
        ),
        (classification("zz"), "No signature was found with the name: zz"),
        (classification(data=input_pb2.Input()), "Input is empty."),
        (classification(data=examples()), "Input is empty."),
        (
            classification(
                data=input_pb2.Input(example_list_with_context={"context": ONE})
            ),
            "Input is empty.",
        ),
        (classification("two_inputs"), "Expected one input Tensor."),
        (
            classification("three"),
            "Expected one or two output Tensors, found 3",
        ),
        (
            classification("classes_flat"),
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        (
            classification("classes_float"),
            "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
        ),
        (
            classification("scores_flat"),
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        (
            classification("scores_double"),
            "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
        ),
        (
            classification("scores_short"),
            "Expected scores output batch size of 2. Got: 1",
        ),
        (
            classification("uneven"),
            "Tensors class and score should match in dim_size(1). Got 3 vs. 2",
        ),
    ],
)
def test_classify_refuses(stub, request_, details):
    assert refusal(stub.Classify, request_) == (Code.INVALID_ARGUMENT, details)


@pytest.mark.parametrize(
    ("request_", "details"),
    [
        (regression_pb2.RegressionRequest(input=BOTH), "Missing ModelSpec"),
        (regression("zz"), "No signature was found with the name: zz"),
        (regression("zz" * 2000), None),
        (regression(""), "Expected one output Tensor."),
        (regression(data=examples()), "Input is empty."),
        (regression("two_inputs"), "Expected one input Tensor."),
        (
            regression("regress_square"),
            "Expected output Tensor shape to be either [batch_size] or "
            "[batch_size, 1] but got [2,2]",
        ),
        (
            regression("regress_short"),
            "Input batch size did not match output batch size: 2 vs. 1",
        ),
        (
            regression("regress_double"),
            "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE",
        ),
        (
            regression("floats"),
            "Expects arg[0] to be float but string is provided",
        ),
    ],
)
def test_regress_refuses(stub, request_, details):
    if details is None:
        prefix = "No signature was found with the name: "
        details = (prefix + "zz" * 2000)[:1024] + "...TRUNCATED"
    assert refusal(stub.Regress, request_) == (Code.INVALID_ARGUMENT, details)


@pytest.mark.parametrize(
    ("method", "request_", "start", "rest"),
    [
        (
            "Classify",
            classification("renamed"),
            "No classification inputs found in SignatureDef: ",
            'inputs {\n  key: "examples"\n  value {\n    name: "tf_example:0"\n'
            "    dtype: DT_STRING\n    tensor_shape {\n      dim {\n"
            "        size: -1\n",
        ),
        (
            "Classify",
            classification("neither"),
            "Expected classification signature outputs to contain at least "
            'one of "classes" or "scores". Signature was: ',
            'inputs {\n  key: "inputs"\n',
        ),
        (
            "Regress",
            regression("renamed"),
            "No regression inputs found in SignatureDef: ",
            'inputs {\n  key: "examples"\n',
        ),
        (
            "Regress",
            regression("regress_named"),
            "No regression outputs found in SignatureDef: ",
            'inputs {\n  key: "inputs"\n',
        ),
    ],
)
def test_another_signature_is_shown_as_text(
    stub, method, request_, start, rest
):
    code, details = refusal(getattr(stub, method), request_)
    assert code == Code.INVALID_ARGUMENT
    assert details.startswith(start + rest)
    assert "\n}\noutputs {" in details


@pytest.mark.parametrize(
    ("request_", "details"),
    [
        (
            classification(name="other"),
            "Servable not found for request: Latest(other)",
        ),
        (
            classification(version=99),
            "Servable not found for request: Specific(toy, 99)",
        ),
    ],
)
def test_classify_finds_no_model(stub, request_, details):
    assert refusal(stub.Classify, request_) == (Code.NOT_FOUND, details)


def test_a_missing_feature_is_told_by_the_op(stub):
    code, details = refusal(
        stub.Classify, classification(data=examples(ONE, example(y=[1])))
    )
    assert code == Code.INVALID_ARGUMENT
    assert "Feature: x (data type: float) is required but could not be" in (
        details
    )


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (multi(), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            inference_pb2.MultiInferenceRequest(
                tasks=[{"method_name": REGRESS}], input=BOTH
            ),
            Code.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            multi(("", CLASSIFY, "other")),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(other)",
        ),
        (
            multi(("classify", CLASSIFY), ("classify", CLASSIFY)),
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: classify",
        ),
        (
            multi(("", CLASSIFY), ("serving_default", CLASSIFY)),
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            multi(("classify", CLASSIFY), ("zz", CLASSIFY)),
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: zz",
        ),
        (
            multi(("classify", PREDICT)),
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            multi(("classify", "")),
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: ",
        ),
        (
            multi(("classify", REGRESS)),
            Code.INVALID_ARGUMENT,
            "Expected one output Tensor.",
        ),
        (
            multi(("classify", CLASSIFY), ("regress", REGRESS, "")),
            Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
        ),
        (
            multi(("classify", CLASSIFY), ("regress", REGRESS, "other")),
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same "
            "model name.",
        ),
        (
            multi(("classify", CLASSIFY), ("elsewhere", REGRESS)),
            Code.INVALID_ARGUMENT,
            "Input tensor must be the same for all Signatures.",
        ),
        (
            multi(("classify", CLASSIFY), data=examples()),
            Code.INVALID_ARGUMENT,
            "Input is empty.",
        ),
    ],
)
def test_multi_inference_refuses(stub, request_, code, details):
    assert refusal(stub.MultiInference, request_) == (code, details)


def test_a_context_cannot_make_a_small_request_huge(stub):
    message = input_pb2.Input()
    listed = message.example_list_with_context
    listed.context.CopyFrom(example(x=[1, 2], junk=[1] * 10_000))
    listed.examples.extend([tf.train.Example()] * 10_000)
    code, details = refusal(stub.Regress, regression(data=message))
    assert code == Code.RESOURCE_EXHAUSTED
    assert details.startswith("10000 examples with a context of 400")
    assert details.endswith("bytes are larger than 1048576 bytes")
