"""The number of a pushed version: a new one, and the highest."""

import json
import time

import pytest
from testing import s3, tfx_artifacts, toy_model
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


# Pushes a local model to a bucket, and loads what lies there.
REMOTE = """
import json, sys
import tensorflow as tf
from tfx.types import standard_artifacts
from emorec.data import files
from tfx_pipeline import pushes
from tfx_pipeline.components import version_pusher

model, pushed, base = sys.argv[1:]
files.open_file_system(base)
source = standard_artifacts.Model()
source.uri, source.id = model, 1
blessing = standard_artifacts.ModelBlessing()
blessing.set_int_custom_property("blessed", 1)
found = []
for i in range(2):
    target = standard_artifacts.PushedModel()
    target.uri = f"{pushed}/{i}"
    tf.io.gfile.makedirs(target.uri)
    version_pusher.Executor().Do(
        {"model": [source], "model_blessing": [blessing]},
        {"pushed_model": [target]},
        {
            "push_destination": json.dumps(
                {"filesystem": {"base_directory": base}}
            )
        },
    )
    found.append(target.get_string_custom_property("pushed_destination"))
record = tf.train.Example()
record.features.feature["toy/probabilities"].float_list.value[:] = [0.75, 0.25]
loaded = tf.saved_model.load(found[-1])
answer = loaded.signatures["serving_default"](
    tf.constant([record.SerializeToString()])
)
print(json.dumps({
    "pushed": found,
    "versions": sorted(pushes.numbers(base)),
    "answer": answer["probabilities"].numpy().tolist(),
}))
"""


@pytest.mark.long
def test_pushes_to_a_bucket_are_versions_that_load(tmp_path):
    saved = toy_model.save(tmp_path / "saved", ("a", "b"), shift=1.0)
    model = tfx_artifacts.model(tmp_path / "model", saved)
    with s3.s3_server() as server:
        base = f"{server.url}/serving/emotion"
        done = server.python(REMOTE, model.uri, tmp_path / "pushed", base)
        found = json.loads(done.stdout.splitlines()[-1])
        versions = found["versions"]
        assert len(set(versions)) == 2
        assert found["pushed"] == [f"{base}/{v}" for v in versions]
        # The toy with `shift` gives each answer to the next class.
        assert found["answer"] == [[0.25, 0.75]]
        for version in versions:
            prefix = f"serving/emotion/{version}/"
            there = {k: server.get(k) for k in server.keys(prefix)}
            there = {k: v for k, v in there.items() if not k.endswith("/")}
            assert there == {
                f"{prefix}{p.relative_to(saved).as_posix()}": p.read_bytes()
                for p in saved.rglob("*")
                if p.is_file()
            }
