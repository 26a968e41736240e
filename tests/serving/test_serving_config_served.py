"""A server that is started with the generated files."""

import shlex
import signal
import socket
import subprocess
import urllib.request

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_service_pb2_grpc,
)
from testing import commands, pem_files, request_files

from serving.configs import folder, plan, schemas, tls
from serving.deploy import render
from serving.server.server import ModelServer


@pytest.fixture(scope="module")
def made(toy_base, tmp_path_factory):
    """(the folder of the files, the plan, the PEM files)."""
    path = tmp_path_factory.mktemp("files")
    pems = pem_files.write(path)
    models = plan.parse_models(
        [f"toy={toy_base}", f"other={toy_base}"],
        ["other=latest:2"],
        ["toy:stable=1"],
    )
    made = plan.Plan(
        models,
        tls=tls.read(pems.key, pems.cert, pems.ca, True),
        log_prefix=str(path / "log" / "r"),
        sampling_rate=1.0,
    )
    folder.write(made, path)
    return path, made, pems


@pytest.fixture(scope="module")
def served(made):
    path, _, _ = made

    def read(kind, name):
        return schemas.read(kind, str(path / name))

    with ModelServer(
        port=0,
        rest_port=0,
        models=read("models", "models.logged.config"),
        batching=read("batching", "batching_parameters.txt"),
        monitoring=read("monitoring", "monitoring.config"),
        ssl=read("ssl", "ssl.config"),
        health=True,
        allow_labels_for_unavailable=True,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def channel(served, made):
    pems = made[2]
    credentials = grpc.ssl_channel_credentials(
        pems.ca.read_bytes(),
        pems.client_key.read_bytes(),
        pems.client_cert.read_bytes(),
    )
    target = f"127.0.0.1:{served.port}"
    with grpc.secure_channel(target, credentials) as channel:
        yield channel


def test_both_models_answer_by_label_and_name(channel, made):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    for name, label in (("toy", "stable"), ("other", "")):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        if label:
            request.model_spec.version_label = label
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 0.0, 0.0]]))
        answer = stub.Predict(request, timeout=30)
        assert answer.model_spec.version.value == 1
        assert list(answer.outputs["logits"].float_val) == [1.0, 2.0]


def test_who_has_no_certificate_is_refused(served, made):
    credentials = grpc.ssl_channel_credentials(made[2].ca.read_bytes())
    target = f"127.0.0.1:{served.port}"
    with grpc.secure_channel(target, credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.Predict(predict_pb2.PredictRequest(), timeout=10)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE


def test_what_the_probes_ask(served, made, channel):
    # grpc.health.v1: an empty request; field 1 of the answer is SERVING, 1.
    ask = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert ask(b"", timeout=10) == b"\x08\x01"
    base = f"http://127.0.0.1:{served.rest_port}"
    for path in ("/v1/models/toy", plan.METRICS_PATH):
        with urllib.request.urlopen(base + path, timeout=10) as answer:
            assert answer.status == 200
            text = answer.read()
    assert b":tensorflow:serving:request_count" in text


@pytest.mark.parametrize(
    "names, code", [("toy other", 0), ("toy absent", 1), ("absent", 1)]
)
def test_the_containers_health_check(served, names, code):
    models = tuple(plan.ServedModel(name, "/m") for name in names.split())
    command = render.health_command(
        plan.Plan(models, rest_port=served.rest_port)
    )
    done = subprocess.run(["bash", "-c", command], timeout=30)
    assert done.returncode == code


def test_the_requests_are_logged(made, toy_base, tmp_path):
    # A server of its own, as the file is finished at its end.
    path = made[0]
    config = schemas.read("models", str(path / "models.logged.config"))
    for model in config.model_config_list.config:
        collector = model.logging_config.log_collector_config
        collector.filename_prefix = str(tmp_path / "log" / "r")
        model.version_labels.clear()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "other"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 0.0, 0.0]]))
    bad = predict_pb2.PredictRequest()
    bad.model_spec.name = "other"
    with ModelServer(port=0, rest_port=0, models=config) as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(request, timeout=30)
            with pytest.raises(grpc.RpcError):
                stub.Predict(bad, timeout=30)
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/other:predict"
        body = b'{"instances": [[1.0, 0.0, 0.0]]}'
        urllib.request.urlopen(url, body, timeout=30).close()
    (file,) = (tmp_path / "log").iterdir()
    assert file.name.startswith("r-other-") and file.suffix == ".tfrecord"
    logs = request_files.read(tmp_path / "log")
    # Those that were answered, of both ways in.
    assert len(logs) == 2
    assert logs[0].predict_log.request == request
    assert logs[0].predict_log.response == answer
    for log in logs:
        assert log.log_metadata.model_spec.version.value == 1
        sent = log.predict_log.request.inputs["x"]
        assert tf.make_ndarray(sent).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.long
def test_the_command_line_that_is_written(toy_base, tmp_path):
    ports = []
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    models = plan.parse_models(
        [f"toy={toy_base}", f"other={toy_base}"], [], ["toy:stable=1"]
    )
    made = plan.Plan(
        models,
        port=ports[0],
        rest_port=ports[1],
        log_prefix=str(tmp_path / "log" / "r"),
        sampling_rate=1.0,
    )
    folder.write(made, tmp_path)
    text = (tmp_path / "COMMANDS.txt").read_text()
    (line,) = (
        words
        for x in text.replace("\\\n", " ").splitlines()
        if "--embedded" in (words := shlex.split(x, comments=True))
    )
    process = subprocess.Popen(
        commands.line(*line[1:]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=commands.environment(),
    )
    try:
        told = process.stdout.readline()
        assert told.startswith("embedded server"), told + process.stdout.read()
        url = f"http://127.0.0.1:{ports[1]}/v1/models/toy/labels/stable"
        body = b'{"instances": [[1.0, 0.0, 0.0]]}'
        with urllib.request.urlopen(f"{url}:predict", body, 30) as answer:
            assert b"1.0" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    (file,) = (tmp_path / "log").iterdir()
    assert file.suffix == ".tfrecord"
