"""Fixtures and rules of every test.

`real` tests read videos and weights from `$EMOREC_TEST_DATA` (default: the
folder `shared/data` beside the checkout). Where that folder is absent they are
skipped with the reason; where it is present, a skipped one fails the run.
"""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEST_DATA = pathlib.Path(
    os.environ.get("EMOREC_TEST_DATA") or ROOT.parent / "shared" / "data"
)

# Set before any test imports TensorFlow: its C++ log drowns pytest's output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def test_data() -> pathlib.Path:
    """The folder of real data; only tests marked `real` may ask for it."""
    return TEST_DATA


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
