"""The tables and files of an experiment, of runs that are made up."""

import csv
import json

import numpy as np
import pytest

from emorec.data import sample_plan
from emorec.evaluation import (
    charts,
    experiment_report,
    experiment_tables,
    metrics,
)
from emorec.training import experiment
from emorec.training.experiment_run import Record

NAMES = ("calm", "tense")
# Answers of three runs to two clips of each class; -1 is no face.
ANSWERS = ([0, 0, 1, 1], [0, 1, 1, -1], [1, 1, 1, 1])


def measured(answers) -> dict:
    labels = np.array([0, 0, 1, 1])
    given = np.array([[a != 1, a == 1] for a in answers], np.float32)
    answered = np.array([a >= 0 for a in answers])
    return metrics.evaluate(labels, given, answered, NAMES).to_dict()


def record(variant, seed, answers, **changes):
    values = {
        "parameters": 1234567,
        "labels": NAMES,
        "metrics": {
            "validation": measured(answers),
            "test": measured(answers[::-1]),
        },
        "history": [
            {"loss": 0.7, "accuracy": 0.5, "val_loss": 0.6, "val_accuracy": 1}
        ],
        "seconds": 1.0,
    }
    system = variant.partition(".")[0]
    return Record(variant, system, seed, "runs", **{**values, **changes})


def failure(variant, seed, status, error):
    system = variant.partition(".")[0]
    return Record(variant, system, seed, "runs", status=status, error=error)


@pytest.fixture
def results(tmp_path):
    plan = experiment.Plan(
        data_dir="data",
        output_dir=str(tmp_path),
        variants=experiment.variants(
            "caca_rnn_a,caca_rnn_a.no_seeding,face_average,cnn_2d3d,majority"
        ),
        seeds=3,
        assignments=("train.epochs=2",),
        make_encoders=None,
    )
    records = [
        *(record("caca_rnn_a", i, a) for i, a in enumerate(ANSWERS)),
        record("caca_rnn_a.no_seeding", 0, ANSWERS[1]),
        failure("caca_rnn_a.no_seeding", 1, "failed", "the loss became nan"),
        record("caca_rnn_a.no_seeding", 2, ANSWERS[0]),
        failure("face_average", 0, "not possible", "no answers"),
        *(failure("cnn_2d3d", i, "failed", "no memory") for i in range(3)),
        record(
            "majority",
            0,
            ANSWERS[2],
            parameters=2,
            history=[],
            notes=("says always the same",),
        ),
    ]
    about = {
        "emorec": "0",
        "data": {
            "name": "films",
            "fingerprint": "0123456789abcdef",
            "config_hash": "0",
            "sources": {"a": 3, "b": 5},
            "labels": {"name": "auto", "names": list(NAMES)},
            "splits": {
                "train": {"rows": 8, "frames_with_face_share": 0.9},
                "validation": {"rows": 4, "frames_with_face_share": 0.75},
                "test": {"rows": 4, "frames_with_face_share": 1.0},
            },
            "unreadable_videos": 2,
        },
        "encoders": {
            "face": {"id": "resnet50", "name": "mine", "hash": "f00d"}
        },
        "random_weights": [],
        "seeds": [0, 1, 2],
        "settings": ["train.epochs=2"],
        "members": list(plan.members),
        "splits": ["validation", "test"],
        "notes": [],
        "versions": {},
    }
    return experiment.Results(plan, records, about, kept=0)


def test_the_rows_are_medians_with_the_least_and_the_greatest(results):
    first, cut, average, failed, majority = experiment_tables.rows(results)
    # Macro average precision: (1 + 1) / 2, (1 + 1 / 2) / 2, (0 + 1 / 2) / 2.
    assert first.figures["validation", "map"] == (75.0, 25.0, 100.0)
    # Right: four, two and two of four.
    assert first.figures["validation", "acc"] == (50.0, 50.0, 100.0)
    assert (first.seeds, first.failed, first.reason) == (3, 0, None)
    # Of an even number, the middle of the two in the middle.
    assert cut.figures["validation", "map"] == (87.5, 75.0, 100.0)
    assert (cut.seeds, cut.failed) == (2, 1)
    assert (average.seeds, average.reason) == (0, "no answers")
    assert (failed.seeds, failed.failed, failed.figures) == (0, 3, {})
    assert (majority.seeds, majority.parameters) == (1, 2)


