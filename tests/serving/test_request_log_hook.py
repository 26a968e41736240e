"""Which requests reach the request log, and as what."""

import http.client
import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from testing import request_files, toy_inference

from serving.configs import schemas
from serving.server.server import ModelServer

CONFIG = """
model_config_list {{
  config {{
    name: "toy" base_path: "{base}" model_platform: "tensorflow"
    logging_config {{
      log_collector_config {{ type: "tfrecord" filename_prefix: "{prefix}" }}
      sampling_config {{ sampling_rate: 1 }}
    }}
  }}
  config {{
    name: "silent" base_path: "{base}" model_platform: "tensorflow"
  }}
}}
"""
ONE = toy_inference.example(x=[1, 2])


@pytest.fixture
def folder(tmp_path):
    toy_inference.save(tmp_path / "model" / "3")
    return tmp_path


@pytest.fixture
def server(folder):
    text = CONFIG.format(base=folder / "model", prefix=folder / "logs" / "log")
    models = schemas.parse("models", text)
    with ModelServer(models=models, port=0, rest_port=0) as server:
        yield server


def logged(folder):
    return request_files.read(folder / "logs")


def requests(name):
    """Returns a good request for each method."""
    spec = {"name": name, "signature_name": "regress"}
    default = {"name": name}
    data = toy_inference.examples(ONE)
    predict = predict_pb2.PredictRequest(model_spec=spec)
    record = np.array([ONE.SerializeToString()], object)
    predict.inputs["inputs"].CopyFrom(tf.make_tensor_proto(record))
    task = {"model_spec": spec, "method_name": toy_inference.REGRESS}
    return {
        "Predict": predict,
        "Classify": classification_pb2.ClassificationRequest(
            model_spec=default, input=data
        ),
        "Regress": regression_pb2.RegressionRequest(
            model_spec=spec, input=data
        ),
        "MultiInference": inference_pb2.MultiInferenceRequest(
            tasks=[task], input=data
        ),
    }


def test_good_grpc_requests_are_logged_with_their_answers(server, folder):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answers = {
            method: getattr(stub, method)(message)
            for method, message in requests("toy").items()
        }
        for method, message in requests("silent").items():
            getattr(stub, method)(message)
        with pytest.raises(grpc.RpcError):
            stub.Predict(predict_pb2.PredictRequest(model_spec={"name": "toy"}))
    server.stop()

    found = logged(folder)
    kinds = ["predict", "classify", "regress", "multi_inference"]
    assert [log.WhichOneof("log_type") for log in found] == [
        f"{kind}_log" for kind in kinds
    ]
    messages = requests("toy")
    for kind, method, log in zip(kinds, messages, found):
        entry = getattr(log, f"{kind}_log")
        assert entry.request == messages[method]
        assert entry.response == answers[method]
        assert log.log_metadata.model_spec.version.value == 3


def test_rest_requests_are_logged_as_a_grpc_clients(server, folder):
    bodies = {
        "predict": {
            "signature_name": "floats",
            "instances": [1.5, 2],
        },
        "classify": {"examples": [{"x": [1.0, 2.0]}]},
        "regress": {
            "signature_name": "regress",
            "examples": [{"x": [1.0, 2.0]}],
        },
    }
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.rest_port, timeout=60
    )
    for name in ("toy", "silent"):
        for method, body in bodies.items():
            path = f"/v1/models/{name}:{method}"
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
    connection.close()
    server.stop()

    predict, classify, regress = logged(folder)
    entry = predict.predict_log
    assert entry.request.model_spec.signature_name == "floats"
    sent = tf.make_ndarray(entry.request.inputs["inputs"])
    got = tf.make_ndarray(entry.response.outputs["outputs"])
    assert sent.tolist() == got.tolist() == [1.5, 2]
    assert entry.response.model_spec.version.value == 3
    messages = requests("toy")
    assert classify.classify_log.request == messages["Classify"]
    assert regress.regress_log.request == messages["Regress"]
