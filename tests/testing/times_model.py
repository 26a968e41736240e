"""Tiny SavedModels that multiply, and their versions in base paths."""

import pathlib
import shutil
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.configs import schemas

LONG_S = 30.0


class _Times(tf.Module):
    def __init__(self, factor):
        self.factor = tf.Variable(float(factor))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def __call__(self, x):
        return {"y": x * self.factor}


def save(folder: pathlib.Path, factors=(1, 2, 3)) -> pathlib.Path:
    """Writes folders "1", "2", ..., each a model that multiplies by that."""
    for factor in factors:
        module = _Times(factor)
        path = str(folder / str(factor))
        tf.saved_model.save(module, path, {"serving_default": module.__call__})
    return folder


def put(models: pathlib.Path, factor: int, base: pathlib.Path, number: int):
    """Adds a version as careful publishers do: copy, then rename."""
    base.mkdir(parents=True, exist_ok=True)
    shutil.copytree(models / str(factor), base / "copy")
    (base / "copy").rename(base / str(number))


def put_broken(base: pathlib.Path, number: int) -> None:
    """Adds a version that does not load."""
    (base / "copy").mkdir(parents=True)
    (base / "copy" / "saved_model.pb").write_bytes(b"\xff not a model")
    (base / "copy").rename(base / str(number))


def config(*models: str):
    """Returns a ModelServerConfig of the texts of models.

    A text lacks the platform where it names none: `name: "a" base_path: ...`.
    """
    text = ""
    for model in models:
        if "model_platform" not in model:
            model += ' model_platform: "tensorflow"'
        text += f"config {{ {model} }}\n"
    return schemas.parse("models", f"model_config_list {{ {text} }}")


def model(name: str, base: pathlib.Path, more: str = "") -> str:
    """Returns the text of one model of `config`."""
    return f'name: "{name}" base_path: "{base}" {more}'


def until(condition) -> None:
    ends = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.02)


class Caller:
    """Asks a server, by TensorFlow Serving's own stubs."""

    def __init__(self, server, channel: grpc.Channel | None = None):
        channel = channel or grpc.insecure_channel(f"127.0.0.1:{server.port}")
        self.channel = channel
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(
            channel
        ).Predict
        self._service = model_service_pb2_grpc.ModelServiceStub(channel)

    def ask(self, name="times", **spec):
        """Asks what 1 is multiplied by; returns a future."""
        request = predict_pb2.PredictRequest(
            model_spec={"name": name, **spec},
        )
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
        return self._predict.future(request, timeout=LONG_S)

    def factor(self, name="times", **spec) -> float:
        """What 1 is multiplied by."""
        response = self.ask(name, **spec).result()
        return response.outputs["y"].float_val[0]

    def code(self, name: str) -> grpc.StatusCode:
        """The code of the answer to a prediction."""
        try:
            self.factor(name)
        except grpc.RpcError as e:
            return e.code()
        return grpc.StatusCode.OK

    def states(self, name="times") -> list[tuple[int, int]]:
        """(version, state) of each version, the newest first."""
        request = get_model_status_pb2.GetModelStatusRequest(
            model_spec={"name": name}
        )
        found = self._service.GetModelStatus(request, timeout=LONG_S)
        return [(v.version, v.state) for v in found.model_version_status]

    def reload(self, config, timeout=LONG_S):
        """Replaces the list of models; returns a future."""
        request = model_management_pb2.ReloadConfigRequest(config=config)
        return self._service.HandleReloadConfigRequest.future(
            request, timeout=timeout
        )


def refusal(call, *args, **kwargs) -> tuple[grpc.StatusCode, str]:
    """The code and message of a call that fails."""
    try:
        call(*args, **kwargs)
    except grpc.RpcError as e:
        return e.code(), e.details()
    raise AssertionError("the call succeeded")
