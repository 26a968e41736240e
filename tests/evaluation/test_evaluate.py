"""From records to rows, metrics and files."""

import csv
import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import skimage.data
from testing import videos
from testing.evaluations import DESCRIPTION, clip, data, worked_example

from emorec import saved_model_backend
from emorec.config import Config
from emorec.data import dataset, keys, manifest, prepare, records, shards
from emorec.errors import ConfigError, EmorecError, ModelError, RecordError
from emorec.evaluation import batches, calibration, evaluate, evaluation_files
from emorec.training import bundle


def test_windows_are_weighed_by_their_frames():
    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    rows = {r["row"]: r for r in made.rows}
    assert list(rows) == ["a", "b", "c", "d"]
    np.testing.assert_allclose(
        rows["a"]["probabilities"], [0.475, 0.275, 0.25], rtol=1e-6
    )
    assert rows["a"]["predicted"] == "calm"
    assert (rows["a"]["frames"], rows["a"]["frames_with_face"]) == (24, 8)
    np.testing.assert_allclose(
        rows["d"]["probabilities"], [0.5, 0.4, 0.1], rtol=1e-6
    )
    assert (rows["d"]["frames"], rows["d"]["frames_with_face"]) == (16, 4)
    assert rows["b"]["source"] == "studio"


def test_a_row_without_a_face_is_wrong_and_counted():
    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    assert made.metrics.n == 4
    assert made.metrics.acc == pytest.approx(2 / 4)
    # Predicted: calm twice (one right), glad once (right), upset never.
    assert made.metrics.map == pytest.approx((1 / 2 + 1 + 0) / 3)
    # Recalls: calm 1/1, glad 1/2, upset 0/1.
    assert made.metrics.uar == pytest.approx((1 + 1 / 2 + 0) / 3)
    row = next(r for r in made.rows if r["row"] == "c")
    assert row["predicted"] is None
    assert made.coverage == 30 / 80


def test_the_majority_class_is_the_training_splits():
    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    assert made.majority == "glad"
    assert made.majority_metrics.acc == pytest.approx(2 / 4)
    assert made.majority_metrics.map == pytest.approx((2 / 4) / 3)
    # One rightly chosen although this split has none of it.
    made = evaluate.report(
        data(train=(0, 1, 9)), "test", worked_example()[:3], DESCRIPTION
    )
    assert made.majority == "upset"
    assert made.majority_metrics.acc == 0
    # Without a training split it is this split's own.
    made = evaluate.report(
        data(train=(0, 0, 0)), "test", worked_example(), DESCRIPTION
    )
    assert made.majority == "glad"


def test_no_label_at_all_is_refused():
    with pytest.raises(RecordError) as caught:
        evaluate.report(
            data(), "test", [clip("u", -1, [1, 0, 0], 8)], DESCRIPTION
        )
    assert str(caught.value) == (
        "data: no record of the split 'test' has a label"
    )


