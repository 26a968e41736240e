"""Exports: the version folder, its assets, and the proof before it."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from emorec.errors import ExportError
from emorec.export import proof, saved_model, signatures, trials
from emorec.training import bundle as bundles

SIGNATURES = {
    "serving_default",
    "feature_examples",
    "features",
    "frames",
    "jpegs",
    "video",
    "classify",
    "describe",
}


def prove(bundle, folder):
    """Proves without making warmup requests."""
    return saved_model._prove(bundle, folder, ())


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


def test_the_assets(base_path, bundle):
    folder = base_path / "1"
    assets = folder / "assets"
    assert json.loads((assets / "emorec.json").read_text()) == (
        bundle.describe()
    )
    assert (assets / "labels.txt").read_text().split() == [*bundle.labels.names]
    description = bundle.describe()
    assert description["info"]["data"]["fingerprint"]
    assert description["random_weights"] == ["context"]
    assert (folder / "saved_model.pb").is_file()
    # A server may be another user than who exported.
    assert os.stat(folder).st_mode & 0o055 == 0o055
    assert [p.name for p in base_path.iterdir()] == ["1"]


def test_versions_are_numbers_only(tmp_path):
    assert saved_model.versions(tmp_path / "none") == []
    for name in ("2", "10", "x", ".3-abc", "1.5", "-4"):
        (tmp_path / name).mkdir()
    assert saved_model.versions(tmp_path) == [2, 10]


def test_a_taken_version_is_refused(bundle, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "7").mkdir()
    for version in (3, 0, -1):
        with pytest.raises(ExportError) as caught:
            saved_model.export(bundle, tmp_path, version)
        assert str(caught.value) == (
            f"{tmp_path / str(version)}: `version` must be a number that is "
            f"not taken. Received: {version}; taken: [3, 7]"
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3", "7"]


def test_a_folder_that_cannot_be_made(bundle, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="choose another --output_dir"):
        saved_model.export(bundle, tmp_path / "file" / "emotion")


@pytest.mark.long
def test_the_next_version_is_published_whole(
    bundle, base_path, tmp_path, monkeypatch
):
    # The writing is not tried again here: the version that was published.
    monkeypatch.setattr(saved_model, "_write", copying(base_path / "1"))
    (tmp_path / "4").mkdir()
    seen = []
    check = proof.check

    def watched(bundle, folder, session):
        seen.append((folder.parent, saved_model.versions(tmp_path)))
        return check(bundle, folder, session)

    monkeypatch.setattr(proof, "check", watched)
    folder, differences = saved_model.export(
        bundle, tmp_path, batch_sizes=(1, 2)
    )
    assert folder == tmp_path / "5"
    assert set(differences) == SIGNATURES
    assert max(differences.values()) <= proof.TOLERANCE
    # Proven beside the versions, where no server sees it.
    assert seen == [(tmp_path, [4])]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4", "5"]


def copying(source):
    def write(bundle, folder):
        shutil.copytree(source, folder, dirs_exist_ok=True)

    return write


def test_a_failed_proof_publishes_nothing(
    bundle, base_path, tmp_path, monkeypatch
):
    monkeypatch.setattr(saved_model, "_write", copying(base_path / "1"))
    # Another model than the one in the folder: every answer differs.
    weights = bundle.model.get_weights()
    try:
        bundle.model.set_weights([w + 0.05 for w in weights])
        with pytest.raises(ExportError) as caught:
            saved_model.export(bundle, tmp_path / "emotion")
    finally:
        bundle.model.set_weights(weights)
    assert "signature serving_default: " in str(caught.value)
    assert "differs by" in str(caught.value)
    assert list((tmp_path / "emotion").iterdir()) == []


def test_a_full_disk_publishes_nothing(bundle, tmp_path, monkeypatch):
    def full(bundle, folder):
        (folder / "half").write_bytes(b"...")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_model, "_write", full)
    with pytest.raises(ExportError, match=r"No space left.*nothing was publ"):
        saved_model.export(bundle, tmp_path)
    assert list(tmp_path.iterdir()) == []


# The proof can fail.


@pytest.mark.long
def test_the_proof_finds_what_only_a_server_would(bundle, tmp_path):
    """A module that merely holds a Keras 3 model: tf_serving's trap 1."""
    module = tf.Module()
    module.model = bundle.model
    module.encoders = [
        bundle.encoders.face.part("features"),
        bundle.encoders.context.part("features"),
    ]
    functions = {
        name: tf.function(s.function, input_signature=s.inputs)
        for name, s in signatures.build(bundle).items()
    }
    tf.saved_model.save(module, str(tmp_path / "1"), functions)
    saved_model._set_methods(
        tmp_path / "1", {"classify": tf.saved_model.CLASSIFY_METHOD_NAME}
    )
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert set(loaded.signatures) == SIGNATURES, "Python sees no fault"
    with pytest.raises(ExportError, match="model server could not answer"):
        prove(bundle, tmp_path / "1")


