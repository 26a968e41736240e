"""The image of a worker: its versions are the lock's; built where possible."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "tfx_pipeline" / "Dockerfile").read_text(encoding="utf-8")


def test_it_has_the_versions_of_the_lock():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    beam = re.search(r"^apache-beam==(.*)$", lock, re.M).group(1)
    assert f"apache/beam_python3.11_sdk:{beam}" in TEXT
    assert "python:3.11-" in TEXT


def test_what_it_copies_is_there():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.M)
    names = [name for line in copied for name in line.split()]
    assert {"requirements.lock", "emorec", "serving", "tfx_pipeline"} <= {
        *names
    }
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_committed_schema_lies_where_compiled_pipelines_look():
    from tfx_pipeline import kubeflow

    folder = re.search(r"^WORKDIR (\S+)$", TEXT, re.M).group(1)
    inside = pathlib.PurePosixPath(kubeflow.SCHEMA_IN_IMAGE)
    assert (ROOT / inside.relative_to(folder)).is_file()


@pytest.mark.long
def test_it_builds(tmp_path):
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run(
            [docker, "info"], capture_output=True, timeout=60
        ).returncode
    ):
        pytest.skip("no Docker engine: the build of the image is not run")
    file = ROOT / "tfx_pipeline" / "Dockerfile"
    done = subprocess.run(
        [docker, "build", "-q", "-f", file, ROOT],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
