"""What a ModelServer is configured with: models, batching, monitoring."""

import http.client

import pytest
from google.protobuf import any_pb2
from testing import times_model
from testing.times_model import LONG_S, Caller, config, model, put, until

from emorec.errors import ModelError, ServerError, UsageError
from serving.configs import schemas
from serving.server.model_config import ModelServerConfig
from serving.server.server import ModelServer
from serving.server.version_state import State


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return times_model.save(tmp_path_factory.mktemp("models"), (1, 2))


@pytest.fixture
def bases(models, tmp_path):
    put(models, 1, tmp_path / "a", 1)
    put(models, 2, tmp_path / "b", 1)
    return tmp_path


def test_several_models(bases):
    both = config(model("a", bases / "a"), model("b", bases / "b"))
    # With a config, the base path is not looked at.
    with ModelServer("missing", "c", port=0, models=both) as server:
        assert server.model_names == ["a", "b"]
        assert server.base_paths == [str(bases / "a"), str(bases / "b")]
        caller = Caller(server)
        with caller.channel:
            assert (caller.factor("a"), caller.factor("b")) == (1.0, 2.0)


def test_a_relative_base_path_is_made_absolute(bases, monkeypatch):
    monkeypatch.chdir(bases)
    assert ModelServer("a").base_paths == [str(bases / "a")]
    assert ModelServer("gs://a/b").base_paths == ["gs://a/b"]


def test_one_of_several_models_that_does_not_load(bases):
    times_model.put_broken(bases / "c", 1)
    both = config(model("a", bases / "a"), model("c", bases / "c"))
    server = ModelServer(port=0, models=both)
    with pytest.raises(ModelError, match="version 1 of model 'c' in"):
        server.start()
    both = config(model("a", bases / "a"), model("d", bases / "d"))
    server = ModelServer(port=0, models=both, start_timeout_s=0.1)
    with pytest.raises(ServerError, match="cannot read base path .* model 'd'"):
        server.start()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`base_path` or `models` is needed. Received: neither"),
        (
            {"models": ModelServerConfig()},
            "`models` must have a `model_config_list`. Received: an empty "
            "config",
        ),
        (
            {"models": ModelServerConfig(custom_model_config=any_pb2.Any())},
            "`models` must have a `model_config_list`. Received: "
            "custom_model_config",
        ),
        (
            {"models": config('name: "a" base_path: "x"')},
            "`models`: Expected model a to have an absolute path or URI; got "
            "base_path()=x",
        ),
        (
            {
                "base_path": "x",
                "monitoring": schemas.parse(
                    "monitoring", 'prometheus_config { enable: 1 path: "m" }'
                ),
            },
            "`monitoring`: `path` must begin with `/`. Received: 'm'",
        ),
        (
            {
                "base_path": "x",
                "batching": schemas.parse(
                    "batching",
                    "max_batch_size { value: 8 } allowed_batch_sizes: 4",
                ),
            },
            "the last of `allowed_batch_sizes` must be `max_batch_size`, 8. "
            "Received: 4",
        ),
        (
            {"base_path": "x", "poll_s": 0.001},
            "`poll_s` must be 0.01 to 86400. Received: 0.001",
        ),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(UsageError) as raised:
        ModelServer(**options)
    assert str(raised.value) == message


def get(server, path):
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.rest_port, timeout=LONG_S
    )
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_metrics_only_where_they_are_enabled(bases):
    both = config(model("a", bases / "a"), model("b", bases / "b"))
    enabled = schemas.parse(
        "monitoring", 'prometheus_config { enable: true path: "/m" }'
    )
    default = "/monitoring/prometheus/metrics"
    with ModelServer(
        models=both, port=0, rest_port=0, monitoring=enabled
    ) as server:
        status, text = get(server, "/m")
        assert status == 200
        # The loads, by their folders.
        assert f'load_attempt_count{{model_path="{bases / "a" / "1"}"' in text
        assert get(server, default)[0] == 404
    disabled = schemas.message_class("monitoring")()
    with ModelServer(
        models=both, port=0, rest_port=0, monitoring=disabled
    ) as server:
        assert get(server, default)[0] == 404


def test_batching_has_a_thread_for_each_request_that_waits(bases):
    # Only a full batch runs before the callers' deadline, so that each of
    # its requests must have a thread to wait in.
    batching = schemas.parse(
        "batching",
        "max_batch_size { value: 20 } "
        f"batch_timeout_micros {{ value: {int(LONG_S * 2e6)} }}",
    )
    with ModelServer(
        str(bases / "b"),
        "times",
        port=0,
        batching=batching,
        workers=2,
        max_concurrent=20,
    ) as server:
        caller = Caller(server)
        with caller.channel:
            calls = [caller.ask() for _ in range(20)]
            found = [call.result().outputs["y"].float_val[0] for call in calls]
    assert found == [2.0] * 20


def test_a_version_whose_warmup_fails_does_not_serve(bases, models):
    with ModelServer(str(bases / "a"), "a", port=0, poll_s=0.05) as server:
        warmup = bases / "copy" / "assets.extra" / "tf_serving_warmup_requests"
        put(models, 2, bases / "new", 2)
        (bases / "new" / "2").rename(bases / "copy")
        warmup.parent.mkdir()
        warmup.write_bytes(b"not a TFRecord")
        (bases / "copy").rename(bases / "a" / "2")
        caller = Caller(server)
        with caller.channel:
            broken = [(2, State.END), (1, State.AVAILABLE)]
            until(lambda: caller.states("a") == broken)
            assert caller.factor("a") == 1.0
