"""Warmup requests: what is written, and that each one works."""

import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from emorec.data import records
from emorec.errors import ExportError
from emorec.export import graph_session, made_up, proof, saved_model, warmup
from emorec.training import bundle as bundles

SIZES = (1, 3)


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture(scope="module")
def version(base_path, tmp_path_factory) -> pathlib.Path:
    """A copy of the exported version without its warmup."""
    folder = tmp_path_factory.mktemp("warmup") / "1"
    shutil.copytree(base_path / "1", folder)
    (folder / warmup.WARMUP).unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def session(version):
    with graph_session.GraphSession(version) as session:
        yield session


@pytest.fixture(scope="module")
def logs(bundle, version, session):
    count = warmup.write(bundle, version, session, SIZES)
    made = [
        prediction_log_pb2.PredictionLog.FromString(data)
        for data in records.open_files(
            [version / warmup.WARMUP]
        ).as_numpy_iterator()
    ]
    assert len(made) == count
    return made


def names(session):
    return [n for n in session.signatures if not n.startswith("__")]


@pytest.mark.long
def test_there_is_one_for_each_signature_and_size(logs, session):
    found = set()
    for log in logs:
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        name = request.model_spec.signature_name
        assert (kind == "classify_log") is (name == "classify")
        if kind == "classify_log":
            size = len(request.input.example_list.examples)
        else:
            assert set(request.inputs) == set(session.signatures[name].inputs)
            (size,) = {
                tf.make_ndarray(v).shape[0] for v in request.inputs.values()
            }
        found.add((name, size))
    assert found == {(n, s) for n in names(session) for s in SIZES}
    assert len(logs) == len(found)
    assert "classify" in names(session) and "video" in names(session)


@pytest.mark.long
def test_a_request_has_the_steps_of_a_full_clip(logs, bundle):
    steps = bundle.config.clip.clip_frames
    for log in logs:
        request = log.predict_log.request
        if request.model_spec.signature_name in ("jpegs", "video"):
            (value, *_) = request.inputs.values()
            strings = tf.make_ndarray(value)
            assert strings.shape[1] == steps
            shown = np.vectorize(len)(strings) > 0
            # One clip is full; of several each has a frame.
            assert shown.sum() == (steps if len(shown) == 1 else len(shown))
        if request.model_spec.signature_name in ("features", "frames"):
            mask = tf.make_ndarray(request.inputs["mask"])
            assert mask.shape[1] == steps
            assert mask.any(1).all()


@pytest.mark.long
def test_the_file_is_small(logs, version):
    # A few bytes stand for a tensor of one value.
    assert (version / warmup.WARMUP).stat().st_size < 2 << 20


@pytest.mark.parametrize("sizes", [range(1, 200), (0, 1), (-1,)])
def test_sizes_that_no_server_takes(bundle, version, session, sizes):
    with pytest.raises(ExportError) as caught:
        warmup.write(bundle, version, session, sizes)
    assert str(caught.value) == (
        f"{version / warmup.WARMUP}: must hold 1 to 1000 requests of 1 clip or "
        f"more. Received: the batch sizes {list(sizes)} for each of 8 "
        "signatures; name others"
    )


@pytest.mark.long
def test_a_warmup_that_fails_stops_the_export(
    bundle, base_path, tmp_path, monkeypatch
):
    def copy(bundle, folder):
        shutil.copytree(base_path / "1", folder, dirs_exist_ok=True)

    masked = made_up.masked

    def holes(counts, length):
        mask = masked(counts, length)
        mask[:, -1] = True
        return mask

    monkeypatch.setattr(saved_model, "_write", copy)
    # What it compares is tried elsewhere.
    monkeypatch.setattr(proof, "check", lambda *_: {})
    monkeypatch.setattr(made_up, "masked", holes)
    with pytest.raises(ExportError) as caught:
        saved_model.export(bundle, tmp_path, batch_sizes=(2,))
    text = str(caught.value)
    assert (
        f"{warmup.WARMUP}: the warmup of the signature features with a batch "
        "of 2 fails (" in text
    )
    assert "`mask` must be a prefix mask" in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


def test_without_the_messages_it_says_what_to_install(
    bundle, tmp_path, monkeypatch
):
    for name in [n for n in sys.modules if n.startswith("tensorflow_serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    monkeypatch.setattr(saved_model, "_write", None)  # It comes first.
    for export in (saved_model.export, saved_model.write_to):
        with pytest.raises(ExportError) as caught:
            export(bundle, tmp_path / "x")
        assert str(caught.value).startswith(
            "warmup requests need the package tensorflow-serving-api ("
        )
        assert str(caught.value).endswith(
            "; install emorec[serving], or export without them"
        )
    assert not (tmp_path / "x").exists()


def test_an_export_without_a_warmup(bundle, base_path, tmp_path, monkeypatch):
    def copy(bundle, folder):
        shutil.copytree(base_path / "1", folder, dirs_exist_ok=True)
        (folder / warmup.WARMUP).unlink(missing_ok=True)

    monkeypatch.setattr(saved_model, "_write", copy)
    monkeypatch.setattr(proof, "check", lambda *_: {})
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    saved_model.export(bundle, tmp_path, batch_sizes=())
    assert not (tmp_path / "1" / warmup.WARMUP).exists()
