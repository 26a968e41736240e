"""HandleReloadConfigRequest: refusals, and what replaces what."""

import gc
import shutil

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from testing import times_model
from testing.times_model import (
    LONG_S,
    Caller,
    config,
    model,
    put,
    put_broken,
    refusal,
    until,
)

from serving.server.model_config import ModelServerConfig
from serving.server.models import Models
from serving.server.server import ModelServer
from serving.server.status import StatusError
from serving.server.version_state import State

Code = grpc.StatusCode
NOT_A_LIST = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
    "ModelConfigList is currently supported"
)


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """As `emorec serve` does: each unloading collects garbage."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return times_model.save(tmp_path_factory.mktemp("models"))


@pytest.fixture
def bases(models, tmp_path):
    """Base paths "a" (version 1, times 1) and "b" (version 1, times 2)."""
    put(models, 1, tmp_path / "a", 1)
    put(models, 2, tmp_path / "b", 1)
    return tmp_path


@pytest.fixture
def server(bases):
    with ModelServer(
        models=config(model("a", bases / "a")), port=0, poll_s=0.05
    ) as server:
        yield server


@pytest.fixture
def caller(server):
    caller = Caller(server)
    with caller.channel:
        yield caller


def test_every_refusal_changes_nothing(caller, bases):
    a, b = model("toy", bases / "a"), model("toy", bases / "b")
    custom = ModelServerConfig(custom_model_config=any_pb2.Any())
    for bad, message in (
        (ModelServerConfig(), NOT_A_LIST),
        (custom, NOT_A_LIST),
        (
            config(a, b),
            "Illegal to list model toy multiple times in config list",
        ),
        (
            config(model("toy", "rel/path")),
            "Expected model toy to have an absolute path or URI; got "
            "base_path()=rel/path",
        ),
        (
            config(model("toy", "")),
            "Expected model toy to have an absolute path or URI; got "
            "base_path()=",
        ),
        (
            config(f'{a} model_platform: ""'),
            "Illegal setting neither ModelServerConfig::model_type "
            "(deprecated) nor ModelServerConfig::model_platform, model name "
            "is toy",
        ),
        (
            config(f'{a} model_platform: "tensorflow" model_type: TENSORFLOW'),
            "Illegal setting both ModelServerConfig::model_type (deprecated) "
            "and ModelServerConfig::model_platform, model name is toy",
        ),
        (
            config(model("other", bases / "a", 'model_platform: "torch"')),
            "Model other requests unsupported platform torch",
        ),
        (
            config(model("", bases / "a")),
            "ModelConfig has no name specified.",
        ),
        (
            config(
                model(
                    "toy",
                    bases / "a",
                    "logging_config { sampling_config { sampling_rate: 2 } }",
                )
            ),
            "`logging_config` of model 'toy': `sampling_rate` must be 0 to 1. "
            "Received: 2.0",
        ),
    ):
        found = refusal(caller.reload(bad).result)
        assert found == (Code.INVALID_ARGUMENT, message)
    assert caller.factor("a") == 1.0
    assert caller.code("toy") == Code.NOT_FOUND


def test_the_whole_list_is_replaced(caller, bases):
    # `model_type` is the platform's old name.
    b = f'name: "b" base_path: "{bases / "b"}" model_platform: "" '
    answer = caller.reload(config(b + "model_type: TENSORFLOW")).result()
    assert answer.HasField("status")
    assert (answer.status.error_code, answer.status.error_message) == (0, "")
    assert caller.factor("b") == 2.0
    assert refusal(caller.factor, "a") == (
        Code.NOT_FOUND,
        "Servable not found for request: Latest(a)",
    )
    # What became of it is told on.
    assert caller.states("a") == [(1, State.END)]

    both = config(model("a", bases / "a"), model("b", bases / "b"))
    caller.reload(both).result()
    assert caller.states("a") == [(1, State.AVAILABLE)]
    assert (caller.factor("a"), caller.factor("b")) == (1.0, 2.0)

    caller.reload(config()).result()
    assert caller.code("a") == Code.NOT_FOUND
    assert caller.code("b") == Code.NOT_FOUND
    assert caller.states("b") == [(1, State.END)]


def test_a_model_that_stays_gets_its_new_folder_and_policy(
    caller, bases, models
):
    # The same version number, in another folder.
    caller.reload(config(model("a", bases / "b"))).result()
    assert caller.factor("a") == 2.0

    put(models, 3, bases / "b", 3)
    until(lambda: caller.factor("a") == 3.0)
    both = "model_version_policy { specific { versions: 1 versions: 3 } }"
    caller.reload(config(model("a", bases / "b", both))).result()
    assert caller.factor("a", version={"value": 1}) == 2.0
    assert caller.factor("a") == 3.0

    one = "model_version_policy { specific { versions: 1 } }"
    caller.reload(config(model("a", bases / "b", one))).result()
    assert caller.factor("a") == 2.0
    assert caller.states("a") == [(3, State.END), (1, State.AVAILABLE)]


def test_a_folder_that_does_not_serve_leaves_what_serves(caller, bases):
    put_broken(bases / "c", 2)
    for name in ("c", "missing"):
        caller.reload(config(model("a", bases / name))).result()
        assert caller.factor("a") == 1.0


def test_a_new_model_that_does_not_load(caller, bases, models):
    put_broken(bases / "c", 5)
    lists = config(model("c", bases / "c"), model("b", bases / "b"))
    code, message = refusal(caller.reload(lists).result)
    assert code == Code.UNKNOWN
    assert message.startswith(
        "1 model(s) did not become available: {{{name: c version: 5} due "
        "to error: "
    )
    assert caller.states("c") == [(5, State.END)]
    # The list is replaced all the same, and the rest of it serves.
    assert caller.factor("b") == 2.0
    assert caller.code("a") == Code.NOT_FOUND
    shutil.rmtree(bases / "c" / "5")
    put(models, 3, bases / "c", 6)
    until(lambda: (6, State.AVAILABLE) in caller.states("c"))
    assert caller.factor("c") == 3.0


def test_the_answer_waits_for_a_missing_folder(caller, bases, models):
    lists = [model("b", bases / "b"), model("c", bases / "c")]
    call = caller.reload(config(*lists))
    # The others are answered meanwhile, reloads too: only for what is new in
    # its list does one wait.
    until(lambda: caller.code("b") == Code.OK)
    caller.reload(config(*lists)).result()
    lists.append(model("d", bases / "d"))
    late = caller.reload(config(*lists), timeout=0.2)
    assert refusal(late.result)[0] == Code.DEADLINE_EXCEEDED
    assert not call.done()
    put(models, 3, bases / "c", 1)
    call.result()
    assert caller.factor("c") == 3.0


def test_a_model_that_is_taken_out_while_it_is_waited_for(caller, bases):
    call = caller.reload(config(model("c", bases / "c")))
    until(lambda: caller.code("a") == Code.NOT_FOUND)
    caller.reload(config(model("a", bases / "a"))).result()
    assert refusal(call.result) == (
        Code.ABORTED,
        "model c was taken out meanwhile",
    )
    assert caller.factor("a") == 1.0


def test_a_stop_does_not_wait_for_a_reload(server, caller, bases):
    call = caller.reload(config(model("c", bases / "c")))
    until(lambda: caller.code("a") == Code.NOT_FOUND)
    server.stop(LONG_S)
    code, message = refusal(call.result)
    assert code == Code.ABORTED
    assert message.startswith("not waited for: cannot read base path ")


def test_a_model_in_use_is_closed_after_its_use(bases):
    found = Models(config(model("a", bases / "a")), poll_s=60)
    found.start()
    manager = found._managers["a"]
    with manager.use() as (_, loaded):
        found.reload(config(model("b", bases / "b")))
        assert [s.state for s in manager.statuses()] == [State.UNLOADING]
        x = {"x": np.float32([3])}
        assert loaded.run("serving_default", x, ["y"])["y"] == 3.0
    assert [s.state for s in manager.statuses()] == [State.END]
    found.stop()
    with pytest.raises(StatusError, match="the server is stopping"):
        found.reload(config())


def test_a_request_log_stays_while_its_config_does(bases):
    def logged(name, rate):
        prefix = f'filename_prefix: "{bases / "logs"}"'
        return model(
            name,
            bases / "a",
            f"logging_config {{ log_collector_config {{ {prefix} }} "
            f"sampling_config {{ sampling_rate: {rate} }} }}",
        )

    found = Models(config(logged("a", 0.5), model("b", bases / "b")), poll_s=60)
    log = found.request_log("a")
    assert log is not None
    assert found.request_log("b") is None
    found.start()
    found.reload(config(logged("a", 0.5)))
    assert found.request_log("a") is log
    found.reload(config(logged("a", 0.25)))
    assert found.request_log("a") not in (log, None)
    assert log._is_closed
    log = found.request_log("a")
    found.reload(config(model("a", bases / "a")))
    assert found.request_log("a") is None
    assert log._is_closed
    found.stop()
