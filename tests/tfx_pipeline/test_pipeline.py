"""The whole pipeline, from videos to a pushed model, and its second runs."""

import json
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest
from testing import commands

from emorec.errors import EmorecError
from tfx_pipeline import settings
from tfx_pipeline.components import clip_inferrer

pytestmark = pytest.mark.long

NODES = [
    "ClipExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "PreviousStatistics",
    "ExampleValidator",
    "FeatureExtractor",
    "Trainer",
    "LastBlessed",
    "Evaluator",
    "ServableValidator",
    "Pusher",
    "BulkInferrer",
]
# They look an artifact up in each run; there is nothing to cache.
RESOLVERS = {"PreviousStatistics", "LastBlessed"}


class Pipeline:
    """A pipeline in a folder of its own."""

    def __init__(self, folder: pathlib.Path, manifest: pathlib.Path, **changes):
        self.folder = folder
        self.path = folder / "pipeline.json"
        self.values = {
            "pipeline_name": "emotion",
            "pipeline_root": "root",
            "metadata_path": "metadata.sqlite",
            "serving_dir": "serving/emotion",
            "input": {"base": str(manifest.parent), "manifest": manifest.name},
            "config": {
                "model": {"encoder_units": 16, "rnn_units": 8},
                "train": {
                    "epochs": 6,
                    "batch_size": 8,
                    "learning_rate": 0.01,
                },
                "data": {"shard_rows": 8},
            },
            "encoders": {"missing_weights": "random"},
            "evaluator": {"max_map_drop": 0.05},
            "serving": {"server": "embedded", "max_clips": 3},
            **changes,
        }

    def write(self, **changes):
        values = {**self.values, **changes}
        self.path.write_text(json.dumps(values))

    def run(self, *assignments, **changes):
        """Runs it in this process, which has TFX loaded already."""
        from tfx_pipeline import local_runner

        self.write(**changes)
        found = settings.load(str(self.path)).override(assignments, [])
        return local_runner.run(found)

    def versions(self) -> list[str]:
        folder = self.folder / "serving" / "emotion"
        return sorted(os.listdir(folder)) if folder.is_dir() else []


def states(result) -> dict[str, str]:
    return {row.node: row.state for row in result.table.rows}


def outcome(result, node) -> str:
    return next(r.outcome for r in result.table.rows if r.node == node)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """No download: neither a cache nor the network decides."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        patch.delenv("EMOREC_WEIGHTS_DIR", raising=False)
        yield


@pytest.fixture(scope="module")
def pipeline(clips, weights, tmp_path_factory):
    """A pipeline that has run once."""
    made = Pipeline(tmp_path_factory.mktemp("pipeline"), pathlib.Path(clips))
    made.first = made.run()
    assert made.first.error is None, made.first.table.text()
    return made


def test_the_first_run_does_everything(pipeline):
    found = states(pipeline.first)
    assert sorted(found) == sorted(NODES)
    assert {found[n] for n in set(NODES) - RESOLVERS} == {"ran"}
    assert len(pipeline.versions()) == 1
    text = pipeline.first.table.text()
    assert pipeline.versions()[0] in text
    assert str(pipeline.folder / "serving" / "emotion") in text
    runs = list((pipeline.folder / "root" / "runs").glob("*.json"))
    assert len(runs) == 1
    assert json.loads(runs[0].read_text())["run_id"] == pipeline.first.run_id


def test_the_pushed_model_answers_as_a_server_asks(pipeline):
    from emorec import saved_model_backend

    backend = saved_model_backend.SavedModelBackend(
        pipeline.folder / "serving/emotion"
    )
    assert backend.description["system"] == "caca_rnn_a"
    assert backend.description["random_weights"] == ["context"]


def test_the_unlabelled_clips_are_answered(pipeline):
    import tensorflow as tf

    folder = pipeline.folder / "root" / "BulkInferrer" / "output_examples"
    files = [str(p) for p in folder.rglob("*.gz")]
    data = tf.data.TFRecordDataset(files, compression_type="GZIP")
    rows = [tf.train.Example.FromString(d) for d in data.as_numpy_iterator()]
    assert len(rows) == 8
    for row in rows:
        found = row.features.feature[clip_inferrer.COLUMN].float_list.value
        assert len(found) == 8
        assert sum(found) == pytest.approx(1, abs=1e-5)
        assert row.features.feature["clip/label_id"].int64_list.value == [-1]


def test_a_second_run_is_answered_from_the_cache(pipeline):
    before = pipeline.versions()
    again = pipeline.run()
    assert again.error is None
    found = states(again)
    assert {found[n] for n in set(NODES) - RESOLVERS} == {"cached"}
    assert pipeline.versions() == before


def test_a_changed_hyperparameter_runs_what_depends_on_it(pipeline):
    changed = pipeline.run("train.learning_rate=0.02")
    assert changed.error is None, changed.table.text()
    found = states(changed)
    depends = set(NODES[NODES.index("Trainer") :])
    for node in set(NODES) - RESOLVERS:
        assert found[node] == ("ran" if node in depends else "cached"), node


def test_a_worse_model_is_not_pushed(pipeline):
    before = pipeline.versions()
    worse = pipeline.run("train.learning_rate=1e-9", "train.epochs=1")
    assert worse.error is None, worse.table.text()
    assert pipeline.versions() == before
    said = outcome(worse, "Evaluator")
    assert said.startswith("not blessed: map fell by")
    assert "against the last blessed model, 0.05 is allowed" in said
    assert "not pushed" in outcome(worse, "Pusher")
    assert before[-1] in worse.table.text().splitlines()[-1]


def test_killed_in_the_middle_and_run_again(pipeline):
    before = pipeline.versions()
    pipeline.write()
    longer = ("train.epochs=40", "train.patience=40")
    process = subprocess.Popen(
        commands.line(
            "pipeline",
            "run",
            f"--config={pipeline.path}",
            *(f"--set={text}" for text in longer),
        ),
        env=commands.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        root = pipeline.folder / "root" / "Trainer" / "model_run"
        known = set(root.rglob("last.npz"))
        until = time.monotonic() + 180
        while not (made := set(root.rglob("last.npz")) - known):
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert pipeline.versions() == before
    (killed,) = made
    mark(killed)
    again = pipeline.run(*longer)
    assert again.error is None, again.table.text()
    assert states(again)["FeatureExtractor"] == "cached"
    assert states(again)["Trainer"] == "ran"
    newest = max(root.iterdir(), key=lambda p: int(p.name))
    epochs = json.loads((newest / "history.json").read_text())["epochs"]
    assert len(epochs) == 40
    # The first epoch is the one of the killed run.
    assert epochs[0]["accuracy"] == MARK


MARK = -1.0


def mark(path):
    """Puts a mark into the history of a checkpoint."""
    with np.load(path) as arrays:
        values = dict(arrays)
    meta = json.loads(values["meta"].tobytes())
    meta["history"][0]["accuracy"] = MARK
    values["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **values)


def test_two_runs_at_once_are_refused(pipeline):
    from tfx_pipeline import local_runner

    pipeline.write()
    found = settings.load(str(pipeline.path))
    with (
        local_runner._alone(found.metadata_path),
        pytest.raises(EmorecError, match="another run of this pipeline"),
    ):
        local_runner.run(found)
