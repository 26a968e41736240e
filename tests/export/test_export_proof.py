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
from emorec.export import proof, saved_model, signatures
from emorec.training import bundle as bundles

SIGNATURES = {
    "serving_default",
    "feature_examples",
    "features",
    "jpegs",
    "describe",
}


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

    def watched(bundle, folder):
        seen.append((folder.parent, saved_model.versions(tmp_path)))
        return check(bundle, folder)

    monkeypatch.setattr(proof, "check", watched)
    folder, differences = saved_model.export(bundle, tmp_path)
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
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert set(loaded.signatures) == SIGNATURES, "Python sees no fault"
    with pytest.raises(ExportError, match="model server could not answer"):
        proof.check(bundle, tmp_path / "1")


def test_the_proof_misses_a_signature(bundle, base_path, tmp_path):
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
        proof.check(bundle, folder)


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


def test_the_exported_graph_is_tied_to_none(base_path):
    proof.check_graph(pathlib.Path(base_path / "1"))


def test_the_comparison_of_answers():
    right = {"probabilities": np.array([[0.5, 0.5]], np.float32)}
    assert proof._compare("s", right, right) == 0
    nan = {"probabilities": np.array([[np.nan, 0.5]], np.float32)}
    for other, message in (
        (nan, "differs by nan"),
        ({"probabilities": np.zeros((2, 2), np.float32)}, r"shape \(2, 2\)"),
        ({"probabilities": np.zeros((3, 7), np.float32)}, r"shape \(3, 7\)"),
        (
            {"probabilities": np.array([[0.4, 0.6]], np.float32)},
            "differs by 0.1",
        ),
        ({}, r"outputs \[\], not \['probabilities'\]"),
    ):
        with pytest.raises(ExportError, match=message):
            proof._compare("s", right, other)
    words = {"labels": np.array([[b"a"]], object)}
    with pytest.raises(ExportError, match="labels differs"):
        proof._compare("s", words, {"labels": np.array([[b"b"]], object)})
