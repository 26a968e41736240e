"""`emorec evaluate`: the four kinds of model, videos, comparisons, limits."""

import csv
import json

import numpy as np
import pytest
from testing import commands
from testing.evaluations import check_same, metrics_of, rows_of

from emorec import labels
from emorec.cli import evaluate_thresholds
from emorec.errors import EmorecError, ManifestError
from emorec.evaluation import manifest_set, metrics

FILES = [
    "confusion.csv",
    "confusion.png",
    "metrics.json",
    "per_class.csv",
    "per_source.csv",
    "predictions.csv",
    "reliability.png",
    "report.html",
]


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, "evaluate", *args)


@pytest.fixture(scope="module")
def ours(prepared, model_dir, tmp_path_factory):
    """The evaluation of the model folder, as the others must be."""
    folder = tmp_path_factory.mktemp("evaluated") / "ours"
    code = commands.command.main(
        [
            "evaluate",
            f"--data_dir={prepared.path}",
            f"--model_dir={model_dir}",
            f"--output_dir={folder}",
            "--quiet",
        ]
    )
    assert code == 0
    return folder


def test_two_models_are_compared(
    here, ours, prepared, model_dir, onnx_dir, tmp_path
):
    """A model and its ONNX export: the same numbers, nothing tells them apart.

    SavedModel and server: tests/e2e.
    """
    flags, out = tmp_path / "flags", tmp_path / "out"
    flags.write_text(f"--data_dir={prepared.path}\n--output_dir={out}\n")
    done = here(
        f"--flagfile={flags}",
        "--compare",
        model_dir,
        onnx_dir,
        "--fail_under=acc=1",
        "--no_thumbnails",
    )
    # Asked of B, when all is written.
    assert done.code == 1
    assert done.fault().startswith("emorec evaluate: acc is 0.")
    assert f"A  {model_dir}\nB  {onnx_dir}\n8 clips\n" in done.out
    assert "both are right on the same clips: nothing to test" in done.out
    assert f"report: {out / 'comparison.html'}" in done.out
    values = json.loads((out / "comparison.json").read_text())
    assert values["n"] == 8 and values["mcnemar"]["p"] == 1
    assert values["differences"]["acc"]["interval"] == [0, 0]
    found = sorted(p.name for p in out.iterdir())
    assert found == ["a", "b", "comparison.html", "comparison.json"]
    for part in ("a", "b"):
        assert sorted(p.name for p in (out / part).iterdir()) == FILES
        check_same(ours, out / part)
    spread = np.ptp([float(row["p_happy"]) for row in rows_of(ours)])
    assert spread > 1e-4, "all answers are alike: this shows nothing"


def test_what_is_written(ours):
    assert sorted(p.name for p in ours.iterdir()) == FILES
    found = metrics_of(ours)["metrics"]
    assert found["n"] == sum(s["n"] for s in found["sources"].values()) == 8
    assert found["calibration"]["clips"] == found["answered"]
    assert found["calibration"]["fitted_on"] == "validation"
    assert found["calibration"]["temperature"] > 0
    page = (ours / "report.html").read_text(encoding="utf-8")
    assert page.count("reliability diagram") == 2
    wrong = [r for r in rows_of(ours) if r["correct"] == "False"]
    assert wrong and page.count("labelled <b") == len(wrong)
    assert page.count("data:image/jpeg") >= 4 * len(wrong)


def test_a_server_that_is_not_there(here, prepared, model_dir, tmp_path):
    """HOST:PORT is a server, as no such file is there."""
    done = here(
        f"--data_dir={prepared.path}",
        f"--output_dir={tmp_path / 'out'}",
        "--timeout=0.5",
        "--compare=127.0.0.1:9/mine",
        f"--compare={model_dir}",
    )
    assert done.code == 1
    assert "127.0.0.1:9" in done.fault()
    assert not (tmp_path / "out").exists()


def test_videos_are_evaluated_as_their_records(
    here, ours, sample_set, model_dir, tmp_path
):
    """The manifest's test split gives what `prepare` and its records gave."""
    folder, records = tmp_path / "out", tmp_path / "records"
    done = here(
        f"--manifest={sample_set}",
        f"--model_dir={model_dir}",
        f"--output_dir={folder}",
        f"--records_dir={records}",
        "--no_thumbnails",
    )
    assert done.code == 0, done.err
    assert f"report: {folder / 'report.html'}" in done.out
    kept = [metrics_of(f)["metrics"] for f in (ours, folder)]
    for values in kept:
        # Computed from probabilities: rounding may differ.
        for name in ("calibration", "cross_entropy"):
            del values[name]
    assert kept[0] == kept[1]
    found = zip(rows_of(ours), rows_of(folder), strict=True)
    assert all(a["video"] == b["video"] for a, b in found)
    assert "data:image" not in (folder / "report.html").read_text()
    # A second run reads the records, not the videos. It fails when all is
    # written, so that one can see why.
    before = {p: p.stat().st_mtime_ns for p in records.rglob("*.tfrecord")}
    assert before
    done = here(
        f"--manifest={sample_set}",
        f"--model_dir={model_dir}",
        f"--output_dir={folder}",
        f"--records_dir={records}",
        "--noreport",
        "--predictions=parquet",
        "--fail_under=map=1",
        "--fail_under=uar=0.9999",
    )
    found = metrics_of(ours)["metrics"]
    assert done.code == 1
    assert done.fault() == (
        f"emorec evaluate: map is {found['map']:.4f}, below 1; uar is "
        f"{found['uar']:.4f}, below 0.9999 (--fail_under); the results are in "
        f"{folder}"
    )
    assert before == {p: p.stat().st_mtime_ns for p in before}
    # What the first run wrote and the second did not is gone.
    assert sorted(p.name for p in folder.iterdir()) == [
        "metrics.json",
        "predictions.parquet",
    ]