def test_the_proof_misses_a_signature_in_python(bundle, base_path, tmp_path):
    folder = tmp_path / "1"
    shutil.copytree(base_path / "1", folder)
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    children = saved.meta_graphs[0].object_graph_def.nodes
    node = next(
        n
        for n in children
        if {"jpegs", "describe"} <= {c.local_name for c in n.children}
        and n.WhichOneof("kind") == "user_object"
        and n.user_object.identifier == "signature_map"
    )
    kept = [c for c in node.children if c.local_name != "jpegs"]
    del node.children[:]
    node.children.extend(kept)
    path.write_bytes(saved.SerializeToString())
    with pytest.raises(ExportError, match="no signature jpegs"):
        prove(bundle, folder)


def edited(base_path, folder, edit):
    """A copy of the version with an edited meta graph."""
    shutil.copytree(base_path / "1", folder)
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    edit(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString())
    return folder


def test_the_proof_misses_a_signature_in_the_server(
    bundle, base_path, tmp_path
):
    folder = edited(
        base_path, tmp_path / "1", lambda g: g.signature_def.pop("frames")
    )
    with pytest.raises(ExportError, match="no signature frames"):
        prove(bundle, folder)


def test_a_signature_of_another_method(bundle, base_path, tmp_path):
    def edit(graph):
        graph.signature_def["classify"].method_name = "tensorflow/serving/x"

    folder = edited(base_path, tmp_path / "1", edit)
    with pytest.raises(ExportError) as caught:
        prove(bundle, folder)
    assert str(caught.value) == (
        f"{folder}: the signature classify must have the method "
        "tensorflow/serving/classify. Received: 'tensorflow/serving/x'"
    )


def test_a_signature_of_another_input(bundle, base_path, tmp_path):
    def edit(graph):
        inputs = graph.signature_def["jpegs"].inputs
        inputs["faces"].CopyFrom(inputs.pop("face"))

    folder = edited(base_path, tmp_path / "1", edit)
    with pytest.raises(ExportError, match="the signature jpegs takes .*faces"):
        prove(bundle, folder)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"op": "CudnnRNNV3"}, "holds CudnnRNNV3, which no CPU runs"),
        ({"device": "/device:GPU:0"}, "is pinned to /device:GPU:0"),
        ({"device": "/job:worker/task:1"}, "is pinned to /job:worker"),
        ({"attr": "_XlaMustCompile"}, "must be compiled by XLA"),
    ],
)
@pytest.mark.parametrize("where", ["function", "graph"])
def test_a_graph_that_is_tied_to_a_device(
    base_path, tmp_path, change, message, where
):
    data = (base_path / "1" / "saved_model.pb").read_bytes()
    saved = saved_model_pb2.SavedModel.FromString(data)
    graph = saved.meta_graphs[0].graph_def
    if where == "graph":
        node = graph.node[-1]
    else:
        node = next(
            f for f in graph.library.function if "while" in f.signature.name
        ).node_def[0]
    if "attr" in change:
        node.attr[change["attr"]].b = True
    else:
        (key, value), *_ = change.items()
        setattr(node, key, value)
    path = tmp_path / "saved_model.pb"
    path.write_bytes(saved.SerializeToString())
    with pytest.raises(ExportError) as caught:
        proof.check_graph(tmp_path)
    assert message in str(caught.value)


def test_a_function_that_has_to_be_compiled(base_path, tmp_path):
    def edit(graph):
        function = next(
            f
            for f in graph.graph_def.library.function
            if "_traced_" not in f.signature.name
        )
        function.attr["_XlaMustCompile"].b = True

    folder = edited(base_path, tmp_path / "1", edit)
    with pytest.raises(ExportError, match="must be compiled by XLA"):
        proof.check_graph(folder)


def test_the_exported_graph_is_tied_to_none(base_path):
    proof.check_graph(pathlib.Path(base_path / "1"))


def compare(expected, answer):
    return proof._compare(trials.Trial("s", {}, expected), answer)


def test_the_comparison_of_answers():
    right = {"probabilities": np.array([[0.5, 0.5]], np.float32)}
    assert compare(right, right) == 0
    nan = {"probabilities": np.array([[np.nan, 0.5]], np.float32)}
    for other, message in (
        (nan, "differs by nan"),
        ({"probabilities": np.zeros((2, 2), np.float32)}, r"shape \(2, 2\)"),
        ({"probabilities": np.zeros((3, 7), np.float32)}, r"shape \(3, 7\)"),
        (
            {"probabilities": np.array([[0.4, 0.6]], np.float32)},
            "differs by 0.1 from the model's; at most 0.0001 is right",
        ),
        ({}, r"outputs \[\], not \['probabilities'\]"),
    ):
        with pytest.raises(ExportError, match=message):
            compare(right, other)
    words = {"labels": np.array([[b"a"]], object)}
    with pytest.raises(ExportError, match="labels differs"):
        compare(words, {"labels": np.array([[b"b"]], object)})
    # Pixels and logits are held against their own size.
    boxes = {"boxes": np.array([[100.0, 200.0]], np.float32)}
    compare(boxes, {"boxes": boxes["boxes"] + np.float32(0.015)})
    with pytest.raises(ExportError, match="boxes differs by 0.03"):
        compare(boxes, {"boxes": boxes["boxes"] + np.float32(0.03)})
