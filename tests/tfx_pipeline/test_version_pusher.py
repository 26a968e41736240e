"""The number of a pushed version: a new one, and the highest."""

import json
import time

import pytest
from testing import tfx_artifacts
from tfx.types import standard_artifacts

from emorec.errors import ExportError
from tfx_pipeline.components import version_pusher


@pytest.fixture
def push(tmp_path):
    """Pushes a model; gives the numbers of the versions then."""
    model = tfx_artifacts.made(standard_artifacts.Model, tmp_path / "model", 1)
    folder = tmp_path / "model" / "Format-Serving"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    base = tmp_path / "serving"

    def push(blessed=True):
        blessing = tfx_artifacts.made(
            standard_artifacts.ModelBlessing, tmp_path / "blessing"
        )
        blessing.set_int_custom_property("blessed", int(blessed))
        pushed = tfx_artifacts.made(
            standard_artifacts.PushedModel, tmp_path / "pushed"
        )
        version_pusher.Executor().Do(
            {"model": [model], "model_blessing": [blessing]},
            {"pushed_model": [pushed]},
            {
                "push_destination": json.dumps(
                    {"filesystem": {"base_directory": str(base)}}
                )
            },
        )
        return sorted(int(p.name) for p in base.iterdir())

    push.base = base
    return push


def test_two_pushes_of_one_second_are_two_versions(push):
    (first,) = push()
    assert push()[0] == first
    assert len(push()) == 3


def test_it_exceeds_a_version_of_a_moment_ago(push):
    ahead = int(time.time()) + 2
    (push.base / str(ahead)).mkdir(parents=True)
    assert push()[-1] > ahead


def test_a_version_that_none_would_exceed_is_told(push):
    (push.base / "99999999999").mkdir(parents=True)
    with pytest.raises(ExportError, match="99999999999") as caught:
        push()
    assert "would never be served" in str(caught.value)
    assert [p.name for p in push.base.iterdir()] == ["99999999999"]
    # What is not pushed has no number.
    assert push(blessed=False) == [99999999999]
