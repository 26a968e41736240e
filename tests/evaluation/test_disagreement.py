"""The disagreement of raters, against tables that were worked out by hand."""

import csv
import json
import math

import numpy as np
import pytest
from scipy import stats

from emorec.errors import EmorecError, UsageError
from emorec.evaluation import (
    disagreement,
    disagreement_report,
    rating_forms,
)
from emorec.evaluation.disagreement import Settings

# Five raters' intensities for each condition, emotion and item, and beside
# them the sum of squares about their mean.
HAND = {
    ("original", "happy"): {
        "i1": (1, 2, 3, 4, 5),  # 10
        "i2": (0, 0, 0, 0, 5),  # 20
        "i3": (2, 2, 2, 2, 2),  # 0
    },
    ("cropped", "happy"): {
        "i1": (0, 0, 5, 5, 5),  # 30
        "i2": (1, 1, 1, 1, 1),  # 0
        "i3": (4, 3, 2, 1, 0),  # 10
    },
    ("original", "sad"): {
        "i1": (0, 0, 0, 0, 0),  # 0
        "i2": (5, 5, 5, 5, 5),  # 0
        "i3": (1, 1, 1, 1, 1),  # 0
    },
    ("cropped", "sad"): {
        "i1": (0, 1, 2, 3, 4),  # 10
        "i2": (0, 5, 0, 0, 0),  # 20
        "i3": (5, 4, 3, 2, 1),  # 10
    },
}
# Sums of squares over n - 1 = 4, then their mean over the three items.
MEANS = {
    ("happy", "original"): 7.5 / 3,
    ("happy", "cropped"): 10 / 3,
    ("sad", "original"): 0.0,
    ("sad", "cropped"): 10 / 3,
}


@pytest.fixture
def read(tmp_path):
    """Writes such a table as a CSV and reads it."""

    def read(table, conditions=()):
        path = tmp_path / "ratings.csv"
        with open(path, "w", encoding="utf-8") as f:
            print("item,rater,condition,emotion,intensity", file=f)
            for (condition, emotion), items in table.items():
                for item, values in items.items():
                    for rater, value in enumerate(values):
                        cells = (item, rater, condition, emotion, value)
                        print(*cells, sep=",", file=f)
        found = rating_forms.read(str(path))
        return found.only(conditions) if conditions else found

    return read


@pytest.fixture
def hand(read):
    return read(HAND, ("original", "cropped"))


def test_variances_of_the_hand_worked_table(hand):
    found = disagreement.variances(hand)
    variance = {
        (
            hand.conditions[c],
            hand.emotions[e],
            hand.items[i],
        ): found.variance[g]
        for g, (c, e, i) in enumerate(
            zip(found.condition, found.emotion, found.item)
        )
    }
    assert len(variance) == 12
    assert variance["original", "happy", "i1"] == 2.5
    assert variance["original", "happy", "i2"] == 5.0
    assert variance["cropped", "happy", "i1"] == 7.5
    assert variance["cropped", "sad", "i3"] == 2.5
    assert found.raters.tolist() == [5] * 12
    # The same sums of squares over n = 5.
    again = disagreement.variances(hand, ddof=0)
    np.testing.assert_allclose(again.variance, found.variance * 0.8)


def test_means_of_the_hand_worked_table(hand):
    found = disagreement.study(hand)
    assert {
        (c.emotion, c.condition): pytest.approx(c.mean) for c in found.cells
    } == MEANS
    assert [(c.emotion, c.condition) for c in found.cells] == list(MEANS)
    for cell in found.cells:
        assert (cell.items, cell.raters_min, cell.raters_max) == (3, 5, 5)
    population = disagreement.study(hand, Settings(ddof=0))
    assert [c.mean for c in population.cells] == pytest.approx(
        [0.8 * mean for mean in MEANS.values()]
    )


def test_intervals_of_the_hand_worked_table(hand):
    happy, _, sad, _ = disagreement.study(hand).cells
    # Of 27 equally likely draws from 2.5, 5, 0, one has mean 0 and one has
    # mean 5: each 3.7 %, more than the 2.5 % that are cut off.
    assert (happy.low, happy.high) == (0.0, 5.0)
    assert (sad.low, sad.high) == (0.0, 0.0)


