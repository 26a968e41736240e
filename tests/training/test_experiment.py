"""Experiments: their plan, their runs, and what is kept of them."""

import dataclasses
import fcntl
import functools
import json
import multiprocessing
import os
import pathlib
import signal

import pytest

from emorec.data import dataset
from emorec.errors import ConfigError, EmorecError, TrainingError
from emorec.evaluation import evaluate
from emorec.features.encoders import Encoders
from emorec.training import bundle, experiment, experiment_plan, experiment_run

SMALL = (
    "train.epochs=1",
    "train.batch_size=8",
    "model.encoder_units=8",
    "model.rnn_units=8",
)
# One that is a variant, one that no seed changes, one that is no variant.
MEMBERS = ("face_rnn", "majority", "face_average")
RUNS = [
    ("face_rnn", 0),
    ("face_rnn", 1),
    ("majority", 0),
    ("ensemble", 0),
    ("ensemble", 1),
]


@pytest.fixture(scope="module")
def make_encoders(encoders, tmp_path_factory):
    return experiment_run.keep(encoders, tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def plan_of(prepared, make_encoders, tmp_path_factory):
    def plan_of(systems, seeds=1, **changes) -> experiment.Plan:
        values = {
            "data_dir": prepared.path,
            "output_dir": str(tmp_path_factory.mktemp("experiment")),
            "variants": experiment.variants(systems),
            "seeds": seeds,
            "assignments": SMALL,
            "make_encoders": make_encoders,
            "splits": ("test",),
        }
        return experiment.Plan(**{**values, **changes})

    return plan_of


@pytest.fixture(scope="module")
def found(plan_of) -> experiment.Results:
    """Two seeds of a network, a baseline and an ensemble; read-only."""
    calls = []
    plan = plan_of("face_rnn,majority,ensemble", 2, members=MEMBERS)
    results = experiment.run(plan, lambda *call: calls.append(call))
    assert [c[:2] for c in calls] == [(i, 5) for i in range(6)]
    assert [c[2] and (c[2].variant, c[2].seed) for c in calls] == [
        None,
        ("face_rnn", 0),
        ("majority", 0),
        ("ensemble", 0),
        ("face_rnn", 1),
        ("ensemble", 1),
    ]
    return results


def described(record) -> dict:
    path = pathlib.Path(record.folder) / "run.json"
    return json.loads(path.read_text(encoding="utf-8"))


def times(results) -> dict:
    """When each file of a result was written."""
    return {
        path: path.stat().st_mtime_ns
        for record in results.records
        for path in pathlib.Path(record.folder).rglob("*")
        if path.is_file()
    }


def test_every_run_is_described(found, prepared):
    assert [(r.variant, r.seed) for r in found.records] == RUNS
    assert {r.status for r in found.records} == {"done"}
    assert found.kept == 0
    for record in found.records:
        values, model = described(record), bundle.load(record.folder)
        assert values["seed"] == record.seed == model.info["seed"]
        assert values["run"] == model.info["run"]
        assert values["config"] == model.config.to_dict()
        assert values["parameters"] == model.model.count_params()
        assert values["identity"]["data fingerprint"] == prepared.fingerprint
        assert values["versions"]["keras"]
        assert len(values["history"]) == (record.variant == "face_rnn")
        assert not list(pathlib.Path(record.folder).rglob("checkpoints"))
    names = [described(r)["run"] for r in found.records]
    assert len(set(names)) == len(names)


def test_the_metrics_are_those_of_evaluate(found, prepared):
    for record in found.records:
        model = bundle.load(record.folder)
        clips = evaluate.with_bundle(prepared, "test", model)
        report = evaluate.report(prepared, "test", clips, model.describe())
        again = report.metrics.to_dict()
        assert described(record)["metrics"] == {"test": again}
        assert record.metrics == {"test": again}


def test_an_ensemble_takes_the_runs_of_its_seed(found):
    of = {(r.variant, r.seed): described(r) for r in found.records}
    for seed in (0, 1):
        members = of["ensemble", seed]["info"]["members"]
        assert [m["system"] for m in members] == list(MEMBERS)
        assert members[0]["run"] == of["face_rnn", seed]["run"]
        assert members[1]["run"] == of["majority", 0]["run"]
        folder = pathlib.Path(found.of("ensemble")[seed].folder) / "members"
        assert [p.name for p in folder.iterdir()] == ["face_average"]


def test_what_is_finished_is_not_made_again(found):
    before, calls = times(found), []
    again = experiment.run(found.plan, lambda *call: calls.append(call))
    assert calls == [(5, 5, None)]
    assert again.kept == 5
    assert again.records == found.records
    assert times(found) == before


def test_another_config_is_refused(found):
    before = times(found)
    settings = (*SMALL[1:], "train.epochs=2")
    other = dataclasses.replace(found.plan, assignments=settings)
    with pytest.raises(TrainingError) as e:
        experiment.run(other)
    assert str(e.value) == (
        f"{found.records[0].folder}: holds another run (train.epochs is 1, "
        "not 2); choose another --output_dir, or give --overwrite"
    )
    assert times(found) == before


def test_a_run_that_was_begun_with_another_config_is_refused(plan_of, found):
    plan = plan_of("face_rnn")
    folder = pathlib.Path(experiment_plan.folder_of(plan, "face_rnn", 0))
    folder.mkdir(parents=True)
    begun = pathlib.Path(found.of("face_rnn")[1].folder) / "started.json"
    (folder / "started.json").write_bytes(begun.read_bytes())
    with pytest.raises(TrainingError) as e:
        experiment.run(plan)
    assert str(e.value) == (
        f"{folder}: holds another run (seed is 1, not 0); choose another "
        "--output_dir, or give --overwrite"
    )


def test_overwrite_begins_anew(plan_of):
    plan = plan_of("majority")
    first = experiment.run(plan)
    folder = pathlib.Path(first.records[0].folder)
    (folder / "run.json").write_text("{}")
    with pytest.raises(TrainingError, match="holds another run"):
        experiment.run(plan)
    again = experiment.run(dataclasses.replace(plan, overwrite=True))
    assert again.kept == 0
    assert again.records[0].metrics == first.records[0].metrics


def test_a_split_more_is_measured_without_training(plan_of):
    plan = plan_of("majority")
    first = experiment.run(plan)
    weights = pathlib.Path(first.records[0].folder) / bundle.WEIGHTS
    before = weights.stat().st_mtime_ns
    more = dataclasses.replace(plan, splits=("test", "validation"))
    again = experiment.run(more)
    assert list(again.records[0].metrics) == ["test", "validation"]
    assert again.records[0].metrics["test"] == first.records[0].metrics["test"]
    assert weights.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"format": 2}, "ValueError('its format is 2')"),
        ({"labels": ["a"]}, "ValueError('its confusion matrix is of another"),
        ({"metrics": {"test": {}}}, "KeyError('confusion')"),
        ({"parameters": None}, "TypeError("),
        ({"history": 3}, "TypeError("),
    ],
)
def test_a_damaged_run_is_one_line(found, tmp_path, change, problem):
    values = {**described(found.records[0]), **change}
    with pytest.raises(EmorecError) as e:
        experiment_run._checked(tmp_path, values)
    start = f"{tmp_path / 'run.json'}: not a run of this version ({problem}"
    assert str(e.value).startswith(start)
    assert str(e.value).endswith("delete it, and the run is made again")


