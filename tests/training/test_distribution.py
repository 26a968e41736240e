"""Training on several devices and in several processes.

Dropout aside, the figures must be those of one device. Batches of 7 leave one
clip of 22, and of 15, for the last one: a second replica gets nothing of it.
"""

import contextlib
import json
import socket
import subprocess
import sys

import pytest
import tensorflow as tf
from testing import commands, training_worker

from emorec.data import planted, planted_set
from emorec.errors import ConfigError
from emorec.training import bundle, checkpoint, distribution

TASK = planted.Task(clips=(22, 15, 8))
EPOCHS = 5
PLAIN = (
    "train.batch_size=7",
    f"train.epochs={EPOCHS}",
    "train.learning_rate=0.05",
    # Between the gradients' norms, so that their scale and the place of the
    # clipping count, which Adam alone would not notice.
    "train.clip_norm=0.5",
    "model.dropout=0",
)
FIGURES = {"loss", "accuracy", "val_loss", "val_accuracy"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return planted_set.write(tmp_path_factory.mktemp("given") / "data", 0, TASK)


def alone(data, described) -> dict:
    """Does on one device, in this process, what a worker was told to do."""
    strategy = tf.distribute.get_strategy()
    return training_worker.run_once(data, strategy, **described)


def start(folder, data, name, cluster=None, **task):
    """Starts a worker; returns its process and where it reports."""
    report, path = folder / f"{name}.json", folder / f"{name}.task.json"
    path.write_text(
        json.dumps({"data": data.path, "report": str(report), **task})
    )
    environment = commands.environment()
    environment["PYTHONPATH"] += f":{commands.ROOT / 'tests'}"
    if cluster:
        environment[distribution.VARIABLE] = json.dumps(cluster)
    process = subprocess.Popen(
        [sys.executable, "-m", "testing.training_worker", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    return process, report


def finish(process, report) -> tuple[int, dict]:
    """Waits for a worker; returns its exit code and what it reported."""
    output, _ = process.communicate(timeout=180)
    assert report.exists(), output
    return process.returncode, json.loads(report.read_text())


def on_devices(folder, data, devices, *runs) -> dict:
    """Trains on logical CPU devices; returns the report."""
    process, report = start(
        folder, data, "report", devices=devices, runs=list(runs)
    )
    try:
        code, found = finish(process, report)
    finally:
        process.kill()
    assert code == 0
    return found


def run_in(folder, assignments=(), **arguments) -> dict:
    """Describes a run to a worker."""
    settings = [*PLAIN, *assignments]
    return {"folder": str(folder), "assignments": settings, **arguments}


def assert_same(found, wanted, figures=FIGURES):
    """Compares two answers of `run_once`."""
    assert len(found["history"]) == len(wanted["history"]) == EPOCHS
    for epoch, other in zip(found["history"], wanted["history"]):
        assert epoch.keys() == other.keys() == figures
        assert epoch == pytest.approx(other, rel=1e-5)
    assert found["weights"] == pytest.approx(wanted["weights"], rel=1e-5)


def test_two_devices_are_as_good_as_one(data, tmp_path):
    wanted = alone(data, run_in(tmp_path / "one"))
    found = on_devices(tmp_path, data, 2, run_in(tmp_path / "two"))
    assert_same(found["runs"][0], wanted)
    # Each replica drops other values, and the first those of one device.
    first, second = found["seeds"]
    assert [first] == training_worker.seeds(tf.distribute.get_strategy())
    assert second[0] != first[0] and second[1] == first[1]


@pytest.mark.long
def test_three_devices(data, tmp_path):
    """Of a batch of 7 they have 3, 2 and 2; of the last one 1, 0 and 0."""
    runs = {
        # Without validation the last step is measured once more.
        "plain": {"splits": ["train"]},
        "dropout": {"assignments": ["model.dropout=0.5"]},
        "resumed": {},
    }
    wanted = {
        name: alone(data, run_in(tmp_path / "one" / name, **changes))
        for name, changes in runs.items()
    }
    # Begun on one device, it goes on with three.
    begun = alone(data, run_in(tmp_path / "resumed", kill_after=0))
    together = [run_in(tmp_path / n, **changes) for n, changes in runs.items()]
    found = on_devices(tmp_path, data, 3, *together)["runs"]
    found = dict(zip(runs, found, strict=True))
    assert len(found["resumed"]["history"]) == EPOCHS - 1
    found["resumed"]["history"][:0] = begun["history"]
    assert_same(found["resumed"], wanted["resumed"])
    assert_same(found["plain"], wanted["plain"], {"loss", "accuracy"})
    histories = (found["dropout"]["history"], wanted["dropout"]["history"])
    for epoch, other in zip(*histories, strict=True):
        assert 0 < abs(epoch["loss"] - other["loss"]) < 0.2 * other["loss"]


@pytest.mark.long
def test_a_cascade_on_two_devices(data, tmp_path):
    """The real network, from a data set to a model folder."""
    wanted = alone(data, run_in(tmp_path / "one", system="caca_rnn_a"))
    described = run_in(tmp_path / "two", system="caca_rnn_a")
    found = on_devices(tmp_path, data, 2, described)["runs"]
    assert_same(found[0], wanted)
    # The folder is one of one device: it loads where there are not two.
    made, other = bundle.load(tmp_path / "two"), bundle.load(tmp_path / "one")
    weights = training_worker.total(made.model)
    assert weights == pytest.approx(wanted["weights"], rel=1e-5)
    assert made.info["run"] == other.info["run"]


@contextlib.contextmanager
def cluster(folder, data, *runs_of_worker):
    """Starts the workers of a cluster; gives their processes and reports."""
    with contextlib.ExitStack() as stack:
        # All at once, so that no two get the same port.
        probes = [stack.enter_context(socket.socket()) for _ in runs_of_worker]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{p.getsockname()[1]}" for p in probes]
    workers = []
    try:
        for index, runs in enumerate(runs_of_worker):
            task = {"type": "worker", "index": index}
            config = {"cluster": {"worker": addresses}, "task": task}
            name = f"worker{index}"
            workers.append(start(folder, data, name, config, runs=runs))
        yield workers
    finally:
        for process, _ in workers:
            process.kill()
            process.wait()


@pytest.mark.long
def test_two_workers_are_as_good_as_one_device(data, tmp_path):
    wanted = alone(data, run_in(tmp_path / "one", system="face_rnn"))
    shared = tmp_path / "shared"
    runs = [
        [
            run_in(shared, system="face_rnn", kill_after=1),
            run_in(shared, system="face_rnn"),
            run_in(shared, system="face_rnn"),
            run_in(tmp_path / "seeds", system="face_rnn", seed=index),
            run_in(
                tmp_path / "failed",
                system="face_rnn",
                sources={} if index else None,
            ),
            run_in(tmp_path / f"own{index}", kill_after=0),
            run_in(tmp_path / f"own{index}"),
            run_in(tmp_path / f"majority{index}", system="majority"),
        ]
        for index in range(2)
    ]
    with cluster(tmp_path, data, *runs) as workers:
        reports = [finish(*worker) for worker in workers]
    assert [code for code, _ in reports] == [0, 0]
    chief, other = (report["runs"] for _, report in reports)
    # Killed after two epochs, it goes on with the others.
    assert chief[:2] == other[:2]
    assert [len(report["history"]) for report in chief[:2]] == [2, EPOCHS - 2]
    chief[1]["history"][:0] = chief[0]["history"]
    assert_same(chief[1], wanted)
    weights = training_worker.total(bundle.load(shared).model)
    assert weights == chief[1]["weights"]
    assert len(list((shared / "logs/train").iterdir())) == 2
    # A finished model, another command line, an error of one alone.
    stopped = "another worker has stopped, so this one cannot go on; that "
    assert chief[2]["error"].startswith(f"{shared}: holds a trained model")
    assert other[2]["error"].startswith(stopped)
    assert chief[3]["error"] == other[3]["error"]
    assert chief[3]["error"].startswith(
        "the workers have different runs: give all the same flags and data"
    )
    assert chief[4]["error"].startswith(stopped)
    assert other[4]["error"].startswith("the features that were given must")
    assert not (tmp_path / "failed").exists()
    # Only the chief writes; so the other sees no checkpoint of its own.
    assert chief[5] == other[5] and len(chief[5]["history"]) == 1
    assert (tmp_path / "own0/checkpoints" / checkpoint.FILE).exists()
    assert (tmp_path / "own0/logs/train").exists()
    assert not (tmp_path / "own1").exists()
    assert chief[6] == other[6]
    assert chief[6]["error"] == (
        "the workers have different numbers of finished epochs: they need an "
        "output folder that all of them see. Received: 1, 0"
    )
    # Nothing to distribute: each has it, the chief writes it.
    assert chief[7] == other[7] and chief[7]["history"] == []
    assert bundle.load(tmp_path / "majority0").system == "majority"
    assert not (tmp_path / "majority1").exists()


@pytest.mark.long
def test_a_worker_that_vanishes_ends_the_others(data, tmp_path):
    runs = [run_in(tmp_path / "model")], [run_in(tmp_path / "model")]
    runs[1][0]["vanish_after"] = 0
    with cluster(tmp_path, data, *runs) as ((chief, report), (other, _)):
        _, found = finish(chief, report)
        assert other.wait(30) == training_worker.VANISHED
    assert found["runs"] == [
        {
            "error": "another worker of the cluster was lost; start all of "
            "them again, and the run goes on from its last epoch",
            "kind": "TrainingError",
        }
    ]
    # As the message says: what was finished is there.
    assert (tmp_path / "model/checkpoints" / checkpoint.FILE).exists()


def test_one_device_by_default(monkeypatch):
    monkeypatch.delenv(distribution.VARIABLE, raising=False)
    found = distribution.choose()
    assert found is tf.distribute.get_strategy()
    assert found.num_replicas_in_sync == 1
    assert distribution.is_chief(found)
    assert not distribution.is_multi_worker(found)
    distribution.barrier(found)
    assert distribution.gather(found, 3) == [3.0]
    distribution.agree(found, 3, "numbers")
    with pytest.raises(KeyError), distribution.together(found):
        raise KeyError("as it is")


@pytest.mark.parametrize(
    "config",
    [
        "",
        " ",
        "{}",
        '{"cluster": {}}',
        '{"task": {"type": "worker", "index": 0}}',
        # As Vertex AI sets it on a single machine.
        '{"cluster": {"chief": ["a:1"]}, '
        '"task": {"type": "chief", "index": 0}}',
    ],
)
def test_a_cluster_of_one_is_none(monkeypatch, config):
    monkeypatch.setenv(distribution.VARIABLE, config)
    assert distribution.choose() is tf.distribute.get_strategy()


WORKERS = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": '


@pytest.mark.parametrize(
    "config, reason",
    [
        ("{", "Expecting property name"),
        ("[1]", "has no attribute 'get'"),
        ('{"cluster": {"worker": 3}}', "not iterable"),
        ('{"cluster": {"worker": ["a", "b"]}}', "an address has no port"),
        ('{"cluster": {"ps": ["a:1"]}}', "of the jobs ps none is known"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "'task'"),
        (WORKERS + '{"type": "worker", "index": 2}}', "index is beyond the"),
        (WORKERS + '{"type": "chief", "index": 0}}', "'chief'"),
        (WORKERS + '{"type": "worker", "index": "x"}}', "invalid literal"),
    ],
)
def test_a_malformed_cluster_is_one_line(monkeypatch, config, reason):
    monkeypatch.setenv(distribution.VARIABLE, config)
    with pytest.raises(ConfigError) as e:
        distribution.choose()
    message = str(e.value)
    assert "\n" not in message and reason in message
    assert message.startswith(
        'TF_CONFIG must be {"cluster": {"worker": ["HOST:PORT", ...]}, "task": '
        f'{{"type": "worker", "index": N}}}}. Received: {config!r} ('
    )
    assert message.endswith("); mend it, or unset it to train on one machine")


def test_too_late_to_join(monkeypatch):
    """This process has used TensorFlow."""
    tf.constant(0).numpy()
    monkeypatch.setenv(
        distribution.VARIABLE, WORKERS + '{"type": "worker", "index": 0}}'
    )
    with pytest.raises(ConfigError) as e:
        distribution.choose()
    message = str(e.value)
    assert "\n" not in message
    assert message.startswith(
        "TF_CONFIG names several workers, and TensorFlow was in use before "
        "they were joined ("
    )
    assert message.endswith(
        "); call emorec.training.distribution.choose first in the process, "
        "and pass its `strategy` on"
    )
