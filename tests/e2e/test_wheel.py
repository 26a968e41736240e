"""The wheel in empty environments: bare, and with what prediction needs."""

import os
import pathlib
import subprocess
import venv
import zipfile

import pytest

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
    assert "emorec/evaluation/templates/clip_report.html" in names


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
