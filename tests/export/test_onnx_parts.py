"""The encoders and MTCNN's networks as ONNX."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from testing import keras_files

from emorec.errors import ExportError, ModelError
from emorec.export import onnx_convert, onnx_parts, onnx_proof
from emorec.features import encoder as encoder_module
from emorec.features import precomputed
from emorec.video.mtcnn_nets import MtcnnNets

NETS = ("pnet.onnx", "rnet.onnx", "onet.onnx")


def written(part, path):
    model = onnx_convert.convert(part, path.name)
    path.write_bytes(model.SerializeToString())
    return onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def nets():
    return MtcnnNets()


@pytest.fixture(scope="module")
def folder(nets, tmp_path_factory):
    """The three networks."""
    place = tmp_path_factory.mktemp("nets")
    for name, part in onnx_parts.net_parts(nets).items():
        written(part, place / name)
    return place


def test_the_files_of_mtcnn(folder):
    assert {p.name for p in folder.iterdir()} == set(NETS)
    shapes = {}
    for name in NETS:
        session = onnxruntime.InferenceSession(folder / name)
        (pixels,) = session.get_inputs()
        assert (pixels.name, pixels.type) == ("pixels", "tensor(float)")
        outputs = {o.name: o.shape for o in session.get_outputs()}
        shapes[name] = (pixels.shape, outputs["offsets"], outputs["logits"])
        assert len(outputs) == 2
    windows = (["windows", 4], ["windows"])
    assert shapes == {
        "pnet.onnx": (
            ["images", "height", "width", 3],
            ["images", "rows", "columns", 4],
            ["images", "rows", "columns"],
        ),
        "rnet.onnx": (["windows", 24, 24, 3], *windows),
        "onet.onnx": (["windows", 48, 48, 3], *windows),
    }


@pytest.mark.parametrize(
    "name, shape",
    [
        ("pnet.onnx", (1, 12, 12)),
        ("pnet.onnx", (2, 45, 31)),
        ("rnet.onnx", (1, 24, 24)),
        ("rnet.onnx", (7, 24, 24)),
        ("onet.onnx", (3, 48, 48)),
    ],
    ids=str,
)
def test_mtcnn_answers_as_in_tensorflow(folder, nets, name, shape):
    pixels = np.float32(np.random.default_rng(3).integers(0, 256, (*shape, 3)))
    session = onnxruntime.InferenceSession(folder / name)
    found = session.run(["offsets", "logits"], {"pixels": pixels})
    net = getattr(nets, name.removesuffix(".onnx"))
    for one, other in zip(found, net(tf.constant(pixels)), strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", NETS)
def test_mtcnn_is_proven(folder, nets, name):
    path = folder / name
    found = onnx_proof.check_net(path, getattr(nets, path.stem))
    assert set(found) == {"offsets", "logits"}
    assert all(0 <= d <= 1e-5 for d in found.values())


def test_another_net_is_not_proven(folder, nets, tmp_path):
    proto = onnx.load(folder / "rnet.onnx")
    kernel = next(i for i in proto.graph.initializer if len(i.dims) == 4)
    values = onnx.numpy_helper.to_array(kernel) * np.float32(1.001)
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
    path = tmp_path / "rnet.onnx"
    onnx.save(proto, path)
    with pytest.raises(ExportError, match="^rnet.onnx: offsets differs by 0"):
        onnx_proof.check_net(path, nets.rnet)


def proven(encoder, kinds, path):
    """Exports an encoder, tries it on images of its own, and proves it."""
    session = written(onnx_parts.encoder_part(encoder, kinds), path)
    side = encoder.crop_size
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape == ["images", side, side, 3]
    outputs = {o.name: o.shape for o in session.get_outputs()}
    assert outputs == {k: ["images", *encoder.outputs[k]] for k in kinds}
    pixels = np.random.default_rng(5).integers(
        0, 256, (2, side, side, 3), np.uint8
    )
    found = dict(
        zip(outputs, session.run([*outputs], {"images": pixels}), strict=True)
    )
    for kind, expected in encoder.encode_kinds(pixels, kinds).items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found[kind], expected, rtol=0, atol=1e-5 * scale
        )
    differences = onnx_proof.check_encoder(path, encoder, kinds)
    assert set(differences) == set(kinds)
    assert all(0 <= d <= 1e-5 for d in differences.values())


def test_mini_xception(encoders, tmp_path):
    kinds = ("probabilities", "features", "maps")
    proven(encoders.face, kinds, tmp_path / "face_encoder.onnx")


def test_squeezenet(encoders, tmp_path):
    proven(encoders.context, ("features",), tmp_path / "context_encoder.onnx")


def test_a_keras_classifier(tmp_path):
    # Its normalisation holds plain tensors.
    normalise = keras.layers.Normalization(
        mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0]
    )
    keras_files.model(normalise).save(tmp_path / "file.keras")
    encoder = encoder_module.create(tmp_path / "file.keras", crop_size=11)
    proven(encoder, tuple(encoder.outputs), tmp_path / "face_encoder.onnx")


@pytest.mark.long
# Not ResNet50: exporting it (94 MB of weights) takes 3 GB of memory.
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_large_classifiers(name, tmp_path):
    model = getattr(keras.applications, name)(
        weights=None, classes=7, input_shape=(64, 64, 3)
    )
    model.save(tmp_path / "file.keras")
    encoder = encoder_module.create(tmp_path / "file.keras", crop_size=80)
    proven(encoder, tuple(encoder.outputs), tmp_path / "face_encoder.onnx")


def test_given_features_have_no_encoder():
    given = precomputed.Precomputed("made up", 8)
    with pytest.raises(ModelError, match="the features of this model were"):
        onnx_parts.encoder_part(given, ("features",))
