"""From records to rows, metrics and files."""

import csv
import json

import numpy as np
import pytest

from emorec import predict
from emorec.config import Config
from emorec.data import dataset, keys, records
from emorec.errors import ConfigError, RecordError
from emorec.evaluation import evaluate
from emorec.labels import LabelSet
from emorec.training import bundle

NAMES = ("calm", "glad", "upset")
DESCRIPTION = {"system": "caca_rnn_a", "random_weights": ["context"]}


def data(train=(1, 5, 2), failures=()) -> dataset.Dataset:
    counts = dict(zip(NAMES, train, strict=True))
    splits = {"test": {"files": ["t"], "labels": {}}}
    if any(train):
        splits["train"] = {"files": ["x"], "labels": counts}
    return dataset.Dataset(
        path="data",
        config=Config(),
        labels=LabelSet("auto", NAMES),
        splits=splits,
        failures=list(failures),
        sources={},
        fingerprint="0123456789abcdef",
    )


def clip(row, label, probabilities, with_face, total=8, source=""):
    return evaluate.ClipPrediction(
        row=row,
        video=f"{row}.mp4",
        source=source,
        label_id=label,
        frames_total=total,
        frames_with_face=with_face,
        probabilities=np.array(probabilities, np.float32),
    )


def worked_example():
    """Four rows. Row a has two windows that disagree; row c has no face.

    a: (6 * [.6 .3 .1] + 2 * [.1 .2 .7]) / 8 = [.475 .275 .25] -> calm, right.
       (Unweighted it would be [.35 .25 .4] -> upset, wrong.)
    b: [.2 .7 .1] -> glad, right.
    c: no face at all: wrong. What an empty window answers is not looked at.
    d: [.5 .4 .1] -> calm; it is upset: wrong. Its second window is empty.
    """
    nan = [float("nan")] * 3
    return [
        clip("a", 0, [0.6, 0.3, 0.1], 6),
        clip("b", 1, [0.2, 0.7, 0.1], 8, source="studio"),
        clip("a", 0, [0.1, 0.2, 0.7], 2, total=4),
        clip("c", 1, nan, 0),
        clip("d", 2, [0.5, 0.4, 0.1], 4),
        clip("d", 2, nan, 0),
        clip("unlabelled", -1, nan, 8),
    ]


def test_windows_are_weighed_by_their_frames():
    made = evaluate.report(data(), "test", worked_example(), DESCRIPTION)
    rows = {r["row"]: r for r in made.rows}
    assert list(rows) == ["a", "b", "c", "d"]
    np.testing.assert_allclose(
        rows["a"]["probabilities"], [0.475, 0.275, 0.25], rtol=1e-6
    )
    assert rows["a"]["predicted"] == "calm"
    assert (rows["a"]["frames"], rows["a"]["frames_with_face"]) == (12, 8)
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
    assert made.coverage == pytest.approx(
        (6 + 8 + 2 + 4) / (8 + 8 + 4 + 8 + 16)
    )


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
    assert values["data_fingerprint"] == "0123456789abcdef"
    assert values["unreadable_videos"] == 2
    assert values["frames_with_face_share"] == pytest.approx(20 / 44)
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
        "frames": "12",
        "frames_with_face": "8",
        "p_calm": "0.475000",
        "p_glad": "0.275000",
        "p_upset": "0.250000",
    }
    assert rows[2]["predicted"] == rows[2]["p_calm"] == ""


class Counting:
    """A backend that notes what it is asked for."""

    def __init__(self, bundle):
        self.config, self.labels = bundle.config, bundle.labels
        self.asked = []

    def serving_default(self, examples):
        self.asked.append(len(examples))
        return np.full((len(examples), len(self.labels)), 0.125, np.float32)


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
    monkeypatch.setattr(evaluate, "BATCH_BYTES", 2 * largest)
    backend.asked.clear()
    steps = []
    answers = evaluate.with_backend(
        prepared, "train", backend, progress=lambda *a: steps.append(a)
    )
    assert 2 <= max(backend.asked) < total
    assert sum(backend.asked) == total == len(answers)
    # A record over the bound still goes, alone.
    monkeypatch.setattr(evaluate, "BATCH_BYTES", 1)
    backend.asked.clear()
    evaluate.with_backend(prepared, "train", backend)
    assert backend.asked == [1] * total
    shards = len(prepared.files("train"))
    assert steps == [(i + 1, shards) for i in range(shards)]


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_model_and_its_export_agree(prepared, model_dir, base_path, split):
    ours = evaluate.with_bundle(prepared, split, bundle.load(model_dir))
    theirs = evaluate.with_backend(
        prepared, split, predict.SavedModelBackend(base_path)
    )
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


def test_another_config_is_refused_by_name(prepared, model_dir):
    import dataclasses

    model = bundle.load(model_dir)
    other = dataclasses.replace(
        model, config=model.config.override(["video.fps=5"])
    )
    with pytest.raises(ConfigError, match=r"video\.fps is 8\.0, not 5\.0"):
        evaluate.with_bundle(prepared, "test", other)
