"""Metrics against cases computed by hand, and against scikit-learn."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from emorec.errors import EmorecError
from emorec.evaluation import metrics

LN = math.log


def evaluate(labels, rows, answered=None, names="abc"):
    return metrics.evaluate(
        np.array(labels),
        np.array(rows, np.float32),
        None if answered is None else np.array(answered),
        tuple(names),
    )


@pytest.fixture
def plain():
    """Six clips of three classes; answers 0 0 1 1 0 1; c is never named."""
    return evaluate(
        [0, 0, 0, 1, 1, 2],
        [
            [0.7, 0.2, 0.1],
            [0.5, 0.3, 0.2],
            [0.1, 0.6, 0.3],
            [0.2, 0.7, 0.1],
            [0.6, 0.3, 0.1],
            [0.3, 0.5, 0.2],
        ],
    )


@pytest.fixture
def awkward():
    """No clip of c (which is named) nor of d (which is not); clip 3 has no
    face, and its row is rubbish."""
    return evaluate(
        [0, 0, 1, 1],
        [
            [0.9, 0.1, 0.0, 0.0],
            [0.2, 0.1, 0.7, 0.0],
            [0.1, 0.8, 0.1, 0.0],
            [math.nan, 5.0, -1.0, math.inf],
        ],
        answered=[True, True, True, False],
        names="abcd",
    )


def test_plain_case_by_hand(plain):
    # Named: a three times (2 right), b three times (1 right), c never.
    np.testing.assert_allclose(plain.precision, [2 / 3, 1 / 3, 0])
    assert plain.map == pytest.approx(1 / 3)
    assert plain.acc == 0.5
    # Supports 3, 2, 1.
    np.testing.assert_allclose(plain.recall, [2 / 3, 1 / 2, 0])
    assert plain.uar == pytest.approx((2 / 3 + 1 / 2) / 3)
    # 2 TP / (support + named): 4 / 6, 2 / 5, 0 / 1.
    np.testing.assert_allclose(plain.f1, [2 / 3, 0.4, 0])
    assert plain.macro_f1 == pytest.approx((2 / 3 + 0.4) / 3)
    assert plain.confusion.tolist() == [
        [2, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 0, 0],
    ]
    assert plain.support.tolist() == [3, 2, 1]
    assert (plain.n, plain.answered) == (6, 6)
    assert (plain.absent, plain.never_predicted) == ((), ("c",))


def test_plain_ranking_by_hand(plain):
    # a ranks + - + - - +: (1/1 + 2/3 + 3/6) / 3 = 13/18.
    # b ranks + - - then a tie of + and -: (1/1 + 2/5) / 2 = 7/10.
    # c ranks - then a tie of + and -: 1/3, and the tie's order is nothing.
    expected = [13 / 18, 7 / 10, 1 / 3]
    np.testing.assert_allclose(plain.average_precision, expected)
    assert plain.ranking_map == pytest.approx(sum(expected) / 3)
    # The two that others both call "mAP" differ here: .333 and .585.
    assert plain.ranking_map - plain.map > 0.25


def test_plain_cross_entropy_by_hand(plain):
    by_hand = -(2 * LN(0.7) + LN(0.5) + LN(0.1) + LN(0.3) + LN(0.2)) / 6
    assert plain.cross_entropy == pytest.approx(by_hand, rel=1e-6)


def test_absent_classes_and_no_face_by_hand(awkward):
    # Answers a, c, b, none. Precision 1/1, 1/1, 0/1, and 0 for never.
    assert awkward.precision.tolist() == [1, 1, 0, 0]
    assert awkward.map == 0.5  # over all four classes
    assert awkward.acc == 0.5  # over all four clips
    np.testing.assert_array_equal(
        awkward.recall, [0.5, 0.5, math.nan, math.nan]
    )
    assert awkward.uar == 0.5  # over a and b
    # F1: 2/(2+1), 2/(2+1), 0/(0+1), and 0/0 is left out.
    np.testing.assert_allclose(awkward.f1, [2 / 3, 2 / 3, 0, math.nan])
    assert awkward.macro_f1 == pytest.approx(4 / 9)
    # b ranks + (.8), then a tie of - - (.1), then + (no face): 1/2 + 1/4.
    np.testing.assert_array_equal(
        awkward.average_precision, [1, 0.75, math.nan, math.nan]
    )
    assert awkward.ranking_map == 0.875
    assert awkward.confusion.tolist() == [
        [1, 0, 1, 0, 0],
        [0, 1, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    by_hand = -(LN(0.9) + LN(0.2) + LN(0.8)) / 3  # answered clips alone
    assert awkward.cross_entropy == pytest.approx(by_hand, rel=1e-6)
    assert awkward.absent == ("c", "d")
    assert awkward.never_predicted == ("d",)
    assert (awkward.n, awkward.answered) == (4, 3)


def test_perfect_answers_reach_one_only_where_every_class_occurs():
    eye = np.eye(3)
    whole = evaluate([0, 1, 2], eye)
    part = evaluate([0, 1, 1], eye[[0, 1, 1]])
    scalars = ("map", "acc", "ranking_map", "macro_f1", "uar")
    assert [getattr(whole, s) for s in scalars] == [1] * 5
    assert whole.cross_entropy == 0
    # MEC averages over all three: (1 + 1 + 0) / 3.
    assert [getattr(part, s) for s in scalars] == [
        pytest.approx(2 / 3),
        *[1] * 4,
    ]


def test_nobody_answered():
    m = evaluate([0, 0, 0, 1], np.zeros([4, 2]), [False] * 4, "ab")
    assert (m.map, m.acc, m.uar, m.macro_f1) == (0, 0, 0, 0)
    # All tie at score 0: precision is each class's share, 3/4 and 1/4.
    assert m.average_precision.tolist() == [0.75, 0.25]
    assert m.cross_entropy is None
    assert m.confusion.tolist() == [[0, 0, 3], [0, 0, 1]]
    assert "cross-entropy of answered clips                 -" in (
        metrics.format_table(m)
    )


def test_certain_and_wrong_stays_finite():
    m = evaluate([1], [[1.0, 0.0]], names="ab")
    assert m.cross_entropy == pytest.approx(-LN(1e-7))


def test_equal_probabilities_answer_the_first_class():
    m = evaluate([1, 1], [[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    assert m.confusion[1].tolist() == [1, 1, 0, 0]


def test_order_of_clips_does_not_matter():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 40)
    rows = rng.integers(1, 4, [40, 3]).astype(float)  # many ties
    rows /= rows.sum(axis=1, keepdims=True)
    results = []
    for order in (np.arange(40), np.arange(40)[::-1], np.argsort(labels)):
        m = evaluate(labels[order], rows[order]).to_dict()
        results.append(json.dumps({**m, "cross_entropy": None}))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n, k = 60, 6
    # Class k - 1 never occurs, in half of the cases it is never named.
    labels = rng.integers(0, k - 1, n)
    rows = rng.integers(0, 5, [n, k]) + 0.5 * np.eye(k)[labels] + 1e-3
    if seed % 2:
        rows[:, -1] = 1e-3
    rows /= rows.sum(axis=1, keepdims=True)
    rows = rows.astype(np.float32)
    answered = rng.random(n) < 0.9
    m = metrics.evaluate(labels, rows, answered, list("abcdef"))

    predicted = np.where(answered, rows.argmax(axis=1), k)
    scores = np.where(answered[:, None], rows, 0)
    classes = np.arange(k)
    p, r, f, s = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    np.testing.assert_allclose(m.precision, p)
    np.testing.assert_allclose(m.recall[:-1], r[:-1])
    np.testing.assert_allclose(m.f1[:-1], f[:-1])
    np.testing.assert_array_equal(m.support, s)
    assert m.map == pytest.approx(p.mean())
    assert m.acc == sklearn_metrics.accuracy_score(labels, predicted)
    seen = np.union1d(labels, predicted[answered])
    assert m.macro_f1 == pytest.approx(
        sklearn_metrics.f1_score(
            labels, predicted, labels=seen, average="macro"
        )
    )
    assert m.uar == pytest.approx(
        sklearn_metrics.recall_score(
            labels, predicted, labels=classes[:-1], average="macro"
        )
    )
    curves = [
        sklearn_metrics.average_precision_score(labels == c, scores[:, c])
        for c in range(k - 1)
    ]
    np.testing.assert_allclose(m.average_precision[:-1], curves)
    assert m.ranking_map == pytest.approx(np.mean(curves))
    exact = rows[answered].astype(float)
    exact /= exact.sum(axis=1, keepdims=True)
    assert m.cross_entropy == pytest.approx(
        sklearn_metrics.log_loss(labels[answered], exact, labels=classes),
        rel=1e-6,
    )
    np.testing.assert_array_equal(
        m.confusion,
        sklearn_metrics.confusion_matrix(
            labels, predicted, labels=range(k + 1)
        )[:k],
    )
    assert m.absent == ("f",)
    assert (m.never_predicted == ("f",)) == bool(seed % 2)


def test_to_dict_is_json_without_nan(awkward):
    text = json.dumps(awkward.to_dict(), allow_nan=False)
    values = json.loads(text)
    assert values["recall"] == [0.5, 0.5, None, None]
    assert values["confusion"][1] == [0, 1, 0, 0, 1]
    assert values["names"] == ["a", "b", "c", "d"]
    assert values["absent"] == ["c", "d"]
    assert set(metrics.TITLES) < set(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, r"`labels` must be int \[N\] with N at least 1"),
        ({"labels": [0.0, 1.0]}, r"Received: float64 \[2\]"),
        ({"labels": [[0, 1]]}, r"Received: int64 \[1, 2\]"),
        ({"labels": [0, 3]}, "class ids 0 to 2. Received: 0 to 3"),
        ({"labels": [-1, 2]}, "class ids 0 to 2. Received: -1 to 2"),
        ({"labels": [0, 1, 2]}, r"float \[3, 3\] for 3 labels and 3 names"),
        ({"names": "ab"}, r"float \[2, 2\].*Received: float32 \[2, 3\]"),
        ({"names": ""}, r"float \[2, 0\]"),
        ({"answered": [True]}, r"`answered` must be bool \[2\]"),
        ({"answered": [1, 0]}, r"Received: int64 \[2\]"),
        (
            {"rows": [[1, 0, 0], [math.nan, 0, 1]]},
            "must be finite. Received: 1 rows .* the first is row 1",
        ),
        ({"rows": [[math.inf, 0, 0], [1, 0, 0]]}, "the first is row 0"),
        (
            {"rows": [[1, 0, 0], [2, 1, 0]]},
            "not logits.*the first is row 1 with sum 3, least 0",
        ),
        ({"rows": [[1.5, -0.5, 0]] * 2}, "2 other rows.*least -0.5"),
        ({"rows": [[0.3, 0.3, 0.3]] * 2}, "row 0 with sum 0.9"),
    ],
)
def test_faults_are_named(change, message):
    good = {"labels": [0, 1], "rows": [[1, 0, 0], [0, 1, 0]]}
    evaluate(**good)
    with pytest.raises(EmorecError, match=message) as e:
        evaluate(**{**good, **change})
    assert "\n" not in str(e.value)


def test_rounding_errors_of_a_softmax_pass():
    rows = np.array([[0.5004, 0.25, 0.25], [0.4996, 0.25, 0.25]])
    assert evaluate([0, 0], rows).acc == 1


def test_majority_class():
    assert metrics.majority_class(np.array([2, 1, 2, 0])) == 2
    assert metrics.majority_class(np.array([3, 1, 3, 1])) == 1  # lowest
    with pytest.raises(EmorecError, match="with N at least 1"):
        metrics.majority_class(np.array([], int))
    with pytest.raises(EmorecError, match=r"ids from 0\. Received: -1"):
        metrics.majority_class(np.array([-1, 2]))


def test_table(awkward):
    assert metrics.format_table(awkward).splitlines() == [
        "4 clips, 3 answered; 1 without a face, counted as wrong",
        "",
        "MAP (macro average precision)               50.00 %",
        "ACC (accuracy)                              50.00 %",
        "ranking mAP (area under precision-recall)   87.50 %",
        "macro F1                                    44.44 %",
        "UAR (unweighted average recall)             50.00 %",
        "cross-entropy of answered clips             0.646",
        "",
        "class       precision     recall         F1 avg. prec.  clips",
        "  0  a       100.00 %    50.00 %    66.67 %   100.00 %      2",
        "  1  b       100.00 %    50.00 %    66.67 %    75.00 %      2",
        "  2  c         0.00 %          -     0.00 %          -      0",
        "  3  d         0.00 %          -          -          -      0",
        "",
        "confusion matrix: true class down, answer across, "
        "none = without an answer",
        "        0    1    2    3 none",
        "   0    1    0    1    0    0  a",
        "   1    0    1    0    0    1  b",
        "   2    0    0    0    0    0  c",
        "   3    0    0    0    0    0  d",
        "",
        "no clips of: c, d (precision 0 in MAP; "
        "left out of UAR and ranking mAP)",
    ]


def test_table_of_chinese_names_is_aligned():
    m = evaluate([0, 1], np.eye(2), names=("高兴", "sadness"))
    rows = metrics.format_table(m).splitlines()
    first, second = (
        r for r in rows if "100.00 %   100.00 %" in r and "  1" in r
    )
    assert first.startswith("  0  高兴   ")
    assert len(first) + 2 == len(second)  # two characters, four columns


def test_table_of_many_classes_prints_no_matrix():
    names = [f"c{i}" for i in range(21)]
    table = metrics.format_table(evaluate([3], np.eye(21)[[3]], names=names))
    assert "confusion matrix of 21 classes: too wide to print" in table
    assert " 20  c20" in table


def test_rounding_errors_are_no_ranking():
    """A label that a model cannot give, as two processors compute it."""
    labels, rest = [0, 1, 2, 1], [0.5, 0.2, 0.3, 0.4]
    noise = np.array([[1.0, 1.1, 1.2, 1.3], [1.3, 1.2, 1.1, 1.0]]) * 1e-7
    found = [
        evaluate(labels, [[p, 1 - p - e, e] for p, e in zip(rest, cells)])
        for cells in noise
    ]
    assert (
        found[0].average_precision[2] == found[1].average_precision[2] == 1 / 4
    )
