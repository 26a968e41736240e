"""Two models on the same clips, by hand."""

import json

import pytest
from testing.evaluations import DESCRIPTION, NAMES, clip, data

from emorec.errors import ConfigError
from emorec.evaluation import compare, evaluate
from emorec.evaluation.evaluation_result import Report

SURE = {name: [float(n == name) for n in NAMES] for name in NAMES}


def report(answers: dict[str, tuple[str, str | None]]) -> Report:
    """The evaluation of rows that are `label, answer`."""
    clips = [
        clip(
            row, NAMES.index(label), SURE.get(answer, [0, 0, 0]), faces, (8, n)
        )
        for row, (label, answer) in answers.items()
        for faces, n in [(0, 0) if answer is None else (8, 8)]
    ]
    return evaluate.report(data(), "test", clips, DESCRIPTION)


A = {
    "1": ("calm", "calm"),
    "2": ("calm", "glad"),
    "3": ("glad", "glad"),
    "4": ("glad", "upset"),
    "5": ("upset", None),
    "6": ("upset", "calm"),
}
# Right where A is right but in row 3; and in 2, 4 and 5.
B = {
    **A,
    "2": ("calm", "calm"),
    "3": ("glad", "calm"),
    "4": ("glad", "glad"),
    "5": ("upset", "upset"),
}


@pytest.fixture
def found():
    return compare.compare(report(A), report(B), ("old", "new"))


def test_the_figures(found):
    assert (found.n, found.left_out) == (6, 0)
    assert (found.both, found.only_first) == (1, 1)
    assert (found.only_second, found.neither) == (3, 1)
    # 2 (C(4, 0) + C(4, 1)) / 2^4
    assert found.p == pytest.approx(10 / 16)
    by_name = {d.metric: d for d in found.differences}
    acc = by_name["acc"]
    assert (acc.first, acc.second) == pytest.approx((2 / 6, 4 / 6))
    assert acc.value == pytest.approx(2 / 6)
    # Precisions of A: calm 1/2, glad 1/2, upset 0/1; of B: 2/4, 1/1, 1/1.
    assert by_name["map"].value == pytest.approx((0.5 + 1 + 1) / 3 - 1 / 3)
    assert -1 <= acc.interval[0] <= acc.value <= acc.interval[1] <= 1
    assert not acc.is_clear
    assert found.classes == [
        {"label": "calm", "clips": 2, "first": 1, "second": 2},
        {"label": "glad", "clips": 2, "first": 1, "second": 1},
        {"label": "upset", "clips": 2, "first": 0, "second": 1},
    ]
    assert [r["row"] for r in found.rows] == ["2", "3", "4", "5"]
    assert found.rows[3] == {
        "row": "5",
        "video": "5.mp4",
        "source": "",
        "label": "upset",
        "first": None,
        "second": "upset",
    }
    assert found.verdict == (
        "McNemar p = 0.6250: no sign that either is better; 4 of 6 clips tell "
        "them apart"
    )


def test_the_order_of_the_rows_does_not_matter(found):
    turned = dict(reversed(list(B.items())))
    again = compare.compare(report(A), report(turned), ("old", "new"))
    assert again == found


def test_one_that_is_better_is_named():
    rows = {str(i): ("calm", "glad") for i in range(9)}
    better = {**rows, **{str(i): ("calm", "calm") for i in range(1, 9)}}
    found = compare.compare(report(rows), report(better), ("old", "new"))
    # 2 / 2^8
    assert found.verdict == (
        "McNemar p = 0.0078: new is right more often than luck explains"
    )
    assert {d.metric: d.is_clear for d in found.differences}["acc"]
    found = compare.compare(report(better), report(rows), ("old", "new"))
    assert "old is right more often" in found.verdict


def test_models_that_are_right_on_the_same_clips():
    found = compare.compare(report(A), report(A), ("old", "new"))
    assert found.p == 1
    assert found.verdict == "both are right on the same clips: nothing to test"
    assert not any(d.is_clear for d in found.differences)


def test_clips_of_one_model_alone_are_left_out(found):
    more = {**A, "7": ("calm", "calm"), "8": ("calm", "calm")}
    again = compare.compare(report(more), report(B), ("old", "new"))
    assert (again.n, again.left_out) == (6, 2)
    assert again.differences == found.differences
    assert "2 clips that only one model was asked" in compare.format_table(
        again
    )


def test_the_file_and_the_table(found, tmp_path):
    found.write(tmp_path)
    values = json.loads((tmp_path / "comparison.json").read_text())
    assert values["first"] == "old" and values["n"] == 6
    assert values["mcnemar"]["only_second_right"] == 3
    assert values["mcnemar"]["p"] == pytest.approx(0.625)
    assert values["differences"]["acc"]["interval_holds_0"] is True
    assert len(values["only_one_right"]) == 4
    lines = compare.format_table(found).splitlines()
    assert lines[0] == "A  old"
    (line,) = [line for line in lines if line.startswith("acc")]
    assert line.split()[:6] == ["acc", "33.33", "%", "66.67", "%", "+33.33"]
    assert "right: both 1, only A 1, only B 3, neither 1" in lines


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError) as e:
        compare.check_labels(("a", "b"), ("b", "a"))
    assert str(e.value) == (
        "models to be compared must have the same labels. Received: a, b; "
        "and b, a"
    )
    with pytest.raises(ConfigError) as e:
        compare.compare(
            report({"1": A["1"]}), report({"2": A["2"]}), ("old", "new")
        )
    assert str(e.value) == (
        "models to be compared must have been asked the same clips. "
        "Received: 1 and 1, none in both"
    )