def test_comparison_of_the_hand_worked_table(hand):
    happy, sad = disagreement.study(hand).comparisons
    assert (happy.first, happy.second) == ("original", "cropped")
    # Differences -5, 5, -2.5: no sign pattern's sum is nearer to 0 than 2.5.
    assert happy.items == 3
    assert happy.difference == pytest.approx(-2.5 / 3)
    assert happy.p == 1.0
    assert (happy.low, happy.high) == (-5.0, 5.0)
    # Differences -2.5, -5, -2.5: of 8 patterns two have all signs alike.
    assert sad.difference == pytest.approx(-10 / 3)
    assert sad.p == 0.25
    assert (sad.low, sad.high) == (-5.0, -2.5)
    # Holm: the smaller p times 2; the larger one is not below it.
    assert (happy.p_holm, sad.p_holm) == (1.0, 0.5)


def test_only_items_of_both_conditions_are_compared(read):
    table = {
        ("a", "happy"): {"i1": (0, 0, 0, 0, 5), "i2": (0, 1, 2, 3, 4)},
        ("b", "happy"): {"i2": (1, 1, 1, 1, 1), "i3": (5, 0, 5, 0, 5)},
        ("a", "sad"): {"i1": (1, 2, 3, 4, 5)},
    }
    found = disagreement.study(read(table))
    happy, sad = found.comparisons
    # Only i2: 2.5 less 0. One item has no interval, and no pattern but two.
    assert (happy.items, happy.difference, happy.p) == (1, 2.5, 1.0)
    assert math.isnan(happy.low) and math.isnan(happy.high)
    assert sad.items == 0
    assert all(map(math.isnan, (sad.difference, sad.p, sad.p_holm)))
    assert happy.p_holm == 1.0
    missing = found.cells[3]
    assert (missing.condition, missing.items) == ("b", 0)
    assert (missing.raters_min, missing.raters_max) == (0, 0)
    assert math.isnan(missing.mean)


def test_only_two_conditions_are_compared(read):
    one = {key: v for key, v in HAND.items() if key[0] == "original"}
    three = {**HAND, ("voice", "sad"): {"i1": (1, 2, 3, 4, 5)}}
    assert disagreement.study(read(one)).comparisons == ()
    assert disagreement.study(read(three)).comparisons == ()
    chosen = read(three, ("voice", "cropped"))
    assert disagreement.study(chosen).comparisons[1].difference == 0.0


def test_too_few_raters_are_refused_by_name(read):
    table = {
        ("a", "sad"): {f"i{n}": (1, 2, 3, 4)[: 4 - n % 2] for n in range(4)}
    }
    ratings = read({**HAND, **table})
    with pytest.raises(EmorecError) as e:
        disagreement.study(ratings)
    assert str(e.value) == (
        f"{ratings.path}: fewer than 5 raters: item 'i0', condition 'a', "
        "emotion 'sad' has 4; item 'i1', condition 'a', emotion 'sad' has 3; "
        "item 'i2', condition 'a', emotion 'sad' has 4; and 1 more; remove "
        "these items, choose other --conditions or lower --min_raters"
    )
    found = disagreement.study(ratings, Settings(min_raters=3))
    assert found.cells[3].raters_min == 3
    assert found.cells[3].raters_max == 4
    disagreement.study(ratings.only(["original", "cropped"]))


@pytest.mark.parametrize(
    "field, value",
    [
        ("ddof", 2),
        ("min_raters", 1),
        ("bootstrap", 99),
        ("permutations", 0),
        ("seed", -1),
    ],
)
def test_settings_are_checked(field, value):
    with pytest.raises(UsageError, match=f"`{field}` must be .* {value}$"):
        Settings(**{field: value})


def test_a_large_mean_does_not_eat_the_digits(read):
    big = 1e9
    table = {("a", "sad"): {"i": tuple(big + v for v in range(5))}}
    ratings = read({("a", "sad"): {"i": (0, 1, 2, 3, 4)}})
    object.__setattr__(ratings, "value", np.array(table["a", "sad"]["i"]))
    assert disagreement.variances(ratings).variance.tolist() == [2.5]


