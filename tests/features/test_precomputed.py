"""Tests of features that were given: the stand-in for an encoder."""

import json

import numpy as np
import pytest
from testing import commands

from emorec.data import dataset, input_pipeline, planted, planted_set
from emorec.errors import ConfigError, EmorecError, ModelError
from emorec.evaluation import evaluate
from emorec.features import extract, precomputed
from emorec.features.encoders import Encoders
from emorec.training import bundle, train

TASK = planted.Task(clips=(24, 12, 12))
BOTH = ("face_features", "context_features")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return planted_set.write(tmp_path_factory.mktemp("given") / "data", 0, TASK)


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    """A model of given features, trained for an epoch; and its folder."""
    folder = tmp_path_factory.mktemp("model") / "model"
    config = train.training_config(
        data,
        "face_rnn",
        ["model.encoder_units=4", "model.rnn_units=4", "train.epochs=1"],
    )
    made = train.train(data, folder, config, precomputed.encoders(data.path))
    return made, folder


def test_it_has_the_face_of_an_encoder():
    given = precomputed.Precomputed("a study", 5)
    assert (given.id, given.labels) == ("precomputed", ())
    assert given.outputs == {"features": (5,)}
    assert given.weights["name"] == "a study"
    assert given.weights["random"] is False
    assert len(given.hash) == 16
    others = [("a study", 6), ("another", 5)]
    hashes = {precomputed.Precomputed(*o).hash for o in others}
    assert len(hashes | {given.hash}) == 3


@pytest.mark.parametrize("name, size", [("", 5), ("a", 0), ("a", 1 << 21)])
def test_a_name_and_a_size_are_needed(name, size):
    with pytest.raises(ModelError, match="need a name and 1 to 1048576 values"):
        precomputed.Precomputed(name, size)


def test_there_is_nothing_to_encode():
    given = precomputed.Precomputed("a study", 5)
    said = r"features of this model were given \(a study\), not computed from"
    with pytest.raises(ModelError, match=said):
        given.part("features")
    with pytest.raises(ModelError, match=said):
        given.encode_kinds(np.zeros((1, 32, 32, 3), np.uint8), ["features"])


def test_saved_and_loaded_it_is_the_same(tmp_path):
    given = precomputed.Precomputed("a study", 5)
    assert not precomputed.is_saved(tmp_path)
    given.save(tmp_path / "face")
    assert precomputed.is_saved(tmp_path / "face")
    found = precomputed.load(tmp_path / "face")
    assert vars(found) == vars(given)


@pytest.mark.parametrize(
    "changes",
    [{"size": 6}, {"name": "x"}, {"size": "5"}, {"hash": None}, {"size": True}],
    ids=str,
)
def test_a_damaged_one_is_refused(tmp_path, changes):
    precomputed.Precomputed("a study", 5).save(tmp_path)
    path = tmp_path / precomputed.JSON_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ModelError, match="`name`, `size` and `hash` of given"):
        precomputed.load(tmp_path)


def test_an_absent_one_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no given encoder .*no such file"):
        precomputed.load(tmp_path)


def test_a_data_set_says_what_it_came_with(data):
    found = precomputed.encoders(data.path)
    assert found.shapes == {"face_features": (8,), "context_features": (8,)}
    face = precomputed.encoders(data.path, ["face_features"])
    assert face.context is None
    assert face.face.hash == found.face.hash
    with pytest.raises(ConfigError, match="gives no maps"):
        face.only(["face_maps"])


def test_a_data_set_with_none_has_none(tmp_path):
    assert precomputed.encoders(tmp_path) == Encoders()


def test_deposited_features_are_taken_for_finished(data):
    # The stand-in cannot compute any: they are all there and up to date.
    for split in data.splits:
        found = extract.extract(
            data, split, precomputed.encoders(data.path), BOTH, data.config
        )
        batches = list(input_pipeline.evaluation_clips(found, data.config))
        assert sum(len(y) for _, y in batches) == data.splits[split]["records"]


def test_features_of_another_shape_are_refused(tmp_path):
    data = planted_set.write(tmp_path, 0, TASK)
    given = Encoders(face=precomputed.Precomputed("wrong", 8))
    steps = {f"test-{i:05d}/t0/w0": {} for i in range(12)}
    said = r"face_features given for the clip 'test-00000/t0/w0' must have "
    with pytest.raises(EmorecError, match=said + r"the shape \[\d+, 8\]"):
        precomputed.deposit(data, "test", given, steps)
    (folder,) = (tmp_path / "features").glob(f"*-{given.face.hash}")
    assert [p.name for p in folder.iterdir()] == [extract.DESCRIPTION]


def test_a_model_of_given_features_is_saved_loaded_and_evaluated(data, model):
    made, folder = model
    loaded = bundle.load(folder)
    assert loaded.encoders.face.hash == made.encoders.face.hash
    answers = [
        [c.probabilities for c in evaluate.with_bundle(data, "test", m)]
        for m in (made, loaded)
    ]
    np.testing.assert_array_equal(*answers)


def test_such_a_model_is_evaluated_by_the_command(
    data, model, tmp_path, capsys
):
    done = commands.here(
        capsys,
        "evaluate",
        f"--data_dir={data.path}",
        "--split=test",
        f"--model_dir={model[1]}",
        f"--output_dir={tmp_path}",
    )
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["metrics"]["n"] == 12


def test_such_a_model_cannot_be_exported(model, tmp_path, capsys):
    base = tmp_path / "served"
    done = commands.here(
        capsys, "export", f"--model_dir={model[1]}", f"--output_dir={base}"
    )
    assert done.code == 1
    assert "were given (emorec-planted" in done.fault()
    assert "train one on videos to export it, or to predict" in done.fault()
    assert not base.exists() or not any(base.iterdir())


def test_a_data_set_read_again_keeps_its_features(data):
    again = dataset.load(data.path)
    assert again.fingerprint == data.fingerprint
    assert again.labels == planted.LABELS
