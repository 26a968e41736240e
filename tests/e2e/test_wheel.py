"""The wheel in empty environments: bare, and with what prediction needs."""

import json
import os
import pathlib
import subprocess
import venv
import zipfile

import cv2
import numpy as np
import pytest

from serving.server.server import ModelServer

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.long


def _run(*command, timeout=900, **options):
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith("PYTHON")
    }
    # As where TFX started the process; tf_keras is not installed.
    environment["TF_USE_LEGACY_KERAS"] = "1"
    return subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        **options,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the checkout, so that no build folder is left."""
    folder = tmp_path_factory.mktemp("wheel")
    done = _run("git", "ls-files", "-z", cwd=ROOT)
    source = folder / "source"
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    # An environment of its own: one that uv made has no pip.
    venv.create(folder / "build", with_pip=True)
    done = _run(
        folder / "build" / "bin" / "python",
        "-m",
        "pip",
        "wheel",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        f"--wheel-dir={folder}",
        source,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def _environment(folder, requirement):
    """Makes a virtual environment; returns its `emorec` and `python`."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    done = _run(
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        requirement,
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "emorec", python


def test_the_wheel_holds_the_three_packages_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "emorec",
        "serving",
        "tfx_pipeline",
    }
    # Files that are no modules, of every folder that has such.
    for folder in ("evaluation/templates", "ui/static"):
        wanted = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "emorec" / folder).iterdir()
            if path.is_file()
        }
        assert len(wanted) > 1
        assert wanted <= set(names)


def test_bare_install_helps_and_asks_for_what_it_lacks(wheel, tmp_path):
    emorec, python = _environment(tmp_path / "bare", wheel)
    assert "usage: emorec COMMAND" in _run(emorec, "--help").stdout
    done = _run(emorec, "prepare", "--help")
    assert done.returncode == 0
    assert "--manifest" in done.stdout
    done = _run(
        python, "-c", "from serving.client.emotion_client import EmotionClient"
    )
    assert done.returncode == 0, done.stderr
    done = _run(emorec, "models")
    assert done.returncode == 1
    assert "emorec[tf]" in done.stderr
    assert "Traceback" not in done.stderr


LIGHT = """
import json, pathlib, sys
import numpy as np
from serving.client import EmotionClient
jpeg = pathlib.Path(sys.argv[2]).read_bytes()
with EmotionClient(sys.argv[1]) as client:
    client.wait_ready()
    spec = client.metadata()["features"].inputs
    face, context = (
        np.ones((1, 2, spec[f"{name}_features"].shape[-1]))
        for name in ("face", "context")
    )
    for answer in (
        client.features(face, context, [[True, False]]),
        client.jpegs([[jpeg] * 2], [[jpeg] * 2]),
        client.video([[jpeg] * 2], [[0.0, 0.125]]),
    ):
        print(json.dumps(answer["probabilities"].tolist()))
heavy = {"tensorflow", "keras", "cv2", "av", "mtcnn", "onnxruntime", "h5py"}
print(sorted(heavy & set(sys.modules)))
for name in sorted(heavy):
    try:
        __import__(name)
    except ImportError:
        continue
    print(name, "is installed")
"""


def test_the_client_of_a_bare_install_asks_for_every_form(
    wheel, base_path, tmp_path
):
    _, python = _environment(tmp_path / "light", wheel)
    frame = np.random.default_rng(0).integers(0, 255, (9, 16, 3), np.uint8)
    frame = cv2.resize(frame, (160, 90))
    jpeg = tmp_path / "frame.jpg"
    cv2.imwrite(str(jpeg), frame)
    with ModelServer(str(base_path), "emotion", port=0) as server:
        done = _run(python, "-c", LIGHT, f"127.0.0.1:{server.port}", jpeg)
    assert done.returncode == 0, done.stderr
    features, jpegs, video, *rest = done.stdout.splitlines()
    for answer in (features, jpegs):
        assert sum(json.loads(answer)[0]) == pytest.approx(1)
    # Noise holds no face: zeros, as everywhere.
    assert set(json.loads(video)[0]) == {0}
    assert rest == ["[]"]


def test_install_for_prediction_predicts(
    wheel, base_path, sample_set, tmp_path
):
    emorec, _ = _environment(tmp_path / "full", f"{wheel}[tf,video,serving]")
    video = next((sample_set.parent / "videos").glob("*.mp4"))
    done = _run(
        emorec,
        "predict",
        video,
        f"--saved_model={base_path}",
        f"--output={tmp_path / 'out.jsonl'}",
        f"--report={tmp_path / 'out.html'}",
    )
    assert done.returncode == 0, done.stderr
    assert '"probabilities"' in (tmp_path / "out.jsonl").read_text()
    assert (tmp_path / "out.html").stat().st_size > 10_000
    assert "caca_rnn_a" in _run(emorec, "models").stdout
