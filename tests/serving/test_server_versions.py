"""New, broken, missing and retired versions; starting and stopping."""

import contextlib
import logging
import shutil
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from testing.times_model import until

from serving.server.server import ModelServer
from serving.server.versions import State, VersionManager, find_versions

LONG_S = 30.0


class Times(tf.Module):
    def __init__(self, factor):
        self.factor = tf.Variable(float(factor))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def __call__(self, x):
        return {"y": x * self.factor}


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Folders "1" and "2", which multiply by 1 and by 2."""
    folder = tmp_path_factory.mktemp("versions")
    for number in (1, 2):
        module = Times(number)
        tf.saved_model.save(
            module,
            str(folder / str(number)),
            signatures={"serving_default": module.__call__},
        )
    return folder


def put(versions, name, base, number):
    """Adds a version as careful publishers do: copy, then rename."""
    shutil.copytree(versions / name, base / "copy")
    (base / "copy").rename(base / str(number))


def break_model(path):
    (path / "saved_model.pb").write_bytes(b"\xff not a model")


class Caller:
    """Asks a server for 1 times its version's factor."""

    def __init__(self, server):
        self._channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        ).Predict
        self._status = model_service_pb2_grpc.ModelServiceStub(
            self._channel
        ).GetModelStatus

    def factor(self, version=None):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "times"
        if version:
            request.model_spec.version.value = version
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
        response = self._predict(request, timeout=LONG_S)
        assert response.outputs["y"].float_val[0] in (1.0, 2.0)
        return response.outputs["y"].float_val[0]

    def states(self):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "times"
        found = self._status(request, timeout=LONG_S).model_version_status
        return [(v.version, v.state, v.status.error_message) for v in found]


def serve(base, **options):
    return ModelServer(str(base), "times", port=0, poll_s=0.05, **options)


def test_a_new_version_takes_over_without_a_failed_request(versions, tmp_path):
    put(versions, "1", tmp_path, 1)
    with serve(tmp_path) as server:
        caller = Caller(server)
        assert caller.factor() == 1.0
        answers, errors, enough = [], [], threading.Event()

        def ask():
            mine = Caller(server)
            while not enough.is_set():
                try:
                    answers.append(mine.factor())
                except Exception as e:
                    errors.append(e)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        put(versions, "2", tmp_path, 2)
        until(lambda: answers and answers[-1] == 2.0)
        enough.set()
        for thread in threads:
            thread.join()

        assert errors == []
        assert caller.factor() == 2.0
        until(lambda: caller.states() == [(2, 30, ""), (1, 50, "")])
        with pytest.raises(grpc.RpcError) as raised:
            caller.factor(version=1)
        assert raised.value.details() == (
            "Servable not found for request: Specific(times, 1)"
        )


def test_a_broken_version_ends_and_the_one_before_serves_on(versions, tmp_path):
    put(versions, "2", tmp_path, 2)
    with serve(tmp_path) as server:
        caller = Caller(server)
        put(versions, "1", tmp_path, "unborn")
        break_model(tmp_path / "unborn")
        (tmp_path / "unborn").rename(tmp_path / "3")

        until(lambda: len(caller.states()) == 2)
        until(lambda: caller.states()[0][1] == State.END)
        (third, state, message), second = caller.states()
        assert (third, state) == (3, State.END)
        assert "saved_model.pb" in message
        assert second == (2, State.AVAILABLE, "")
        assert caller.factor() == 2.0
        assert caller.factor(version=2) == 2.0

        # Mended in place, it is tried again.
        shutil.copy(versions / "1" / "saved_model.pb", tmp_path / "3")
        until(lambda: caller.states()[0][1] == State.AVAILABLE)
        assert caller.factor() == 1.0


def test_a_withdrawn_version_gives_way_to_the_one_before(versions, tmp_path):
    put(versions, "1", tmp_path, 1)
    put(versions, "2", tmp_path, 2)
    with serve(tmp_path) as server:
        caller = Caller(server)
        assert caller.factor() == 2.0
        (tmp_path / "2").rename(tmp_path / "withdrawn")
        until(lambda: caller.factor() == 1.0)
        # With no version left, what serves goes on serving.
        (tmp_path / "1").rename(tmp_path / "gone")
        time.sleep(0.2)
        assert caller.factor() == 1.0


def test_only_folders_named_by_integers_are_versions(tmp_path):
    for name in ("1", "007", "12", "x", "1.5", "-3", "٣", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "99").write_text("a file")
    assert sorted(find_versions(str(tmp_path))) == [1, 7, 12]


def test_a_version_in_use_is_unloaded_after_its_use(versions, tmp_path):
    put(versions, "1", tmp_path, 1)
    manager = VersionManager("times", str(tmp_path), poll_s=60)
    manager.start()
    with manager.use() as (number, model):
        put(versions, "2", tmp_path, 2)
        manager.poll()
        states = {s.version: s.state for s in manager.statuses()}
        assert states == {2: State.AVAILABLE, 1: State.UNLOADING}
        x = {"x": np.float32([3])}
        assert number == 1
        assert model.run("serving_default", x, ["y"])["y"] == 3.0
    states = {s.version: s.state for s in manager.statuses()}
    assert states == {2: State.AVAILABLE, 1: State.END}
    manager.stop()


def test_a_missing_base_path_is_waited_for(versions, tmp_path, caplog):
    base = tmp_path / "later"
    server = serve(base)
    with caplog.at_level(logging.WARNING), contextlib.ExitStack() as stack:
        thread = threading.Thread(
            target=lambda: stack.enter_context(server), daemon=True
        )
        thread.start()
        until(lambda: len(caplog.messages) >= 2)
        assert "cannot read base path" in caplog.messages[-1]
        assert server.port == 0
        base.mkdir()
        until(lambda: "holds no folder named by" in caplog.messages[-1])
        put(versions, "1", base, 1)
        thread.join(LONG_S)
        assert Caller(server).factor() == 1.0
