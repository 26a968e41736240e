"""Warmup records: run before a version serves, and a bad one stops it."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from testing import batch_model
from testing.batch_model import parameters, request, write_warmup

from emorec.errors import ModelError
from emorec.export import names
from serving.server import warmup
from serving.server.loading import Loader
from serving.server.status import StatusError

INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Inference(tf.Module):
    """Signatures for Classify and Regress."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        return {"scores": tf.ones([tf.size(inputs), 2])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs):
        return {"outputs": tf.ones([tf.size(inputs)])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def predict(self, x):
        with tf.control_dependencies([tf.debugging.assert_positive(x)]):
            return {"x": tf.identity(x)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    module = Inference()
    path = tmp_path_factory.mktemp("warmup") / "m" / "1"
    tf.saved_model.save(
        module,
        str(path),
        signatures={
            "serving_default": module.predict,
            "classify": module.classify,
            "regress": module.regress,
        },
    )
    return path


@pytest.fixture
def version(saved):
    yield saved
    (saved / names.WARMUP).unlink(missing_ok=True)


class Spy:
    """The model, which tells what was run."""

    def __init__(self, model):
        self.signatures = model.signatures
        self._model = model
        self.runs = []

    def run(self, name, inputs, outputs):
        self.runs.append((name, len(next(iter(inputs.values())))))
        return self._model.run(name, inputs, outputs)


@pytest.fixture(scope="module")
def model(saved):
    model = Loader()(str(saved))
    yield model
    model.close()


def example_log(kind, *signatures):
    """A log of `kind` that sends two records to each signature."""
    log = prediction_log_pb2.PredictionLog()
    message = getattr(log, kind).request
    message.input.example_list.examples.add()
    message.input.example_list.examples.add()
    if kind == "multi_inference_log":
        for name in signatures:
            task = message.tasks.add(method_name=f"tensorflow/serving/{name}")
            task.model_spec.name = "another"
            task.model_spec.signature_name = name
    else:
        message.model_spec.name = "another"
        message.model_spec.signature_name = signatures[0]
    return log


def test_every_kind_of_record_is_run(version, model):
    write_warmup(
        version,
        request({"x": [1.0]}),
        request({"x": [1.0, 2.0, 3.0]}, outputs=["x"]),
        example_log("classify_log", "classify"),
        example_log("regress_log", "regress"),
        example_log("multi_inference_log", "regress"),
        prediction_log_pb2.PredictionLog(),
    )
    spy = Spy(model)
    assert warmup.run(spy, str(version)) == 6
    assert spy.runs == [
        ("serving_default", 1),
        ("serving_default", 3),
        ("classify", 2),
        ("regress", 2),
        ("regress", 2),
    ]


def test_without_a_file_nothing_is_run(version, model):
    assert warmup.run(model, str(version)) == 0


@pytest.mark.parametrize(
    "record, code, message",
    [
        (request({"x": [0.0]}), INVALID, "x > 0 did not hold"),
        (
            request({"x": [1.0]}, "zz"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "zz" not found.',
        ),
        (request({"y": [1.0]}), INVALID, "Signature input alias: x"),
        (b"\xff\xff", INVALID, "is not a PredictionLog"),
        (
            prediction_log_pb2.PredictionLog(
                session_run_log=prediction_log_pb2.SessionRunLog()
            ),
            grpc.StatusCode.UNIMPLEMENTED,
            "Unsupported log_type for warmup: session_run_log",
        ),
    ],
    ids=["graph", "signature", "input", "bytes", "session_run"],
)
def test_a_bad_record_is_named(version, record, code, message):
    file = write_warmup(version, request({"x": [1.0]}), record)
    with pytest.raises(StatusError) as e:
        Loader()(str(version))
    assert e.value.code == code
    assert str(e.value).startswith(f"warmup record 2 of {file}: ")
    assert message in str(e.value)


def test_a_file_that_is_no_tfrecord_is_refused(version, model):
    file = write_warmup(version)
    file.write_bytes(b"not a TFRecord at all")
    with pytest.raises(StatusError, match="is in TFRecord format") as e:
        warmup.run(model, str(version))
    assert e.value.code == grpc.StatusCode.DATA_LOSS


def test_too_many_records_are_refused(version, model, monkeypatch):
    monkeypatch.setattr(names, "MAX_WARMUP_RECORDS", 2)
    write_warmup(version, *[request({"x": [1.0]})] * 2)
    assert warmup.run(model, str(version)) == 2
    file = write_warmup(version, *[request({"x": [1.0]})] * 3)
    with pytest.raises(StatusError) as e:
        warmup.run(model, str(version))
    assert str(e.value) == (
        f"Number of warmup records exceeds the maximum (2) at {file}"
    )


def test_a_huge_file_and_a_huge_tensor_are_refused(version, model, monkeypatch):
    small = request({"x": [1.0]})
    # One value stands for a thousand.
    small.inputs["x"].tensor_shape.dim[0].size = 1000
    monkeypatch.setattr(warmup, "MAX_BYTES", 1000)
    write_warmup(version, small)
    with pytest.raises(StatusError, match="record 1 .* tensor parsing error"):
        warmup.run(model, str(version))
    write_warmup(version, request({"x": np.ones(1000)}))
    with pytest.raises(StatusError, match="is larger than 1000 bytes"):
        warmup.run(model, str(version))


def test_a_record_larger_than_a_batch_is_refused(version):
    write_warmup(version, request({"x": [1.0, 2.0]}), request({"x": [1.0]}))
    Loader(parameters(max_batch_size=2))(str(version)).close()
    with pytest.raises(StatusError, match="record 1 .* Task size 2 is larger"):
        Loader(parameters(max_batch_size=1))(str(version))


def test_a_version_with_a_bad_record_does_not_serve(version):
    write_warmup(version, request({"x": [-1.0]}))
    with (
        pytest.raises(ModelError, match="warmup record 1 of .* did not hold"),
        batch_model.served(version.parent, None),
    ):
        pass