def test_every_row_of_a_manifest_without_splits(
    here, sample_set, model_dir, tmp_path
):
    with open(sample_set, newline="") as f:
        rows = list(csv.DictReader(f))[:2]
    lines = [f"{sample_set.parent / r['video']},{r['label']}" for r in rows]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["video,label", *lines]) + "\n")
    done = here(
        f"--manifest={path}",
        f"--model_dir={model_dir}",
        f"--output_dir={tmp_path / 'out'}",
        "--noreport",
        "--split=all",
    )
    assert done.code == 0, done.err
    # It is called what it is: nobody knows that it is a fair test.
    values = metrics_of(tmp_path / "out")
    assert values["split"] == "all"
    assert values["caution"] in done.out and values["caution"].startswith(
        "clips that the model was trained on, if there are any"
    )
    assert [r["label"] for r in rows_of(tmp_path / "out")] == [
        r["label"] for r in rows
    ]
    # The records hold faces: they are gone.
    assert not list((tmp_path / "out").glob(".records-*"))
    with pytest.raises(ManifestError) as e:
        manifest_set.read(str(path), "unlabelled", labels.resolve("mec2017"))
    assert f"{path}: no rows of the split 'unlabelled'; it has " in str(e.value)
    assert "--split=all takes every labelled row" in str(e.value)


def test_labels_that_the_model_does_not_know(
    here, sample_set, model_dir, tmp_path
):
    path = tmp_path / "mine.csv"
    video = next(sample_set.parent.rglob("*.mp4"))
    path.write_text(f"video,label\n{video},hapy\n")
    done = here(
        f"--manifest={path}",
        f"--model_dir={model_dir}",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert done.code == 1
    assert "line 2: unknown label 'hapy'" in done.err
    assert "did you mean 'happy'?" in done.err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there(here, prepared, model_dir, tmp_path):
    done = here(
        f"--data_dir={prepared.path}",
        f"--output_dir={tmp_path / 'out'}",
        "--compare",
        model_dir,
        tmp_path / "nowhere",
    )
    assert done.code == 1
    assert f"{tmp_path / 'nowhere'}: no such model" in done.fault()
    assert not (tmp_path / "out").exists()


def test_a_limit_that_is_reached_exactly():
    eye = np.eye(2)[[0, 0, 1, 1]]
    found = metrics.evaluate(np.array([0, 0, 1, 0]), eye, None, ["a", "b"])
    assert found.acc == 0.75
    wanted = evaluate_thresholds.parse(["acc=.9", "uar=0", "acc=.75"])
    assert wanted == {"acc": 0.75, "uar": 0}
    evaluate_thresholds.check(wanted, found, "out")
    with pytest.raises(EmorecError, match="^acc is 0.7500, below 0.76 "):
        evaluate_thresholds.check({"acc": 0.76}, found, "out")


@pytest.mark.parametrize(
    "text", ["map", "map=", "map=40", "map=-1", "map=nan", "loss=.4", "=.4"]
)
def test_a_limit_that_is_none(here, text):
    done = here(
        "--data_dir=x",
        "--output_dir=y",
        "--model_dir=z",
        f"--fail_under={text}",
    )
    assert done.code == 2
    assert done.fault() == (
        "emorec evaluate: `--fail_under` must be METRIC=SHARE, one of map, "
        "acc, macro_f1, uar, ranking_map and a share from 0 to 1 (40 % is "
        f".4). Received: {text!r}"
    )


@pytest.mark.parametrize(
    "args, said",
    [
        (["--model_dir=m"], "exactly one of --data_dir, --manifest"),
        (
            ["--model_dir=m", "--data_dir=d", "--manifest=c"],
            "Received: --data_dir, --manifest",
        ),
        (
            ["--data_dir=d", "--compare", "a", "b", "c"],
            "`--compare` takes two models, --compare A B. Received: a b c",
        ),
        (["--data_dir=d", "--compare=a"], "Received: a"),
        (
            ["--data_dir=d", "--compare", "a", "b", "--onnx=o"],
            "`--compare` names both models itself; leave --onnx away",
        ),
        (
            ["--data_dir=d", "--model_dir=m", "--records_dir=r"],
            "`--records_dir` belongs to `--manifest`",
        ),
        (["--data_dir=d", "--model_dir=m", "b"], "takes flags only"),
        (["--flagfile=/no/such/file"], "/no/such/file"),
    ],
)
def test_flags_that_do_not_go_together(here, tmp_path, args, said):
    done = here(*args, f"--output_dir={tmp_path / 'out'}")
    assert done.code == 2
    assert said in done.fault()
    assert not (tmp_path / "out").exists()


def test_a_preset_is_no_trained_model(here, prepared, tmp_path):
    done = here(
        f"--data_dir={prepared.path}",
        f"--output_dir={tmp_path / 'out'}",
        "--compare",
        "face-average",
        "face-average",
    )
    assert done.code == 2
    assert "`--compare` takes trained models" in done.fault()