def test_what_the_paper_reports_is_of_its_own_systems_alone(results):
    first, cut, average, failed, majority = experiment_tables.rows(results)
    assert (first.paper.map, first.paper.acc) == (40.73, 53.01)
    assert [r.paper for r in (cut, average, failed, majority)] == [None] * 4

    def ensemble(*members):
        variant = experiment.Variant("ensemble", "ensemble")
        return (
            experiment_tables.title_of(variant, members),
            experiment_tables._paper_of(variant, members),
        )

    title, paper = ensemble("caca_rnn_mec2017", "cnn_2d3d")
    assert title == "Ensemble of CACA-RNN and 2D-3D-CNN"
    assert (paper.map, paper.acc) == (52.16, 56.58)
    assert ensemble("face_rnn", "majority") == (
        "Ensemble of Face-RNN, Majority class",
        None,
    )


def test_the_csv_has_one_row_a_variant(results, tmp_path):
    experiment_report.write(results)
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as f:
        rows = {row["id"]: row for row in csv.DictReader(f)}
    assert list(rows) == [v.id for v in results.plan.variants]
    first = rows["caca_rnn_a"]
    for name, value in {
        "title": "CACA-RNN A",
        "parameters": "1234567",
        "seeds": "3",
        "failed": "0",
        "not_possible": "",
        "validation_map_percent_median": "75",
        "validation_map_percent_min": "25",
        "validation_map_percent_max": "100",
        "test_acc_percent_max": "50",
        "paper_parameters": "0.79M",
        "paper_map_percent": "40.73",
        "paper_acc_percent": "53.01",
        "paper_data": "CHEAVD 2.0 validation, Table I",
    }.items():
        assert first[name] == value, name
    cut = rows["caca_rnn_a.no_seeding"]
    assert (cut["failed"], cut["paper_map_percent"]) == ("1", "")
    assert rows["face_average"]["not_possible"] == "no answers"
    assert rows["cnn_2d3d"]["test_uar_percent_median"] == ""


def test_the_markdown_says_what_must_be_known(results, tmp_path):
    experiment_report.write(results)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    for line in (
        "- Data set: films, fingerprint 0123456789abcdef; sources: "
        "a (3 rows), b (5 rows)",
        "- Labels: auto (calm, tense)",
        "- validation: 4 videos, a face in 75.0% of the sampled frames",
        "- 2 videos could not be read and are in no figure",
        "- Seeds: 0 to 2",
        "- Face encoder: resnet50 (mine), f00d",
        "- Settings: train.epochs=2",
        "- `face_average`: no answers",
        "- `caca_rnn_a.no_seeding`, seed 1: the loss became nan",
        "- `majority`: says always the same",
    ):
        assert line in text.splitlines()
    assert "sanity" not in text and "RANDOM" not in text

    def cells(start, table):
        rows = [x for x in table.splitlines() if x.startswith(start)]
        return [c.strip() for c in rows[0].strip("|").split("|")]

    validation, test = text.split("## The ")[1:3]
    titles = [metrics.TITLES[m] for m in experiment_tables.METRICS]
    heads = ["id", "system", "parameters", "seeds", *titles]
    assert cells("| id", validation) == [
        *heads,
        "the paper reports: parameters",
        "the paper reports: MAP / ACC, % (CHEAVD 2.0 validation)",
    ]
    assert cells("| id", test) == heads
    assert cells("| `caca_rnn_a` ", validation) == [
        "`caca_rnn_a`",
        "CACA-RNN A",
        "1,234,567",
        "3",
        "75.00 (25.00 to 100.00)",
        "50.00 (50.00 to 100.00)",
        "62.50 (50.00 to 100.00)",
        "58.33 (33.33 to 100.00)",
        "50.00 (50.00 to 100.00)",
        "0.79M",
        "40.73 / 53.01 (Table I)",
    ]
    assert cells("| `cnn_2d3d`", validation)[3:5] == ["0 (3 failed)", "-"]
    assert cells("| `face_average`", test)[3:5] == ["not possible", "-"]
    table = [x for x in validation.splitlines() if x.startswith("|")]
    assert len({len(row) for row in table}) == 1, "it is not lined up"


