"""grpc.health.v1: Check and Watch, by a protocol written anew here."""

import threading

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_service_pb2_grpc,
)
from testing.times_model import LONG_S, Caller, until

from serving.server import health
from serving.server.server import ModelServer

Code = grpc.StatusCode
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


def encoded(service: str) -> bytes:
    """HealthCheckRequest, by hand: field 1 is a string."""
    data = service.encode()
    return bytes([0x0A, len(data)]) + data if data else b""


def status(data: bytes) -> int:
    """HealthCheckResponse, by hand: field 1 is an enum."""
    assert data[:1] == b"\x08" and len(data) == 2, data
    return data[1]


class Probe:
    def __init__(self, channel):
        kinds = {
            "request_serializer": encoded,
            "response_deserializer": status,
        }
        path = "/grpc.health.v1.Health/"
        self.check = channel.unary_unary(f"{path}Check", **kinds)
        self.watch = channel.unary_stream(f"{path}Watch", **kinds)


@pytest.fixture
def server(toy_base):
    with ModelServer(
        str(toy_base), "toy", port=0, health=True, workers=1, max_concurrent=2
    ) as server:
        yield server


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def block(channel, pipe):
    """A prediction that takes until `pipe.release`."""
    request = predict_pb2.PredictRequest(
        model_spec={"name": "toy", "signature_name": "block"}
    )
    request.inputs["path"].CopyFrom(tf.make_tensor_proto([pipe.path]))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict.future(request, timeout=LONG_S)


@pytest.mark.parametrize("name", ["", "PredictionService", "ModelService"])
def test_check(channel, name):
    assert Probe(channel).check(name, timeout=LONG_S) == SERVING


@pytest.mark.parametrize(
    "name", ["x", "tensorflow.serving.PredictionService", "predictionservice"]
)
def test_an_unknown_service(channel, name):
    probe = Probe(channel)
    with pytest.raises(grpc.RpcError) as raised:
        probe.check(name, timeout=LONG_S)
    assert raised.value.code() == Code.NOT_FOUND
    assert raised.value.details() == "service name unknown"
    # Watch waits for the service to come.
    stream = probe.watch(name, timeout=LONG_S)
    assert next(stream) == SERVICE_UNKNOWN
    stream.cancel()


def test_off_by_default(toy_base):
    with (
        ModelServer(str(toy_base), "toy", port=0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        Probe(channel).check("", timeout=LONG_S)
    assert raised.value.code() == Code.UNIMPLEMENTED


def test_not_serving_while_it_stops(server, channel, pipe):
    probe = Probe(channel)
    streams = [probe.watch("", timeout=LONG_S) for _ in range(3)]
    unknown = probe.watch("x", timeout=LONG_S)
    assert [next(s) for s in streams] == [SERVING] * 3
    assert next(unknown) == SERVICE_UNKNOWN
    # The only thread for requests is taken; probes are answered all the same.
    call = block(channel, pipe)
    until(lambda: server._models._managers["toy"]._current.users)
    assert probe.check("", timeout=LONG_S) == SERVING

    stopper = threading.Thread(target=server.stop, args=(LONG_S,))
    stopper.start()
    assert [next(s) for s in streams] == [NOT_SERVING] * 3
    for name in health.NAMES:
        assert probe.check(name, timeout=LONG_S) == NOT_SERVING
    assert next(probe.watch("ModelService", timeout=LONG_S)) == NOT_SERVING
    assert stopper.is_alive()
    pipe.release()
    assert list(call.result().outputs["done"].int_val) == [1]
    stopper.join(LONG_S)
    # The streams are ended, not cut.
    for stream in [*streams, unknown]:
        assert list(stream) == []
        assert stream.code() == Code.OK


def test_those_who_watch_take_no_place_of_a_request(server, channel):
    probe = Probe(channel)
    streams = [
        probe.watch("", timeout=LONG_S) for _ in range(health.MAX_WATCHES)
    ]
    assert [next(s) for s in streams] == [SERVING] * health.MAX_WATCHES
    with pytest.raises(grpc.RpcError) as raised:
        next(probe.watch("", timeout=LONG_S))
    assert raised.value.code() == Code.RESOURCE_EXHAUSTED
    assert raised.value.details() == "32 streams watch already"
    assert Caller(server, channel).states("toy") == [(1, 30)]
    streams.pop().cancel()
    until(lambda: _is_free(probe))


def _is_free(probe) -> bool:
    stream = probe.watch("", timeout=LONG_S)
    try:
        return next(stream) == SERVING
    except grpc.RpcError:
        return False
    finally:
        stream.cancel()
