"""The recurrent networks as ONNX: true LSTM operators, and equal answers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from testing import models

from emorec.errors import ExportError
from emorec.export import onnx_convert, onnx_model, onnx_proof

# A seeded LSTM and an attention cell behind it: all that there is.
SHORT = "caca_rnn_mec2017"
# System -> (LSTM layers of Keras, attention cells).
OPERATORS = {
    "face_rnn": (2, 0),
    "context_rnn": (2, 0),
    "parallel_rnn": (4, 0),
    "concatenated_rnn": (2, 0),
    "caca_rnn_a": (2, 1),
    "caca_rnn_b": (2, 1),
    "caca_rnn_mec2017": (2, 1),
    "cnn_2d3d": (0, 0),
    "ensemble": (2, 1),
    "face_average": (0, 0),
    "majority": (0, 0),
    "three_streams": (3, 2),
    "no_attention": (3, 0),
    "no_seeding": (2, 1),
}


class Exported:
    """A network, its ONNX file, and a session of it."""

    def __init__(self, name, folder):
        self.name = name
        self.model = models.build(name)
        self.proto = onnx_model.convert(self.model, "model.onnx")
        self.path = folder / f"{name}.onnx"
        self.path.write_bytes(self.proto.SerializeToString())
        self.session = onnxruntime.InferenceSession(
            self.path, providers=["CPUExecutionProvider"]
        )
        self.outputs = [o.name for o in self.session.get_outputs()]

    def nodes(self, op_type):
        return [n for n in self.proto.graph.node if n.op_type == op_type]

    def __call__(self, inputs):
        answer = self.session.run(self.outputs, inputs)
        return dict(zip(self.outputs, answer, strict=True))


def test_the_table_has_every_system():
    assert set(OPERATORS) == set(models.ALL)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(n, marks=[] if n == SHORT else [pytest.mark.long])
        for n in models.ALL
    ],
)
def exported(request, tmp_path_factory):
    return Exported(request.param, tmp_path_factory.mktemp("onnx"))


def test_every_lstm_is_the_operator_with_numbers_of_steps(exported):
    lstms, cells = OPERATORS[exported.name]
    found = exported.nodes("LSTM")
    assert len(found) == lstms
    assert all(n.input[4] == "steps_of_clip" for n in found)
    # The cell that attends is one loop, and there is no other.
    assert len(exported.nodes("Loop")) == cells
    assert not exported.nodes("Scan")


def test_the_contract(exported):
    onnx.checker.check_model(str(exported.path), full_check=True)
    assert {n.domain for n in onnx_convert.nodes(exported.proto.graph)} == {""}
    inputs = {i.name: (i.type, i.shape) for i in exported.session.get_inputs()}
    assert inputs == {
        t.name: (
            f"tensor({'bool' if t.name == 'mask' else 'float'})",
            ["batch", "steps", *t.shape[2:]],
        )
        for t in exported.model.inputs
    }
    outputs = {o.name: o.shape for o in exported.session.get_outputs()}
    assert outputs.pop("logits") == ["batch", models.CLASSES]
    assert set(outputs) | {"logits"} == set(exported.model.output)
    assert ("attention" in outputs) == (exported.name in models.ATTENDING)
    for shape in outputs.values():
        assert shape == ["batch", "steps", "steps"]


@pytest.mark.parametrize(
    "counts, length",
    [
        ((1,), 1),
        ((3,), 5),
        ((2, 5, 0, 7), 7),
        ((0, 0), 3),
        ((0,), 0),
        ((9,), 9),
    ],
    ids=str,
)
def test_answers_as_keras(exported, counts, length):
    inputs = models.inputs_of(exported.model, counts, length)
    expected = exported.model(inputs, training=False)
    found = exported(inputs)
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-5)


def test_padding_may_hold_anything(exported):
    inputs = models.inputs_of(exported.model, (3, 0, 6), 8)
    expected = exported(inputs)
    for value in (np.nan, np.inf, -1e30):
        for name, x in inputs.items():
            if name != "mask":
                x[~inputs["mask"]] = value
        for key, x in exported(inputs).items():
            np.testing.assert_array_equal(x, expected[key])


def test_a_clip_answers_the_same_alone(exported):
    inputs = models.inputs_of(exported.model, (3, 7, 5), 9)
    together = exported(inputs)["logits"]
    alone = exported(models.rows(inputs, 0, 1, 3))["logits"]
    np.testing.assert_allclose(alone, together[:1], rtol=0, atol=1e-5)
    if exported.name != "majority":
        assert np.abs(together[0] - together[1]).max() > 1e-3


def test_it_is_proven(exported):
    found = onnx_proof.check_model(exported.path, exported.model)
    assert set(found) == {*exported.model.output, "probabilities"}
    assert all(0 <= d <= 1e-5 for d in found.values())
    lstms, cells = OPERATORS[exported.name]
    counts = onnx_proof.operators(exported.path)
    assert (counts.get("LSTM", 0), counts.get("Loop", 0)) == (lstms, cells)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Exported("face_rnn", tmp_path_factory.mktemp("small"))


def refused(model, proto, path, message):
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ExportError) as caught:
        onnx_proof.check_model(path, model)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_without_numbers_of_steps_it_is_not_proven(small, tmp_path):
    proto = onnx.ModelProto.FromString(small.proto.SerializeToString())
    for node in proto.graph.node:
        if node.op_type == "LSTM":
            node.input[4] = ""
    path = tmp_path / "model.onnx"
    refused(small.model, proto, path, "model.onnx: logits differs by ")


def test_another_weight_is_not_proven(small, tmp_path):
    proto = onnx.ModelProto.FromString(small.proto.SerializeToString())
    (found,) = (
        i for i in proto.graph.initializer if list(i.dims) == [models.CLASSES]
    )
    bias = onnx.numpy_helper.to_array(found) + np.float32(1e-3)
    found.CopyFrom(onnx.numpy_helper.from_array(bias, found.name))
    path = tmp_path / "model.onnx"
    refused(small.model, proto, path, "model.onnx: logits differs by 0.00")


def test_another_network_is_not_proven(small, tmp_path):
    path = tmp_path / "model.onnx"
    other = models.build("context_rnn")
    refused(other, small.proto, path, "model.onnx: cannot be run by onnxrun")
    path.write_bytes(b"no protobuf")
    with pytest.raises(ExportError, match="no model that onnxruntime loads"):
        onnx_proof.check_model(path, small.model)


@pytest.mark.long
def test_an_lstm_that_became_a_loop_is_refused(small):
    # What is converted as it is: its LSTMs get masks.
    masked = onnx_convert.convert(onnx_model._part(small.model), "model.onnx")
    assert not [n for n in masked.graph.node if n.op_type == "LSTM"]
    with pytest.raises(ExportError) as caught:
        onnx_model._put_counts("model.onnx", masked.graph, 2)
    assert str(caught.value) == (
        "model.onnx: has 2 LSTM layers, and 0 of them became ONNX's LSTM "
        "operator; use the versions of requirements.lock"
    )