def test_random_weights_and_the_sample_set_are_said_aloud(results, tmp_path):
    results.about["random_weights"] = ["face", "context"]
    results.about["data"]["sources"] = {sample_plan.SOURCE: 8}
    results.about["notes"] = ["A made-up task."]
    experiment_report.write(results)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.splitlines()[2:7:2] == [
        "**A made-up task.**",
        "**The data hold emorec's sample set: a sanity set of generated "
        "videos, not emotion. Its figures show that the software works, no "
        "more.**",
        "**The face and context encoder has RANDOM frozen weights: its "
        "published ones were not found. These figures say nothing about "
        "emotion.**",
    ]
    values = json.loads((tmp_path / "results.json").read_text())
    assert len(values["warnings"]) == 3


def test_the_confusion_counts_are_summed_over_the_seeds(
    results, tmp_path, monkeypatch
):
    drawn = {}
    draw = charts.confusion_matrix

    def spy(path, counts, names, title, note):
        drawn[path.relative_to(tmp_path).as_posix()] = (counts.tolist(), title)
        draw(path, counts, names, title, note)

    monkeypatch.setattr(charts, "confusion_matrix", spy)
    experiment_report.write(results)
    assert drawn["confusion/validation/caca_rnn_a.png"] == (
        [[3, 3, 0], [0, 5, 1]],
        'CACA-RNN A: validation split of "films", sum over 3 seeds',
    )
    assert drawn["confusion/test/majority.png"][1] == (
        'Majority class: test split of "films", 1 seed'
    )
    assert len(drawn) == 6
    pictures = {p.relative_to(tmp_path) for p in tmp_path.rglob("*.png")}
    assert {str(p) for p in pictures} == {
        *drawn,
        "curves/caca_rnn_a.png",
        "curves/caca_rnn_a.no_seeding.png",
    }
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    for picture in pictures:
        assert f"[png]({picture})" in text


def test_the_json_has_every_run(results, tmp_path):
    experiment_report.write(results)
    values = json.loads((tmp_path / "results.json").read_text())
    assert [(r["variant"], r["seed"]) for r in values["runs"]] == [
        (r.variant, r.seed) for r in results.records
    ]
    assert values["runs"][4]["error"] == "the loss became nan"
    first = values["variants"][0]
    assert first["figures"]["validation"]["map"] == {
        "median": 75.0,
        "min": 25.0,
        "max": 100.0,
    }
    assert first["paper"]["table"] == "I"


def test_the_table_of_a_terminal(results):
    rows = experiment_tables.rows(results)
    assert experiment_tables.format_table(rows[:3], "validation") == (
        "validation, in percent: median over seeds (least to greatest)\n"
        "system                 parameters  seeds         "
        "MAP (macro average precision)  ACC (accuracy)\n"
        "caca_rnn_a             1,234,567   3             "
        "75.00 (25.00 to 100.00)        50.00 (50.00 to 100.00)\n"
        "caca_rnn_a.no_seeding  1,234,567   2 (1 failed)  "
        "87.50 (75.00 to 100.00)        75.00 (50.00 to 100.00)\n"
        "face_average           -           not possible  -"
        "                              -"
    )