def test_intervals_are_those_of_the_normal_law_for_many_items():
    values = np.random.default_rng(5).gamma(2.0, size=2000)
    low, high = disagreement.interval(values, 4000, seed=0)
    half = 1.96 * values.std(ddof=1) / math.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_intervals_follow_from_the_seed_and_from_nothing_else(monkeypatch):
    values = np.random.default_rng(1).normal(size=50)
    first = disagreement.interval(values, 500, seed=3)
    assert disagreement.interval(values, 500, seed=4) != first
    # Neither does the size of the blocks matter.
    monkeypatch.setattr(disagreement, "_BLOCK", 777)
    assert disagreement.interval(values, 500, seed=3) == first


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.9])
def test_exact_p_is_that_of_scipy(shift):
    values = np.random.default_rng(2).normal(shift, size=11)
    theirs = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue
    assert disagreement.sign_flip_p(values, 2**11, 0) == pytest.approx(theirs)


@pytest.mark.parametrize("shift", [0.1, 0.4, 0.9])
def test_drawn_p_is_near_the_exact_one(shift, monkeypatch):
    values = np.random.default_rng(2).normal(shift, size=13)
    exact = disagreement.sign_flip_p(values, 2**13, 0)
    drawn = disagreement.sign_flip_p(values, 4000, 0)
    assert drawn == pytest.approx(exact, abs=0.02)
    assert drawn != disagreement.sign_flip_p(values, 4000, 1)
    assert disagreement.sign_flip_p(-values, 4000, 0) == drawn


def test_p_of_the_far_case_is_never_0():
    p = disagreement.sign_flip_p(np.ones(100), 999, 0)
    assert p == 1 / 1000
    assert disagreement.sign_flip_p(np.zeros(100), 999, 0) == 1.0


def test_p_of_rounded_sums_counts_ties():
    # Each pattern's sum is .2 or .4 in size, and .2 is also
    # 0.20000000000000004: of 16 patterns, 10 are as far from 0 as .2.
    values = np.array([0.1, 0.1, 0.1, -0.1])
    assert disagreement.sign_flip_p(values, 99, 0) == 10 / 16


def test_holm_of_a_worked_case():
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1, and never falling.
    p = [0.04, 0.01, math.nan, 0.03, 0.02]
    expected = [0.06, 0.04, math.nan, 0.06, 0.06]
    np.testing.assert_allclose(disagreement.holm(p), expected)
    np.testing.assert_array_equal(disagreement.holm([0.9, 0.6]), [1, 1])


def test_the_files_tell_the_hand_worked_table(hand, tmp_path):
    found = disagreement.study(hand)
    disagreement_report.write(found, hand, tmp_path / "study", (0.0, 5.0))
    rows = read_csv(tmp_path / "study" / "disagreement.csv")
    assert list(rows[0]) == [
        "emotion",
        "condition",
        "items",
        "raters_min",
        "raters_max",
        "mean_variance",
        "low",
        "high",
    ]
    assert list(rows[1].values()) == [
        "happy",
        "cropped",
        "3",
        "5",
        "5",
        "3.3333333",
        rows[1]["low"],
        rows[1]["high"],
    ]
    assert read_csv(tmp_path / "study" / "comparison.csv")[1] == {
        "emotion": "sad",
        "first": "original",
        "second": "cropped",
        "items": "3",
        "difference": "-3.3333333",
        "low": "-5",
        "high": "-2.5",
        "p": "0.25",
        "p_holm": "0.5",
    }
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["variance"] == "unbiased sample variance (n - 1)"
    assert summary["correction"] == "Holm, over 2 emotions"
    assert "sign-flip" in summary["test"]
    assert summary["ratings"]["kind"] == "intensities"
    assert summary["ratings"]["range"] == [0.0, 5.0]
    assert summary["ratings"]["count"] == 60
    assert summary["settings"]["seed"] == 0
    assert summary["notes"] == []
    assert summary["comparison"][1]["p"] == 0.25
    assert (tmp_path / "study" / "disagreement.png").stat().st_size > 5000


