"""Fixtures and rules of every test.

`real` tests read videos and weights from `$EMOREC_TEST_DATA` (default: the
folder `shared/data` beside the checkout). Where that folder is absent they are
skipped with the reason; where it is present, a skipped one fails the run.
"""

import contextlib
import gc
import logging
import os
import pathlib
import resource
import sys
from unittest import mock

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEST_DATA = pathlib.Path(
    os.environ.get("EMOREC_TEST_DATA") or ROOT.parent / "shared" / "data"
)

# Set before any test imports TensorFlow: its C++ log drowns pytest's output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keeps the graphs of tests out of the user's cache."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    values = {
        # The fonts that matplotlib found take it seconds to find again.
        "MPLCONFIGDIR": str(home.expanduser() / "matplotlib"),
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }
    with mock.patch.dict(os.environ, values):
        yield


@pytest.fixture(scope="session")
def test_data() -> pathlib.Path:
    """The folder of real data; only tests marked `real` may ask for it."""
    return TEST_DATA


def pytest_configure():
    # A wrong path must not turn into skipped tests.
    if os.environ.get("EMOREC_TEST_DATA") and not TEST_DATA.is_dir():
        raise pytest.UsageError(
            f"$EMOREC_TEST_DATA must be a folder. Received: {TEST_DATA}"
        )


def pytest_collection_modifyitems(items):
    for item in items:
        if "test_data" in getattr(item, "fixturenames", ()) and (
            not item.get_closest_marker("real")
        ):
            raise pytest.UsageError(f"{item.nodeid}: mark it `real`")
        if item.get_closest_marker("real") and not TEST_DATA.is_dir():
            item.add_marker(
                pytest.mark.skip(reason=f"no real data at {TEST_DATA}")
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    # `emorec pipeline run` quietens the process's log, which is its own to
    # do: but not that of the tests that come after it here.
    root = logging.getLogger()
    level = root.level
    try:
        return (yield)
    finally:
        root.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if (
        report.skipped
        and item.get_closest_marker("real")
        and TEST_DATA.is_dir()
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a `real` test may not be skipped"
    return report


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory) -> pathlib.Path:
    """The manifest of a small sample set: 4 identities of 8 short clips."""
    from emorec.data import sample

    return sample.write_sample_set(
        tmp_path_factory.mktemp("sample") / "set", identities=4, seconds=0.75
    )


@pytest.fixture(scope="session")
def encoders():
    """mini-XCEPTION as published, and a SqueezeNet of random weights."""
    from emorec.features import encoder
    from emorec.features.encoders import Encoders

    return Encoders(
        encoder.create("mini_xception"),
        encoder.create("squeezenet", allow_random=True, download=False),
    )


@pytest.fixture(scope="session")
def prepared(sample_set, tmp_path_factory):
    """The sample set as a data set of records; read-only."""
    from emorec.config import Config
    from emorec.data import manifest, prepare

    return prepare.prepare(
        manifest.read(str(sample_set)),
        tmp_path_factory.mktemp("prepared") / "data",
        Config(),
    )


@pytest.fixture(scope="session")
def model_dir(prepared, encoders, tmp_path_factory) -> pathlib.Path:
    """A CACA-RNN A trained for three epochs on `prepared`; read-only."""
    from emorec.training import train

    folder = tmp_path_factory.mktemp("model") / "model"
    config = train.training_config(
        prepared, "caca_rnn_a", ["train.epochs=3", "train.batch_size=8"]
    )
    train.train(prepared, folder, config, encoders)
    return folder


@pytest.fixture(scope="session")
def base_path(model_dir, tmp_path_factory) -> pathlib.Path:
    """The base path of a served model: `model_dir` exported as version 1."""
    from emorec.export import saved_model
    from emorec.training import bundle

    path = tmp_path_factory.mktemp("serving") / "emotion"
    # A full warmup takes each server that loads it 20 s.
    saved_model.export(
        bundle.load(model_dir, use_cudnn=False), path, batch_sizes=(1,)
    )
    return path


@pytest.fixture(scope="session")
def onnx_dir(model_dir, tmp_path_factory) -> pathlib.Path:
    """`model_dir` as an ONNX directory, alone in its folder; read-only."""
    from emorec.export import onnx_files
    from emorec.training import bundle

    folder = tmp_path_factory.mktemp("onnx") / "made" / "onnx"
    onnx_files.export(bundle.load(model_dir, use_cudnn=False), folder)
    return folder


@pytest.fixture
def full_disk(monkeypatch):
    """A context in which no file may outgrow some bytes: a full disk.

    The kernel refuses the write (EFBIG) just as it does with ENOSPC. Fails
    where an object that is thrown away complains: Python prints that as a
    traceback, which no `except` can catch.
    """

    @contextlib.contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        complaints = []
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", complaints.append)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            gc.collect()
        assert not complaints, complaints[0].exc_value

    return limit
