"""Figures, ratios and tables of the benchmark suite."""

import json

import pytest

from benchmarks import report, rows, run
from benchmarks.rows import Row


@pytest.mark.parametrize(
    "unit, ours, peer, ratio",
    [
        ("frames/s", 30.0, 10.0, 3.0),
        ("frames/s", 5.0, 10.0, 0.5),
        ("share", 0.5, 1.0, 0.5),
        ("s", 2.0, 6.0, 3.0),
        ("ms/frame", 6.0, 2.0, 1 / 3),
        ("MB", 1024.0, 2048.0, 2.0),
        ("s", None, 6.0, None),
        ("frames/s", 3.0, None, None),
        ("difference", 0.0, 1.0, None),
    ],
)
def test_a_ratio_above_1_says_that_ours_is_better(unit, ours, peer, ratio):
    assert rows.ratio(unit, ours, peer) == pytest.approx(ratio)


@pytest.mark.parametrize(
    "unit, answer, value",
    [
        ("frames/s", {"units": 10, "seconds": 4.0}, 2.5),
        ("s", {"units": 2, "seconds": 4.0}, 2.0),
        ("ms", {"units": 2, "seconds": 4.0}, 2000.0),
        ("MB", {"units": 1, "seconds": 1.0, "peak_mb": 7.0}, 7.0),
        ("GFLOP/s", {"units": 1, "seconds": 1.0, "value": 9.0}, 9.0),
    ],
)
def test_a_figure_follows_its_unit(unit, answer, value):
    assert rows.value(unit, answer) == value


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="the unit 'share' needs a `value`"):
        rows.value("share", {"units": 1, "seconds": 1.0})


def test_a_row_has_medians_ratio_and_spread():
    row = rows.compared(
        "x", "s", [1.0, 5.0, 2.0], [8.0, 4.0, 6.0], peer_name="p", goal=2.0
    )
    assert (row.ours, row.peer, row.ratio, row.met) == (2.0, 6.0, 3.0, True)
    assert row.spread == {
        "rounds": 3,
        "ours": {"min": 1.0, "max": 5.0, "iqr": 2.0},
        "peer": {"min": 4.0, "max": 8.0, "iqr": 2.0},
    }
    assert row.reason is None


def test_a_row_without_a_peer_says_why():
    row = rows.compared("x", "frames/s", [4.0], [], goal=3.0, reason="quick")
    values = row.to_dict()
    assert values == {
        "name": "x",
        "unit": "frames/s",
        "ours": 4.0,
        "peer": None,
        "peer_name": None,
        "ratio": None,
        "goal": 3.0,
        "reason": "quick",
        "spread": {
            "rounds": 1,
            "ours": {"min": 4.0, "max": 4.0, "iqr": 0.0},
        },
    }
    assert row.met is None
    assert rows.compared("x", "s", [], []).reason == "no peer"


def test_the_json_is_a_list_of_objects_with_the_agreed_keys(tmp_path):
    found = [Row("a", "s", 1.0, 2.0, "p", 2.0), Row("b", "s", reason="why")]
    path = tmp_path / "new" / "results.json"
    report.write(path, report.as_json(found))
    values = json.loads(path.read_text())
    keys = {"name", "unit", "ours", "peer", "peer_name", "ratio"}
    assert [set(v) for v in values] == [keys, keys | {"reason"}]
    assert values[1]["ratio"] is None
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "-"),
        (0.0, "0"),
        (1234.5, "1234"),
        (12.345, "12.3"),
        (1.2345, "1.23"),
        (0.0123456, "0.0123"),
    ],
)
def test_figures_are_short(value, text):
    assert report.figure(value) == text


def test_the_markdown_holds_the_table_shares_and_reasons():
    found = [
        rows.compared(
            "fast|er",
            "frames/s",
            [30.0, 32.0],
            [10.0, 10.0],
            peer_name="p",
            goal=4.0,
        ),
        Row("left", "s", peer_name="q", goal=1.0, reason="no torch"),
        Row("parts", "ms", 3.0, detail={"share_of_wall_time": {"a": 0.25}}),
    ]
    text = report.markdown(found, {"date": "today"}, {"ours": {"numpy": "1"}})
    assert "- date: today" in text
    assert "- ours: numpy 1" in text
    wanted = "| fast/er | frames/s | 31.0 ± 0.50 | 10.0 ± 0 | p | 3.10 | "
    assert wanted + "4: not met |" in text
    assert "- left: no torch" in text
    assert "| a |\n|---|\n| 25.0 % |" in text
    assert report.table(found).splitlines()[1].split("  ")[0] == "fast|er"


@pytest.mark.parametrize(
    "words, folder",
    [
        ([], "benchmarks"),
        (["--quick"], "build/bench"),
        (["--only=whole,accuracy"], "build/bench"),
    ],
)
def test_a_part_of_the_suite_never_takes_the_place_of_a_full_run(words, folder):
    given = run.arguments(words)
    made = run.output_folder(given)
    assert made.relative_to(run.ROOT).as_posix() == folder


def test_an_unknown_group_is_refused(capsys):
    with pytest.raises(SystemExit):
        run.arguments(["--only=nothing"])
    assert "--only takes detection, " in capsys.readouterr().err