@pytest.mark.long
def test_a_failed_run_does_not_stop_the_others(plan_of):
    plan = plan_of(
        "ensemble,face_rnn,majority",
        assignments=(*SMALL, "train.learning_rate=1e38", "train.epochs=3"),
        members=("face_rnn", "majority"),
    )
    found = experiment.run(plan)
    assert [(r.variant, r.status) for r in found.records] == [
        ("ensemble", "failed"),
        ("face_rnn", "failed"),
        ("majority", "done"),
    ]
    ensemble, network, _ = found.records
    assert network.error.startswith("the loss became ")
    assert ensemble.error == f"its member face_rnn: {network.error}"
    assert not (pathlib.Path(network.folder) / "run.json").exists()
    again = experiment.run(plan)
    assert again.kept == 1, "a failed run is tried again"


def test_what_the_encoders_do_not_allow_is_not_possible(plan_of, encoders):
    # A SqueezeNet at the face gives features and maps.
    plan = plan_of(
        "face_average,majority,ensemble",
        make_encoders=lambda inputs: Encoders(encoders.context, None),
    )
    found = experiment.run(plan)
    average, majority, ensemble = found.records
    assert (average.status, average.error) == (
        "not possible",
        "the face encoder (random squeezenet) gives no probabilities, which "
        "the system reads; it gives features, maps. Choose another one by "
        "--face_encoder, or another system",
    )
    assert majority.status == "done"
    assert (ensemble.status, ensemble.error) == (
        "not possible",
        "an encoder of the context stream is needed for 'context_features'",
    )
    with pytest.raises(ConfigError) as e:
        experiment.run(
            dataclasses.replace(
                plan, variants=experiment.variants("face_average")
            )
        )
    assert str(e.value).startswith("no system is possible: the face encoder")