def test_a_later_study_leaves_no_comparison_of_an_earlier_one(read, tmp_path):
    for conditions in (("original", "cropped"), ("original",)):
        ratings = read(HAND, conditions)
        found = disagreement.study(ratings)
        disagreement_report.write(found, ratings, tmp_path, (0.0, 5.0))
    assert not (tmp_path / "comparison.csv").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["comparison"] == []
    assert summary["test"] is None


def test_what_does_not_exist_is_an_empty_cell_and_null(read, tmp_path):
    ratings = read({("a", "sad"): {"i": (1, 2, 3, 4, 5)}})
    found = disagreement.study(ratings, Settings(ddof=0))
    disagreement_report.write(found, ratings, tmp_path, (0.0, 5.0))
    row = read_csv(tmp_path / "disagreement.csv")[0]
    assert (row["mean_variance"], row["low"], row["high"]) == ("2", "", "")
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text)["disagreement"][0]["low"] is None
    assert "NaN" not in text
    told = disagreement_report.format_table(found, ratings)
    assert "population variance (n)" in told
    assert told.splitlines()[-1].split() == ["sad", "a", "1", "5", "2.0000"]


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


@pytest.mark.real
def test_mdns(test_data):
    path = test_data / "ratings" / "mdns_primary_expression_annotations.json"
    ratings = rating_forms.read(str(path), high=4)
    found = disagreement.study(ratings, Settings(min_raters=9))
    assert found.comparisons == ()
    # From the file alone, by another way.
    published = json.loads(path.read_text())
    for cell in found.cells:
        values = [item[cell.emotion] for item in published.values()]
        expected = np.var(values, axis=1, ddof=1).mean()
        assert cell.mean == pytest.approx(expected, abs=1e-12)
        assert (cell.items, cell.raters_min, cell.raters_max) == (1000, 9, 9)
        assert cell.low < cell.mean < cell.high
    assert {c.emotion: round(c.mean, 4) for c in found.cells} == {
        "angry": 1.0294,
        "happy": 0.9429,
        "sad": 1.1261,
        "fear": 1.1265,
        "surprise": 1.4129,
        "disgust": 1.3467,
    }
    with pytest.raises(EmorecError, match="fewer than 10 raters: item "):
        disagreement.study(ratings, Settings(min_raters=10))


@pytest.mark.real
def test_votes_of_crema_d_face_against_both(test_data):
    path = test_data / "ratings" / "crema_d_tabulatedVotes.csv"
    ratings = rating_forms.read(str(path), high=1)
    with pytest.raises(EmorecError, match="'1024_ITS_FEA_XX', condition 'vo"):
        disagreement.study(ratings)
    ratings = ratings.only(["face", "both"])
    settings = Settings(bootstrap=200, permutations=1999)
    found = disagreement.study(ratings, settings)
    # A share s of n raters has the variance s (1 - s) n / (n - 1).
    columns = dict(zip(ratings.emotions, "ADFHNS"))
    digits = {"face": "2", "both": "3"}
    rows = read_csv(path)
    for cell in found.cells:
        chosen = [r for r in rows if r[""][0] == digits[cell.condition]]
        n = np.array([int(r["numResponses"]) for r in chosen])
        s = np.array([int(r[columns[cell.emotion]]) for r in chosen]) / n
        expected = np.mean(s * (1 - s) * n / (n - 1))
        assert cell.mean == pytest.approx(expected, abs=1e-12)
        assert cell.items == 7442
    raters = {(c.condition, c.raters_min, c.raters_max) for c in found.cells}
    assert raters == {("face", 6, 12), ("both", 5, 12)}
    differences = {c.emotion: round(c.difference, 4) for c in found.comparisons}
    assert differences == {
        "anger": 0.0077,
        "disgust": 0.0097,
        "fear": -0.0064,
        "happy": 0.0051,
        "neutral": 0.0037,
        "sad": 0.012,
    }
    for one in found.comparisons:
        assert one.low < one.difference < one.high
        assert one.p_holm < 0.01
    told = disagreement_report.format_table(found, ratings)
    assert told.startswith("860592 votes (0 or 1): 7442 items")
    assert "These are votes, not intensities" in told
