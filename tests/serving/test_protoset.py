"""The protoset, used as grpcurl does: JSON in, JSON out, nothing of ours."""

import json

import grpc
import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
)
from testing import commands


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, *args)


@pytest.fixture
def pool(here, tmp_path):
    """A pool of its own that holds the written file and nothing else."""
    done = here("protoset", f"--output={tmp_path / 'serving.protoset'}")
    assert done.code == 0, done.err
    assert "tensorflow.serving.PredictionService" in done.out
    data = (tmp_path / "serving.protoset").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        # Raises where a file comes before one that it imports.
        pool.Add(file)
    return pool


def call(channel, pool, service, name, request):
    method = pool.FindServiceByName(service).FindMethodByName(name)
    kinds = (method.input_type, method.output_type)
    sent, answered = map(message_factory.GetMessageClass, kinds)
    response = channel.unary_unary(
        f"/{service}/{name}",
        request_serializer=lambda m: m.SerializeToString(),
        response_deserializer=answered.FromString,
    )(json_format.Parse(json.dumps(request), sent(), descriptor_pool=pool))
    return json_format.MessageToDict(response, descriptor_pool=pool)


def test_the_services_answer(channel, pool):
    found = call(
        channel,
        pool,
        "tensorflow.serving.PredictionService",
        "Predict",
        {
            "model_spec": {"name": "toy", "signature_name": "add"},
            "inputs": {
                name: {
                    "dtype": "DT_FLOAT",
                    "tensor_shape": {"dim": [{"size": 2}]},
                    "float_val": values,
                }
                for name, values in (("a", [1, 2]), ("b", [3, 4]))
            },
        },
    )
    assert found["outputs"]["sum"]["floatVal"] == [4, 6]
    found = call(
        channel,
        pool,
        "tensorflow.serving.ModelService",
        "GetModelStatus",
        {"model_spec": {"name": "toy"}},
    )
    assert found["model_version_status"][0]["state"] == "AVAILABLE"


def test_every_method_is_the_servers(channel, pool):
    # What the server does not know it calls unimplemented, without details.
    for name in ("PredictionService", "ModelService"):
        service = f"tensorflow.serving.{name}"
        methods = pool.FindServiceByName(service).methods
        assert len(methods) == {"PredictionService": 5, "ModelService": 2}[name]
        for method in methods:
            with pytest.raises(grpc.RpcError) as raised:
                call(channel, pool, service, method.name, {})
            assert raised.value.details() != "Method not found!"


def test_a_place_that_cannot_be_written(here, tmp_path):
    done = here("protoset", "--output=")
    assert done.code == 2
    assert done.fault() == (
        "emorec protoset: `--output` must name a file. Received: ''"
    )
    done = here("protoset", f"--output={tmp_path / 'no' / 'x'}")
    assert done.fault() == (
        f"emorec protoset: {tmp_path / 'no' / 'x'}: cannot be written there; "
        "choose a file in a folder that exists and is yours"
    )