def test_the_files(tmp_path):
    failures = [{"split": "test"}, {"split": "train"}, {"split": "test"}]
    made = evaluate.report(
        data(failures=failures), "test", worked_example(), DESCRIPTION
    )
    made.write(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "metrics.json",
        "predictions.csv",
    ]

    values = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert values["split"] == "test"
    assert values["system"] == "caca_rnn_a"
    assert values["random_weights"] == ["context"]
    assert values["notes"] == ["a thing to be said"]
    assert values["data_fingerprint"] == "0123456789abcdef"
    assert values["unreadable_videos"] == 2
    assert values["frames_with_face_share"] == 30 / 80
    assert values["metrics"]["acc"] == pytest.approx(0.5)
    assert values["metrics"]["map"] == pytest.approx(0.5)
    assert values["majority_class"] == {
        "label": "glad",
        "acc": pytest.approx(0.5),
        "map": pytest.approx(1 / 6),
    }

    with open(tmp_path / "out" / "predictions.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["row"] for r in rows] == ["a", "b", "c", "d"]
    assert rows[0] == {
        "row": "a",
        "video": "a.mp4",
        "source": "",
        "label": "calm",
        "predicted": "calm",
        "correct": "True",
        "confidence": "0.475000",
        "frames": "24",
        "frames_with_face": "8",
        "p_calm": "0.475000",
        "p_glad": "0.275000",
        "p_upset": "0.250000",
    }
    assert rows[2]["predicted"] == rows[2]["p_calm"] == ""
    assert rows[2]["correct"] == "False" and rows[2]["confidence"] == ""


def test_the_figures_of_each_source():
    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    assert [s.name for s in made.sources] == ["", "studio"]
    rest, studio = (s.to_dict() for s in made.sources)
    # Rows a, c and d; of them a is right. Their frames: 8 + 0 + 4 of 48.
    assert (rest["n"], rest["answered"]) == (3, 2)
    assert rest["acc"] == pytest.approx(1 / 3)
    assert rest["map"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert rest["frames_with_face_share"] == pytest.approx(12 / 48)
    assert (studio["n"], studio["acc"], studio["uar"]) == (1, 1, 1)
    values = made.to_dict()["metrics"]
    assert values["sources"] == {"": rest, "studio": studio}
    low, high = values["intervals"]["acc"]
    assert 0 <= low < values["acc"] < high <= 1


def test_confidence_is_the_calibrated_one():
    """The temperature changes confidence, and nothing else."""
    info = {"calibration": {"temperature": 0.5, "split": "validation"}}
    description = {**DESCRIPTION, "info": info}
    plain = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    made = evaluate.report(data(), "test", worked_example(), description)
    # Of [.475 .275 .25], the squares over their sum.
    assert made.rows[0]["confidence"] == pytest.approx(
        0.475**2 / (0.475**2 + 0.275**2 + 0.25**2)
    )
    assert plain.rows[0]["confidence"] == pytest.approx(0.475)
    for ours, theirs in zip(made.rows, plain.rows, strict=True):
        for name in ("predicted", "correct", "probabilities"):
            assert ours[name] == theirs[name]
    found = made.calibration
    # Three rows have an answer: .475 (right), .7 (right), .5 (wrong).
    assert found["clips"] == 3 and found["fitted_on"] == "validation"
    assert found["ece_before"] == pytest.approx(
        (abs(0.475 + 0.5 - 1) + abs(0.7 - 1)) / 3, abs=1e-6
    )
    squared = calibration.apply(np.array(made.rows[1]["probabilities"]), 0.5)
    assert found["bins"][9]["confidence"] == pytest.approx(
        squared.max(), abs=1e-6
    )
    assert plain.calibration["ece_after"] is None
    assert plain.calibration["fitted_on"] is None


@pytest.mark.parametrize("bad", [{}, {"temperature": 0}, {"temperature": "x"}])
def test_a_damaged_calibration_is_refused(bad):
    info = {"calibration": {"method": "temperature", **bad}}
    with pytest.raises(ModelError) as e:
        evaluate.report(
            data(), "test", worked_example(), {**DESCRIPTION, "info": info}
        )
    assert str(e.value).startswith("the model's calibration is damaged (")
    assert str(e.value).endswith("); train or export the model again")


def test_what_is_no_fair_test_is_said():
    known = {**DESCRIPTION["info"], "data": {"fingerprint": "0123456789abcdef"}}
    known = {**DESCRIPTION, "info": known}
    made = evaluate.report(data(), "test", worked_example(), known)

    def caution(split, description=known):
        return dataclasses.replace(
            made, split=split, description=description
        ).caution

    assert caution("test") == caution("test", DESCRIPTION) == ""
    assert caution("train").startswith("the model was trained on these clips")
    assert caution("validation").startswith("training chose its best epoch by")
    # Of other data, perhaps the same clips under another name.
    assert caution("validation", DESCRIPTION) == ""
    for found in (caution("train", DESCRIPTION), caution("all")):
        assert found.startswith("clips that the model was trained on, if")


def test_no_answer_at_all():
    clips = [clip("a", 0, [0, 0, 0], 0, (8, 0))]
    made = evaluate.report(data(), "test", clips, DESCRIPTION)
    assert made.calibration is None
    assert made.metrics.acc == 0
    assert made.to_dict()["metrics"]["intervals"]["acc"] is None


def test_parquet_holds_what_the_csv_holds(tmp_path):
    from pyarrow import parquet

    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    made.write(tmp_path, ("csv", "parquet"))
    table = parquet.read_table(tmp_path / "predictions.parquet")
    with open(tmp_path / "predictions.csv", newline="") as f:
        heads, *rows = csv.reader(f)
    assert table.column_names == heads
    found = [list(row.values()) for row in table.to_pylist()]
    assert [[evaluation_files._text(v) for v in row] for row in found] == rows
    assert str(table.schema.field("correct").type) == "bool"
    assert table["predicted"].to_pylist() == ["calm", "glad", None, "calm"]
    assert table["p_calm"].to_pylist()[2] is None


def test_parquet_without_pyarrow_is_told_before_the_work(monkeypatch):
    evaluation_files.require(["csv", "parquet"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    evaluation_files.require(["csv"])
    with pytest.raises(EmorecError, match="install emorec.tables.$"):
        evaluation_files.require(["csv", "parquet"])


def test_the_tables(tmp_path):
    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    evaluation_files.write_tables(made, tmp_path)

    def lines(name):
        return (tmp_path / name).read_text().splitlines()

    assert lines("confusion.csv") == [
        "label,calm,glad,upset,no answer",
        "calm,1,0,0,0",
        "glad,0,1,0,1",
        "upset,1,0,0,0",
    ]
    assert lines("per_class.csv")[:2] == [
        "label,precision,recall,f1,average_precision,clips",
        "calm,0.500000,1.000000,0.666667,0.500000,1",
    ]
    assert lines("per_source.csv")[2] == (
        "studio,1,1,0.333333,1.000000,1.000000,1.000000,1.000000"
    )


def test_a_spreadsheet_is_given_no_formula(tmp_path):
    clips = [clip("=cmd()", 0, [0.6, 0.3, 0.1], 8, source="@SUM(1)")]
    made = evaluate.report(data(), "test", clips, DESCRIPTION)
    made.write(tmp_path)
    with open(tmp_path / "predictions.csv", newline="") as f:
        (row,) = csv.DictReader(f)
    assert row["video"] == "'=cmd().mp4" and row["source"] == "'@SUM(1)"
    assert made.rows[0]["video"] == "=cmd().mp4"


def test_files_of_an_earlier_run_go(tmp_path):
    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    made.write(tmp_path, ("csv", "parquet"))
    evaluation_files.write_tables(made, tmp_path)
    assert evaluation_files.draw(made, tmp_path, "a title")
    (tmp_path / "mine.txt").write_text("kept")
    assert len(list(tmp_path.iterdir())) == 9
    evaluation_files.clear(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


class Counting:
    """A backend that notes what it is asked for."""

    def __init__(self, bundle):
        self.config, self.labels = bundle.config, bundle.labels
        self.asked = []

    def serving_default(self, examples):
        self.asked.append(len(examples))
        return np.full((len(examples), len(self.labels)), 0.125, np.float32)


@pytest.fixture(scope="module")
def two_people(tmp_path_factory):
    """Two people in 5 of 16 frames, in two of four windows; `--people=all`."""
    folder = tmp_path_factory.mktemp("two")
    face = skimage.data.astronaut()[:256, 64:320]
    shown = np.hstack([face, face[:, ::-1]])
    videos.write_video(
        folder / "x.mp4",
        fps=8,
        size=(512, 256),
        pictures=[shown] * 5 + [np.zeros_like(shown)] * 11,
    )
    lines = "video,label,split\nx.mp4,sad,test\n"
    (folder / "manifest.csv").write_text(lines)
    return prepare.prepare(
        manifest.read(str(folder / "manifest.csv")),
        folder / "data",
        Config().override(["clip.clip_frames=4"]),
        people="all",
    )


class Fitting:
    """A backend of a data set's own config and labels."""

    def __init__(self, made):
        self.config, self.labels = made.config, made.labels

    def serving_default(self, examples):
        return np.full((len(examples), 8), 0.125, np.float32)


def test_the_share_of_frames_is_of_all_that_were_sampled(two_people):
    """Windows without a face and frames of two people change nothing."""
    clips = evaluate.with_backend(two_people, "test", Fitting(two_people))
    assert [c.frames_with_face for c in clips] == [4, 4, 1, 1]
    made = evaluate.report(two_people, "test", clips, DESCRIPTION)
    assert made.coverage == two_people.coverage("test") == 5 / 16
    (row,) = made.rows
    assert (row["frames"], row["frames_with_face"]) == (16, 5)


def test_a_data_set_without_its_summaries_is_refused(two_people, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(two_people.path, folder)
    data = dataset.load(folder)
    (shard,) = data.files("test")
    summary = pathlib.Path(shards.summary_path(shard))
    remedy = (
        "copy the data set whole, its folder `shards` too, or run `emorec "
        "prepare` again"
    )

    def fault():
        with pytest.raises(EmorecError) as e:
            evaluate.with_backend(data, "test", Fitting(data))
        return str(e.value)

    values = json.loads(summary.read_text())
    (row,) = values["row_frames"]
    summary.write_text(json.dumps({**values, "row_frames": {}}))
    assert fault() == (
        f"{folder}: the summaries of its shards do not know the row {row!r}; "
        "run `emorec prepare` again with --overwrite"
    )
    del values["row_frames"]
    summary.write_text(json.dumps(values))
    assert fault() == (
        f"{summary}: is not one of this version (KeyError('row_frames')); "
        f"{remedy}"
    )
    summary.unlink()
    assert fault() == (
        f"{summary}: no summary of a shard (there is no such file); {remedy}"
    )


def test_requests_are_bounded_in_number_and_bytes(
    prepared, model_dir, monkeypatch
):
    backend = Counting(bundle.load(model_dir))
    evaluate.with_backend(prepared, "train", backend)
    total = sum(backend.asked)
    assert max(backend.asked) <= evaluate.BATCH_RECORDS
    largest = max(
        e.ByteSize()
        for shard in prepared.files("train")
        for e in records.read(shard)
    )
    monkeypatch.setattr(batches, "BATCH_BYTES", 2 * largest)
    backend.asked.clear()
    steps = []
    answers = evaluate.with_backend(
        prepared, "train", backend, progress=lambda *a: steps.append(a)
    )
    assert 2 <= max(backend.asked) < total
    assert sum(backend.asked) == total == len(answers)
    # A record over the bound still goes, alone.
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    backend.asked.clear()
    evaluate.with_backend(prepared, "train", backend)
    assert backend.asked == [1] * total
    shards = len(prepared.files("train"))
    assert steps == [(i + 1, shards) for i in range(shards)]


def test_the_model_and_its_export_agree(prepared, model_dir, base_path):
    model = bundle.load(model_dir)
    export = saved_model_backend.SavedModelBackend(base_path)
    for split in ("test", "train"):
        check_answers(
            evaluate.with_bundle(prepared, split, model),
            evaluate.with_backend(prepared, split, export),
        )


def check_answers(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert (a.row, a.video, a.label_id) == (b.row, b.video, b.label_id)
        assert a.frames_with_face == b.frames_with_face > 0
        np.testing.assert_allclose(
            a.probabilities, b.probabilities, atol=1e-5, rtol=0
        )
    spread = np.ptp([a.probabilities for a in ours], axis=0).max()
    assert spread > 1e-3, "all answers are alike: the comparison shows nothing"


def test_rows_are_those_of_the_records(prepared, model_dir):
    clips = evaluate.with_bundle(prepared, "test", bundle.load(model_dir))
    made = evaluate.report(prepared, "test", clips, DESCRIPTION)
    assert made.metrics.n == prepared.splits["test"]["rows"] == len(made.rows)
    example = next(records.read(prepared.files("test")[0]))
    assert made.rows[0]["video"] == records.one(example, keys.VIDEO_PATH)
    assert made.rows[0]["label"] == records.one(example, keys.CLIP_LABEL)


def test_a_split_of_empty_shards_is_one_line(prepared, model_dir, tmp_path):
    """No video of it could be read, or nothing was left of it."""
    folder = tmp_path / "data"
    ignored = shutil.ignore_patterns("features")
    shutil.copytree(prepared.path, folder, ignore=ignored)
    splits = {**prepared.splits}
    splits["test"] = {**splits["test"], "records": 0}
    empty = dataclasses.replace(prepared, path=str(folder), splits=splits)
    for shard in empty.files("test"):
        records.write(shard, [])
    model = bundle.load(model_dir)
    clips = evaluate.with_bundle(empty, "test", model)
    assert clips == evaluate.with_backend(empty, "test", Counting(model)) == []
    with pytest.raises(RecordError) as e:
        evaluate.report(empty, "test", clips, DESCRIPTION)
    assert str(e.value) == (
        f"{folder}: no record of the split 'test' has a label"
    )


def test_another_config_is_refused_by_name(prepared, model_dir):
    model = bundle.load(model_dir)
    other = dataclasses.replace(
        model, config=model.config.override(["video.fps=5"])
    )
    with pytest.raises(ConfigError, match=r"video\.fps is 8\.0, not 5\.0"):
        evaluate.with_bundle(prepared, "test", other)
