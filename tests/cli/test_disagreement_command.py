"""`emorec disagreement`: its files, its table and its errors."""

import csv
import json
import sys

import pytest
from testing import commands

ROWS = [
    # emotion, condition, then five raters' intensities of each of two items
    ("happy", "original", (1, 2, 3, 4, 5), (0, 0, 0, 0, 5)),
    ("happy", "cropped", (1, 1, 1, 1, 1), (2, 2, 2, 2, 2)),
]


@pytest.fixture
def ratings(tmp_path):
    path = tmp_path / "ratings.csv"
    lines = ["item,rater,view,emotion,intensity"]
    for emotion, condition, *items in ROWS:
        for i, values in enumerate(items):
            lines += [
                f"img_{i},r{rater},{condition},{emotion},{value}"
                for rater, value in enumerate(values)
            ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def run(capsys, tmp_path):
    def run(path, *flags):
        return commands.here(
            capsys,
            "disagreement",
            f"--ratings={path}",
            f"--output_dir={tmp_path / 'study'}",
            *flags,
        )

    return run


def test_two_conditions_in_one_command(run, ratings, tmp_path):
    done = run(ratings, "--group_by=view", "--conditions=original,cropped")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "20 intensities: 2 items, 1 emotion, 2 conditions",
        "mean over items of the variance over raters;",
        "unbiased sample variance (n - 1), [95% interval]",
        "",
        "emotion  condition  items  raters  variance",
        "happy    original       2       5    3.7500  [2.5000, 5.0000]",
        "happy    cropped        2       5    0.0000  [0.0000, 0.0000]",
        "",
        "original less cropped, over items that have both;",
        "paired sign-flip permutation test of the mean difference, two-sided;",
        "p (Holm) is corrected for 1 emotion",
        "",
        "emotion  items  difference                         p  p (Holm)",
        "happy        2      3.7500  [2.5000, 5.0000]  0.5000    0.5000",
    ]
    assert sorted(p.name for p in (tmp_path / "study").iterdir()) == [
        "comparison.csv",
        "disagreement.csv",
        "disagreement.png",
        "summary.json",
    ]


def test_equal_runs_write_equal_files(run, ratings, tmp_path):
    def contents():
        assert run(ratings, "--group_by=view").code == 0
        return {p.name: p.read_bytes() for p in (tmp_path / "study").iterdir()}

    assert contents() == contents()


def test_without_the_column_there_is_one_condition(run, ratings, tmp_path):
    lines = ratings.read_text().replace("cropped", "original").splitlines()
    ratings.write_text("\n".join(lines[:11]))
    done = run(ratings, "--ddof=0")
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["ratings"]["conditions"] == ["all"]
    assert summary["variance"] == "population variance (n)"
    assert summary["disagreement"][0]["mean_variance"] == pytest.approx(3.0)


def test_three_conditions_are_told_how_to_be_compared(run, ratings):
    text = ratings.read_text()
    more = [
        line.replace("cropped", "voice")
        for line in text.splitlines()
        if "cropped" in line
    ]
    ratings.write_text(text + "\n".join(more))
    done = run(ratings, "--group_by=view")
    assert done.code == 0, done.err
    assert done.out.endswith(
        "no comparison: name two of the conditions with --conditions\n"
    )


@pytest.mark.parametrize(
    "flags, code, told",
    [
        (["--min_raters=6", "--group_by=view"], 1, "fewer than 6 raters: item"),
        (["--group_by=shown"], 1, "has no column 'shown'; its columns are"),
        (["--group_by=item"], 2, "`group_by` must be a column other than"),
        (
            ["--group_by=view", "--conditions=a,cropped"],
            2,
            "unknown condition 'a'",
        ),
        (
            ["--group_by=view", "--min=3", "--max=3"],
            2,
            "`min` must be a number",
        ),
        (["--min_raters=1"], 2, "--min_raters"),
        (["--ddof=2"], 2, "--ddof"),
        (["--bootstrap=5"], 2, "--bootstrap"),
        (["--format=xlsx"], 2, "--format"),
        (["--format=mdns"], 1, "is not the JSON form of MDNS"),
        (["--format=crema_d"], 1, "is not CREMA-D's tabulatedVotes.csv"),
    ],
)
def test_a_wrong_flag_is_one_line(run, ratings, tmp_path, flags, code, told):
    done = run(ratings, *flags)
    assert done.code == code
    assert told in done.fault()
    assert not (tmp_path / "study").exists()


def test_faults_of_the_file_are_told_by_line(run, ratings, tmp_path):
    done = run(ratings, "--group_by=view", "--max=4")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"emorec disagreement: {ratings}: 2 faults",
        "  lines 6, 11: has the intensity 5, outside 0 to 4 (--min, --max)",
    ]
    assert not (tmp_path / "study").exists()


def test_a_file_that_is_absent(run, tmp_path):
    done = run(tmp_path / "nothing.csv")
    assert done.code == 1
    assert "nothing.csv: is not a file; give the path" in done.fault()


def test_without_matplotlib_it_says_what_to_install(
    run, ratings, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(ratings, "--group_by=view")
    assert done.code == 1
    assert "needs matplotlib; install emorec[" in done.fault()
    assert not (tmp_path / "study").exists()


@pytest.mark.real
def test_mdns_from_the_command(run, test_data, tmp_path):
    path = test_data / "ratings" / "mdns_primary_expression_annotations.json"
    done = run(path, "--max=4", "--min_raters=9")
    assert done.code == 0, done.err
    assert done.out.startswith("54000 intensities: 1000 items, 6 emotions, 1")
    with open(tmp_path / "study" / "disagreement.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["emotion"] for r in rows] == [
        "angry",
        "happy",
        "sad",
        "fear",
        "surprise",
        "disgust",
    ]
    assert rows[0]["mean_variance"] == "1.0294444"


@pytest.mark.real
def test_votes_from_the_command(run, test_data, tmp_path):
    path = test_data / "ratings" / "crema_d_tabulatedVotes.csv"
    done = run(
        path,
        "--max=1",
        "--conditions=face,both",
        "--bootstrap=200",
        "--permutations=199",
    )
    assert done.code == 0, done.err
    assert done.out.startswith("860592 votes (0 or 1): 7442 items, 6 emotions")
    assert "These are votes, not intensities" in done.out
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["ratings"]["kind"] == "votes"
    assert summary["ratings"]["form"] == "crema_d"
    assert summary["ratings"]["range"] == [0.0, 1.0]
    assert len(summary["notes"]) == 2
    assert [c["items"] for c in summary["comparison"]] == [7442] * 6
    told = run(path, "--max=1").fault()
    assert "condition 'voice', emotion 'anger' has 4" in told
