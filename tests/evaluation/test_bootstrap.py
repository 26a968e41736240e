"""Intervals by counts are those of redrawn clips; McNemar's p is exact."""

import numpy as np
import pytest
import scipy.stats

from emorec.evaluation import bootstrap, metrics


def drawn_case(n, k, seed):
    """Labels, and answers that are right in about half of the clips."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, k, n)
    answers = np.where(
        random.random(n) < 0.5, labels, random.integers(0, k + 1, n)
    )
    return labels, answers


def figures(labels, answers, k):
    sure = np.eye(k + 1)[answers][:, :k]
    names = [str(i) for i in range(k)]
    found = metrics.evaluate(labels, sure, answers < k, names)
    return [getattr(found, name) for name in bootstrap.COUNTED]


def test_the_intervals_are_those_of_redrawn_clips():
    """Against the plain way: clips redrawn one by one, measured anew."""
    labels, answers = drawn_case(50, 3, 0)
    found = bootstrap.intervals(labels, answers, 3)
    random = np.random.default_rng(1)
    redrawn = []
    for _ in range(1500):
        chosen = random.integers(0, 50, 50)
        redrawn.append(figures(labels[chosen], answers[chosen], 3))
    expected = np.quantile(redrawn, (0.025, 0.975), axis=0).T
    for name, ends in zip(bootstrap.COUNTED, expected, strict=True):
        np.testing.assert_allclose(found[name], ends, atol=0.025)
        assert found[name][1] - found[name][0] > 0.15, name


def test_a_difference_is_drawn_over_the_same_clips():
    labels, first = drawn_case(200, 4, 2)
    same = bootstrap.differences(labels, first, first, 4)
    # Drawn apart, two equal models would differ by luck.
    assert same == dict.fromkeys(bootstrap.COUNTED, (0.0, 0.0))
    better = np.where(np.arange(200) < 40, labels, first)
    for low, high in bootstrap.differences(labels, first, better, 4).values():
        assert 0 < low < high < 1
    for low, high in bootstrap.differences(labels, better, first, 4).values():
        assert -1 < low < high < 0


def test_the_figures_are_those_of_the_metrics():
    """On the counts as they are, classes that are absent among them."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        k = int(random.integers(2, 7))
        labels = random.integers(0, max(1, k - 1), 9)
        answers = random.integers(0, k + 1, 9)
        counts = [
            np.bincount(labels, minlength=k)[:k],
            np.bincount(answers, minlength=k + 1)[:k],
            np.bincount(labels[labels == answers], minlength=k)[:k],
        ]
        found = bootstrap._measured(*(c[None].astype(float) for c in counts))
        ours = [float(found[name][0]) for name in bootstrap.COUNTED]
        assert ours == pytest.approx(figures(labels, answers, k))


def test_draws_follow_from_the_seed_and_not_from_the_blocks(monkeypatch):
    labels, answers = drawn_case(40, 3, 3)
    once = bootstrap.intervals(labels, answers, 3)
    assert bootstrap.intervals(labels, answers, 3, seed=1) != once
    # In whatever order the clips come, and in blocks of whatever size.
    monkeypatch.setattr(bootstrap, "_BLOCK", 100)
    order = np.random.default_rng(4).permutation(40)
    assert bootstrap.intervals(labels[order], answers[order], 3) == once


def test_one_clip_has_no_interval():
    found = bootstrap.intervals(np.array([1]), np.array([1]), 3)
    assert found == dict.fromkeys(bootstrap.COUNTED)


def test_answers_that_are_all_wrong_or_all_right_have_no_interval():
    """Every draw is like the others, which is no certainty."""
    labels = np.array([0, 1, 2])
    found = bootstrap.intervals(labels, (labels + 1) % 3, 3)
    assert found == dict.fromkeys(bootstrap.COUNTED)
    found = bootstrap.intervals(labels, labels, 3)
    assert found["acc"] is found["uar"] is found["macro_f1"] is None
    # A draw may lack a class, and its precision is 0 then.
    assert found["map"] == (1 / 3, 1.0)


def test_mcnemar():
    # 2 (C(10, 0) + C(10, 1)) / 2^10
    assert bootstrap.mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert bootstrap.mcnemar(9, 1) == bootstrap.mcnemar(1, 9)
    assert bootstrap.mcnemar(0, 0) == bootstrap.mcnemar(7, 7) == 1.0
    # 2^n is beyond a float here.
    expected = scipy.stats.binomtest(2900, 6000).pvalue
    assert bootstrap.mcnemar(2900, 3100) == pytest.approx(expected, rel=1e-9)
