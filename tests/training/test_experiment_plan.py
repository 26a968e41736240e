"""What an experiment is to run: variants, and plans that are refused."""

import dataclasses

import pytest

from emorec.config import ModelConfig
from emorec.errors import ConfigError, RecordError
from emorec.models import presets
from emorec.training import experiment, experiment_plan


@pytest.fixture
def plan_of(prepared, tmp_path):
    def plan_of(systems, **changes) -> experiment.Plan:
        values = {
            "data_dir": prepared.path,
            "output_dir": str(tmp_path / "out"),
            "variants": experiment.variants(systems),
            "seeds": 1,
            "assignments": (),
            "make_encoders": None,
            "splits": ("test",),
        }
        return experiment.Plan(**{**values, **changes})

    return plan_of


def ids(systems, ablations=False):
    return [v.id for v in experiment.variants(systems, ablations)]


def test_the_variants():
    assert ids("all") == list(presets.SYSTEMS)
    cuts = [i for i in ids("all", True) if "." in i]
    assert cuts == [
        f"{system}.{cut}"
        for system in ("caca_rnn_a", "caca_rnn_b", "caca_rnn_mec2017")
        for cut in ("no_attention", "no_seeding")
    ]
    assert ids("majority, face_rnn,majority") == ["majority", "face_rnn"]
    assert ids("parallel_rnn,face_rnn", True) == ["parallel_rnn", "face_rnn"]
    assert experiment.variants("caca_rnn_b.no_seeding") == [
        experiment.Variant(
            "caca_rnn_b.no_seeding", "caca_rnn_b", ("model.seeding=false",)
        )
    ]


@pytest.mark.parametrize(
    "systems", ["caca_rnn_c", "majority,face_rnn.no_seeding", "", "all,"]
)
def test_an_unknown_system_lists_what_there_is(systems):
    with pytest.raises(ConfigError) as e:
        experiment.variants(systems)
    wrong = systems.split(",")[-1]
    assert str(e.value) == (
        "`systems` must be all or some of face_rnn, context_rnn, "
        "parallel_rnn, concatenated_rnn, caca_rnn_a, caca_rnn_b, "
        "caca_rnn_mec2017, cnn_2d3d, ensemble, face_average, majority, "
        "caca_rnn_a.no_attention, caca_rnn_a.no_seeding, "
        "caca_rnn_b.no_attention, caca_rnn_b.no_seeding, "
        "caca_rnn_mec2017.no_attention, caca_rnn_mec2017.no_seeding. "
        f"Received: {wrong!r}"
    )


def test_a_cut_is_in_the_config_of_the_run(plan_of, prepared, encoders):
    plan = plan_of(
        "caca_rnn_a,caca_rnn_a.no_attention,caca_rnn_a.no_seeding",
        assignments=("model.dropout=0.1",),
    )
    tasks, impossible = experiment_plan.tasks(plan, prepared, encoders)
    assert not impossible
    models = [ModelConfig(**t.identity["model"]) for t in tasks]
    assert [(m.attention, m.seeding) for m in models] == [
        (True, True),
        (False, True),
        (True, False),
    ]
    assert {m.dropout for m in models} == {0.1}
    assert len({t.name for t in tasks}) == 3


def test_an_ensemble_needs_a_validation_split(prepared, plan_of, encoders):
    splits = {s: prepared.splits[s] for s in ("train", "test")}
    data = dataclasses.replace(prepared, splits=splits)
    plan = plan_of("ensemble,majority", members=("face_rnn", "majority"))
    tasks, impossible = experiment_plan.tasks(plan, data, encoders)
    assert [t.variant for t in tasks] == ["majority"]
    assert [r.error for r in impossible] == [
        "the weights of an ensemble are fitted on the validation split, and "
        "the data set has none"
    ]


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"seeds": 0}, ConfigError, "`seeds` must be 1 or more. Received: 0"),
        (
            {"workers": 0},
            ConfigError,
            "`workers` must be 1 or more. Received: 0",
        ),
        (
            {"splits": ()},
            ConfigError,
            "`splits` must not be empty. Received: none",
        ),
        (
            {"splits": ("test", "dev")},
            RecordError,
            "{data}: no records of the split 'dev'; it has test, train, "
            "validation",
        ),
        (
            {"members": ("majority", "ensemble")},
            ConfigError,
            "`members` must be different ones of face_rnn, context_rnn, "
            "parallel_rnn, concatenated_rnn, caca_rnn_a, caca_rnn_b, "
            "caca_rnn_mec2017, cnn_2d3d, face_average, majority. Received: "
            "majority, ensemble",
        ),
        (
            {"assignments": ("model.system=majority",)},
            ConfigError,
            "`--set` must not change model.system, which the command names. "
            "Received: 'majority' for 'face_rnn'",
        ),
        (
            {"assignments": ("train.source_weights=x=2",)},
            ConfigError,
            "config `train.source_weights` names a source that the data set "
            "does not have. Received: 'x'; there is 'emorec-sample-set'",
        ),
    ],
)
def test_a_wrong_plan_is_refused_before_any_work(
    plan_of, prepared, tmp_path, changes, error, message
):
    plan = plan_of("face_rnn,ensemble", **changes)
    with pytest.raises(error) as e:
        experiment.run(plan)
    assert str(e.value) == message.format(data=prepared.path)
    assert not list(tmp_path.iterdir())


def test_a_split_without_labels_is_refused(plan_of, prepared):
    splits = {**prepared.splits}
    splits["test"] = {**splits["test"], "labels": {"happy": 0}}
    data = dataclasses.replace(prepared, splits=splits)
    with pytest.raises(ConfigError, match="'test' has a label"):
        experiment_plan.check(plan_of("majority"), data)