def test_an_encoder_whose_answers_are_no_labels(plan_of, encoders, prepared):
    """Seen only by the run itself."""
    encoder = experiment_run.keep(encoders, plan_of("majority").output_dir)(
        ["face_features"]
    ).face
    encoder.labels = ()
    plan = plan_of(
        "face_average,majority",
        make_encoders=lambda inputs: Encoders(encoder, None),
    )
    average, majority = experiment.run(plan).records
    assert average.status == "not possible"
    assert "does not say what its answers mean" in average.error
    assert majority.status == "done"


def test_two_experiments_in_one_folder_are_one_too_many(plan_of):
    plan = plan_of("majority")
    with open(pathlib.Path(plan.output_dir) / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(EmorecError) as e:
            experiment.run(plan)
    assert str(e.value) == (
        f"{plan.output_dir}: another experiment is at work there; wait for "
        "its end, or choose another --output_dir"
    )
    assert experiment.run(plan).records[0].status == "done"


def _die_in_a_worker(make, inputs):
    """Ends the process that asks for encoders, if it is a worker."""
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(inputs)


@pytest.mark.long
def test_a_killed_worker_is_one_line(plan_of, make_encoders):
    plan = plan_of(
        "majority,face_average",
        workers=2,
        make_encoders=functools.partial(_die_in_a_worker, make_encoders),
    )
    with pytest.raises(EmorecError) as e:
        experiment.run(plan)
    assert str(e.value) == (
        "a worker process was killed, perhaps for want of memory; run the "
        "same command again to go on, with fewer --workers: finished runs "
        "are kept"
    )
    assert not list(pathlib.Path(plan.output_dir).rglob("run.json"))


@pytest.mark.long
def test_several_processes_make_what_one_makes(plan_of, monkeypatch):
    """An ensemble waits for its members; processes are replaced."""
    monkeypatch.setattr(experiment, "_RUNS_OF_A_PROCESS", 1)
    plan = plan_of(
        "ensemble,majority,face_average", members=("majority", "face_average")
    )
    several = dataclasses.replace(
        plan, workers=2, output_dir=f"{plan.output_dir}/several"
    )
    done = experiment.run(several)
    monkeypatch.undo()
    alone = experiment.run(plan)
    assert [r.metrics for r in done.records] == [
        r.metrics for r in alone.records
    ]
    assert [(r.variant, r.status) for r in done.records] == [
        ("ensemble", "done"),
        ("majority", "done"),
        ("face_average", "done"),
    ]


def test_the_results_know_their_data(found):
    data = dataset.load(found.plan.data_dir)
    assert found.about["data"]["fingerprint"] == data.fingerprint
    assert found.about["data"]["sources"] == {"emorec-sample-set": 32}
    assert found.about["data"]["splits"]["test"]["rows"] == 8
    assert found.about["seeds"] == [0, 1]
    assert found.about["settings"] == list(SMALL)
    assert set(found.about["encoders"]) == {"face"}
