"""Models, data sets and servers that are not there, or do not fit."""

import json
import pathlib
import shutil
import socket
import time

import pytest
from testing import commands, videos

from emorec.data import dataset, files, records


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, *args)


@pytest.fixture
def good(sample_set) -> pathlib.Path:
    """A sound video with a face."""
    return sorted(sample_set.parent.rglob("*.mp4"))[0]


def changed(prepared, folder, **changes):
    """A copy of a data set whose description was edited."""
    path = folder / "data"
    shutil.copytree(prepared.path, path, ignore=lambda *_: ["features"])
    values = json.loads((path / dataset.FILE).read_text())
    for key, change in changes.items():
        change(values[key])
    files.write_json(path / dataset.FILE, values)
    return path


def evaluate(here, data, folder, *backend):
    return here(
        "evaluate", f"--data_dir={data}", f"--output_dir={folder}", *backend
    )


def test_data_of_another_config(here, tmp_path, prepared, model_dir, base_path):
    data = changed(
        prepared,
        tmp_path,
        config=lambda c: c["clip"].update(face_margin=0.25),
    )
    for backend in (f"--model_dir={model_dir}", f"--saved_model={base_path}"):
        done = evaluate(here, data, tmp_path / "out", backend)
        assert done.code == 1
        assert done.fault() == (
            f"emorec evaluate: {data}: its records do not fit this model: "
            f"clip.face_margin is 0.25, not {prepared.config.clip.face_margin}"
            "; prepare the videos again with the model's config"
        )
    assert not (tmp_path / "out").exists()


def test_data_of_other_labels(here, tmp_path, prepared, model_dir):
    data = changed(prepared, tmp_path, labels=lambda v: v["names"].reverse())
    done = evaluate(here, data, tmp_path / "out", f"--model_dir={model_dir}")
    assert done.code == 1
    assert "its labels (neutral, anxious, " in done.fault()
    assert "prepare the videos again with the model's labels" in done.fault()


def test_records_of_another_config_under_a_fitting_description(
    here, tmp_path, prepared, base_path
):
    data = changed(prepared, tmp_path)
    shard = pathlib.Path(dataset.load(data).files("test")[0])
    made = list(records.read(shard))
    for example in made:
        example.features.feature["config/hash"].bytes_list.value[0] = b"other"
    records.write(shard, made)
    done = evaluate(here, data, tmp_path / "out", f"--saved_model={base_path}")
    assert done.code == 1
    assert done.fault().startswith(f"emorec evaluate: {shard}: ")
    assert "were made with the config 'other', not" in done.fault()
    assert "prepare the videos again" in done.fault()


@pytest.mark.parametrize("backend", ["model_dir", "base_path"])
def test_a_corrupt_shard(here, tmp_path, prepared, backend, request):
    data = changed(prepared, tmp_path)
    shard = pathlib.Path(dataset.load(data).files("test")[0])
    videos.flip_bytes(shard, 50)
    flag = "--model_dir" if backend == "model_dir" else "--saved_model"
    where = request.getfixturevalue(backend)
    done = evaluate(here, data, tmp_path / "out", f"{flag}={where}")
    assert done.code == 1
    assert done.fault().startswith(
        f"emorec evaluate: {shard}: not readable"
    ) or (f"{shard}: not a readable TFRecord file" in done.fault())
    assert "delete it" in done.fault()


def test_no_such_split(here, tmp_path, prepared, model_dir):
    done = evaluate(
        here,
        prepared.path,
        tmp_path / "out",
        f"--model_dir={model_dir}",
        "--split=holdout",
    )
    assert done.code == 1
    assert "no records of the split 'holdout'; it has " in done.fault()
    assert "test" in done.fault()


def test_a_folder_that_is_no_data_set(here, tmp_path):
    done = here(
        "train", f"--data_dir={tmp_path}", f"--output_dir={tmp_path / 'm'}"
    )
    assert done.code == 1
    assert done.fault() == (
        f"emorec train: {tmp_path}/dataset.json: no description of a data set "
        "(there is no such file); make the data set with `emorec prepare`"
    )
    assert not (tmp_path / "m").exists()


def test_a_folder_that_is_no_model(here, tmp_path, good):
    line = (
        f"{tmp_path}/model.json: no trained model (there is no such file); "
        "make one with `emorec train`"
    )
    for args in (
        ["export", f"--output_dir={tmp_path / 'out'}"],
        ["predict", good],
    ):
        done = here(*args, f"--model_dir={tmp_path}")
        assert done.code == 1
        assert done.fault() == f"emorec {args[0]}: {line}"
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_kind(here, tmp_path, model_dir, good):
    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    (model / "model.weights.h5").write_bytes(b"no weights")
    done = here("predict", good, f"--model_dir={model}")
    assert done.code == 1
    assert f"{model}: model.weights.h5 does not fit" in done.fault()
    assert done.fault().endswith("train the model again")


def test_a_saved_model_that_is_none(here, tmp_path, good, base_path):
    done = here("predict", good, f"--saved_model={tmp_path}")
    assert done.code == 1
    assert done.fault() == (
        f"emorec predict: {tmp_path}: no SavedModel and no version folder "
        "with one; make one with `emorec export`"
    )
    foreign = tmp_path / "1"
    foreign.mkdir()
    (foreign / "saved_model.pb").write_bytes(b"not ours")
    done = here("predict", good, f"--saved_model={tmp_path}")
    assert done.fault().startswith(
        f"emorec predict: {foreign}: not a SavedModel of emorec ("
    )
    shutil.copytree(base_path / "1" / "assets", foreign / "assets")
    done = here("predict", good, f"--saved_model={tmp_path}")
    assert done.fault().startswith(
        f"emorec predict: {foreign}: cannot be loaded ("
    )
    assert done.fault().endswith("export the model again")
    (foreign / "assets" / "emorec.json").write_text('{"config": {}}')
    done = here("predict", good, f"--saved_model={tmp_path}")
    assert "description is not complete" in done.fault()


def test_nobody_listens(here, good):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # Bound and not listening: refused at once.
        address = f"127.0.0.1:{s.getsockname()[1]}"
        started = time.monotonic()
        done = here("predict", good, f"--server={address}", "--timeout=1")
        assert time.monotonic() - started < 20
    assert done.code == 1
    assert done.fault().startswith(f"emorec predict: model server {address}")
    assert "check the address and that the server runs" in done.fault()


def test_a_server_that_never_answers(here, good):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(8)
        address = f"127.0.0.1:{s.getsockname()[1]}"
        done = here("predict", good, f"--server={address}", "--timeout=1")
    assert done.code == 1
    assert done.fault().startswith(f"emorec predict: model server {address}")
