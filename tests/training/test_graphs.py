"""A model's graphs: the same answers without Keras, and when they are used."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from emorec.errors import ModelError
from emorec.features import detector, sessions
from emorec.training import bundle, graphs


@pytest.fixture
def folder(model_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(
        model_dir, tmp_path / "model", ignore=lambda *_: ["checkpoints"]
    )


def test_the_network_as_a_graph_answers_as_the_model(folder):
    made, plain = graphs.load(folder), bundle.load(folder)
    rng = np.random.default_rng(1)
    inputs = {
        name: rng.normal(size=(1, 5, *given.shape[2:])).astype(np.float32)
        for name, given in plain.model.input.items()
    }
    inputs["mask"] = np.ones((1, 5), bool)
    found = sessions.runner(made.networks[graphs.NETWORK])(inputs)
    expected = plain.model(inputs, training=False)
    assert set(found) == set(expected)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)
    assert made.description == plain.describe()


def test_what_is_kept_is_what_was_made(folder):
    assert not graphs.is_kept(folder)
    made = graphs.load(folder)
    assert graphs.is_kept(folder)
    kept = graphs.load(folder)
    assert kept.networks == made.networks
    assert kept.description == made.description
    assert (kept.config, kept.labels) == (made.config, made.labels)


@pytest.mark.parametrize("name", ["model.weights.h5", "model.json"])
def test_a_folder_damaged_since_is_read_again_and_refused(folder, name):
    graphs.load(folder)
    with open(folder / name, "r+b") as f:
        f.write(b"damage")
    assert not graphs.is_kept(folder)
    with pytest.raises(ModelError, match=name):
        graphs.load(folder)


ANSWER = """
import sys
from emorec.features import detector, sessions
from emorec.training import graphs
folder = sys.argv[1]
assert graphs.is_kept(folder) and detector.is_kept()
assert "tensorflow" not in sys.modules
sessions.load()
import numpy as np
from emorec import local_backend
from emorec.video.faces import FaceDetector
made = local_backend.LocalBackend(graphs.load(folder))
made.warm_up()
picture = np.zeros((64, 64, 3), np.uint8)
assert len(FaceDetector(engine=made.engine()).detect([picture])[0]) == 0
assert not {"keras", "mtcnn", "tensorflow"} & set(sys.modules)
"""


def test_an_answer_from_kept_graphs_needs_no_keras(folder):
    graphs.load(folder)
    detector.engine()
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
