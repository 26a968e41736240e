"""Prometheus metrics: counted in both APIs, told on the REST port."""

import http.client

import grpc
import numpy as np
import prometheus_client
import pytest
import tensorflow as tf
from prometheus_client import parser
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from testing import toy_inference

from serving.configs import schemas
from serving.server.metrics import UNKNOWN_MODEL, Metrics
from serving.server.server import ModelServer

PATH = "/monitoring/prometheus/metrics"
COUNT = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
ONE = toy_inference.examples(toy_inference.example(x=[1, 2]))


def start(base, monitoring):
    config = schemas.parse("monitoring", monitoring)
    return ModelServer(str(base), "toy", port=0, rest_port=0, monitoring=config)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("metrics")
    toy_inference.save(base / "1")
    return base


@pytest.fixture
def server(base):
    with start(base, "prometheus_config { enable: true }") as server:
        yield server


@pytest.fixture
def stub(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def ask(server, method, path, body=None):
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.rest_port, timeout=60
    )
    connection.request(method, path, body)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], text


def samples(text):
    """Returns value by name and sorted label values, as a scraper reads it."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser gives counters the name of the newer format.
            name = sample.name.removesuffix("_total")
            labels = tuple(v for _, v in sorted(sample.labels.items()))
            found[name, labels] = sample.value
    return found


def scrape(server):
    code, kind, text = ask(server, "GET", PATH)
    assert (code, kind) == (200, "text/plain")
    assert f"\n# TYPE {COUNT} counter\n" in text
    assert f"\n# TYPE {LATENCY} histogram\n" in text
    return samples(text)


def predict_request(name="toy"):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    message.model_spec.signature_name = "floats"
    message.inputs["inputs"].CopyFrom(
        tf.make_tensor_proto(np.ones(2, np.float32))
    )
    return message


def refused(method, message):
    with pytest.raises(grpc.RpcError):
        method(message, timeout=20)


def test_requests_of_both_apis_are_counted_and_timed(server, stub):
    stub.Predict(predict_request())
    stub.Predict(predict_request())
    refused(
        stub.Predict, predict_pb2.PredictRequest(model_spec={"name": "toy"})
    )
    stub.Classify(
        classification_pb2.ClassificationRequest(
            model_spec={"name": "toy"}, input=ONE
        )
    )
    spec = {"name": "toy", "signature_name": "regress"}
    stub.Regress(regression_pb2.RegressionRequest(model_spec=spec, input=ONE))
    method = "tensorflow/serving/regress"
    stub.MultiInference(
        inference_pb2.MultiInferenceRequest(
            tasks=[{"model_spec": spec, "method_name": method}], input=ONE
        )
    )
    body = '{"examples": [{"x": [1.0, 2.0]}]}'
    assert ask(server, "POST", "/v1/models/toy:classify", body)[0] == 200
    assert ask(server, "POST", "/v1/models/toy:predict", "{")[0] == 400
    assert ask(server, "GET", "/v1/models/toy")[0] == 200

    found = scrape(server)
    counts = {k[1]: v for k, v in found.items() if k[0] == COUNT}
    assert counts == {("toy", "OK"): 6, ("toy", "INVALID_ARGUMENT"): 2}
    timed = {k[1]: v for k, v in found.items() if k[0] == f"{LATENCY}_count"}
    assert timed == {
        ("Predict", "GRPC", "toy"): 2,
        ("Classify", "GRPC", "toy"): 1,
        ("Regress", "GRPC", "toy"): 1,
        ("MultiInference", "GRPC", "toy"): 1,
        ("classify", "REST", "toy"): 1,
    }
    key = ("Predict", "GRPC", "toy")
    total = found[f"{LATENCY}_sum", key]
    # Microseconds: more than one for each, less than a minute.
    assert 2 < total < 60e6
    bucket = (key[0], key[1], "+Inf", key[2])
    assert found[f"{LATENCY}_bucket", bucket] == 2


def test_unknown_models_share_one_label(server, stub):
    for i in range(50):
        refused(stub.Predict, predict_request(f"model{i}"))
        path = f"/v1/models/rest{i}:predict"
        assert ask(server, "POST", path, '{"instances": [1]}')[0] == 404
    refused(stub.Predict, predict_pb2.PredictRequest())

    counts = {k[1]: v for k, v in scrape(server).items() if k[0] == COUNT}
    assert counts == {
        (UNKNOWN_MODEL, "NOT_FOUND"): 100,
        (UNKNOWN_MODEL, "INVALID_ARGUMENT"): 1,
    }


def test_the_path_is_the_configs_and_off_unless_enabled(base):
    other = 'prometheus_config { enable: true path: "/v1/other" }'
    with start(base, other) as server:
        assert ask(server, "GET", "/v1/other")[2].startswith("# HELP ")
        assert ask(server, "GET", PATH)[0] == 404
    with start(base, 'prometheus_config { path: "/m" }') as server:
        assert ask(server, "GET", "/m")[0] == 404
        assert ask(server, "GET", PATH)[0] == 404


def test_the_loads_of_a_model_are_counted(server, base):
    found = scrape(server)
    path = str(base / "1")
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert found[loads, (path, "success")] == 1
    assert found[":tensorflow:cc:saved_model:load_latency", (path,)] > 0


def test_a_load_that_fails_is_counted():
    metrics = Metrics()

    def load(path):
        raise ValueError(path)

    with pytest.raises(ValueError, match="a\\\\b"):
        metrics.timed(load)('a\\b "c"\n')
    found = samples(metrics.text().decode())
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert found == {(loads, ('a\\b "c"\n', "fail")): 1}


def test_the_buckets_are_those_of_the_real_server():
    text = Metrics().text().decode()
    assert text.count("# TYPE") == 4
    metrics = Metrics()
    with metrics.request(None, "toy", "Predict", "GRPC"):
        pass
    found = samples(metrics.text().decode())
    limits = [
        float(labels[2])
        for name, labels in found
        if name == f"{LATENCY}_bucket"
    ]
    assert len(limits) == 34
    np.testing.assert_allclose(limits[:3], [10, 18, 32.4])
    np.testing.assert_allclose(limits[-2:], [1.47476e9, np.inf], rtol=1e-5)


def test_a_registry_may_be_given():
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Gauge("mine", "Ours.", registry=registry).set(3)
    metrics = Metrics(registry)
    assert metrics.registry is registry
    assert samples(metrics.text().decode())["mine", ()] == 3
    # Two servers of one process do not mix.
    assert Metrics().registry is not Metrics().registry
