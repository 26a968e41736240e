"""Fixtures of the page's tests."""

import pathlib

import pytest

pytest.importorskip("gradio", reason="gradio is not installed (emorec[ui])")


@pytest.fixture(scope="session")
def backend(onnx_dir):
    from emorec.onnx_backend import OnnxBackend

    return OnnxBackend(onnx_dir)


@pytest.fixture(scope="session")
def detector(backend):
    from emorec.video.faces import FaceDetector

    return FaceDetector(backend.config.detector, backend.engine())


@pytest.fixture(scope="session")
def clip(sample_set) -> pathlib.Path:
    """A video of .75 s with one face."""
    return min(sample_set.parent.rglob("*.mp4"))
