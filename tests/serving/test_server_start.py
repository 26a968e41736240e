"""Starting and stopping the server, and what it says when it cannot."""

import contextlib
import http.client
import shutil
import socket
import threading

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from testing.times_model import until

from emorec.errors import ModelError, ServerError, UsageError
from serving.server import external
from serving.server.server import ModelServer

LONG_S = 30.0


@pytest.fixture
def model(toy_base, tmp_path):
    """A base path of our own with the toy model as version 1."""
    shutil.copytree(toy_base / "1", tmp_path / "base" / "1")
    return tmp_path / "base"


def serve(base, **options):
    return ModelServer(str(base), "times", port=0, poll_s=0.05, **options)


def code_of(method, request):
    try:
        method(request, timeout=LONG_S)
    except grpc.RpcError as e:
        return e.code()
    return grpc.StatusCode.OK


def rest_status(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG_S)
    connection.request("GET", "/v1/models/toy")
    with contextlib.closing(connection):
        return connection.getresponse().status


def test_start_gives_up_in_time_or_when_stopped(tmp_path):
    with pytest.raises(ServerError, match=r"after 0.1 s: no version of mod"):
        serve(tmp_path, start_timeout_s=0.1).start()
    server = serve(tmp_path)
    threading.Timer(0.2, server.stop).start()
    with pytest.raises(ServerError, match="stopped before model 'times' was"):
        server.start()
    assert server.wait(0)


def test_the_ports_open_once_the_model_is_loaded(model, tmp_path, caplog):
    base = tmp_path / "empty"
    base.mkdir()
    ports = external.free_port(), external.free_port()
    server = ModelServer(
        str(base), "toy", ports[0], rest_port=ports[1], poll_s=0.05
    )
    thread = threading.Thread(target=server.start)
    thread.start()
    until(lambda: "no version of model 'toy' in" in caplog.text)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), LONG_S)
    (model / "1").rename(base / "1")
    thread.join(LONG_S)
    for port in ports:
        socket.create_connection(("127.0.0.1", port), LONG_S).close()
    server.stop()


def test_a_broken_model_at_start_is_one_line(model):
    (model / "2").mkdir()
    (model / "2" / "saved_model.pb").write_bytes(b"\xff not a model")
    with pytest.raises(ModelError) as raised:
        serve(model).start()
    message = str(raised.value)
    assert message.startswith(
        f"version 2 of model 'times' in {model} does not load: "
    )
    assert "\n" not in message


def test_variables_that_are_lost_are_an_error(model):
    shutil.rmtree(model / "1" / "variables")
    with pytest.raises(ModelError, match="version 1 of model 'times'"):
        serve(model).start()


def test_a_version_folder_is_not_a_base_path(toy_base):
    with pytest.raises(ModelError, match="is itself a SavedModel: give the"):
        serve(toy_base / "1").start()


@pytest.mark.parametrize("name", ["port", "rest_port"])
def test_a_port_in_use(toy_base, name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"port": 0, name: port}
        server = ModelServer(str(toy_base), "times", **ports)
        with pytest.raises(ServerError) as raised:
            server.start()
    assert str(raised.value) == (
        f"port {port} of 127.0.0.1 is in use: stop what listens there, or "
        "choose another port (0 takes a free one)"
    )


@pytest.mark.parametrize("name", ["port", "rest_port"])
def test_a_port_taken_while_the_model_loads(toy_base, name):
    # The check before loading is skipped, as if the port were free then.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = ModelServer(str(toy_base), "times", port=0, rest_port=0)
        setattr(server, name, port)
        server._models.start()
        with pytest.raises(ServerError, match=f"port {port} of 127.0.0.1 is"):
            server._open()
        server.stop(0)


def test_a_host_that_is_not_ours(toy_base):
    server = ModelServer(str(toy_base), port=8500, host="no.such.host.invalid")
    with pytest.raises(ServerError, match="cannot listen on port 8500 of no"):
        server.start()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70000}, "`port` must be 0 to 65535. Received: 70000"),
        ({"port": 1, "rest_port": 1}, "must differ. Received: 1 twice"),
        ({"model_name": "a/b"}, "`model_name` must be text without"),
        ({"workers": 0}, "`workers` must be 1 to 1024. Received: 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UsageError) as raised:
        ModelServer("base", **options)
    assert message in str(raised.value)


def blocked(pipe):
    """A request that waits until `pipe` is released."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = "block"
    request.inputs["path"].CopyFrom(tf.make_tensor_proto([pipe.path]))
    return request


def test_stop_finishes_what_waits_for_a_thread(toy_base, pipe):
    server = ModelServer(str(toy_base), "toy", port=0, workers=1).start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        calls = [
            stub.Predict.future(blocked(pipe), timeout=LONG_S) for _ in range(3)
        ]
        until(lambda: server._in_flight._count == 3)
        stopper = threading.Thread(target=server.stop, args=(LONG_S,))
        stopper.start()
        until(lambda: server._in_flight.is_draining)
        late = stub.Predict.future(blocked(pipe), timeout=LONG_S)
        pipe.release()
        stopper.join(LONG_S)
        for call in calls:
            assert list(call.result().outputs["done"].int_val) == [1]
        assert late.exception().code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        )


def test_stop_finishes_what_is_under_way(toy_base, pipe):
    server = ModelServer(str(toy_base), "toy", port=0, rest_port=0).start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        call = stub.Predict.future(blocked(pipe), timeout=LONG_S)
        until(lambda: server._models._managers["toy"]._current.users)

        stopper = threading.Thread(target=server.stop, args=(LONG_S,))
        stopper.start()
        # New requests are refused in a way that clients try again.
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "toy"
        get = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
        until(lambda: code_of(get, status) == grpc.StatusCode.UNAVAILABLE)
        assert rest_status(server.rest_port) == 503
        assert not call.done()
        pipe.release()
        stopper.join(LONG_S)
        assert list(call.result().outputs["done"].int_val) == [1]
    assert server.wait(0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.rest_port), 5)
