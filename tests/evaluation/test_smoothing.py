"""Curves over time, and their smoothing, against values by hand."""

import numpy as np
import pytest

from emorec.errors import UsageError
from emorec.evaluation import smoothing


def test_each_point_becomes_the_mean_around_it():
    times = [0, 1, 2, 3, 10]
    values = [1.0, 0.0, 0.0, 1.0, 5.0]
    made = smoothing.smooth(times, values, 2.0)
    # Shorter at the ends, and beside a gap: nothing comes across it.
    np.testing.assert_allclose(made, [0.5, 1 / 3, 1 / 3, 0.5, 5])


def test_smoothing_keeps_probabilities_and_moves_nothing():
    draw = np.random.default_rng(5)
    times = np.sort(draw.uniform(0, 30, 200))
    values = draw.dirichlet(np.ones(8), 200)
    made = smoothing.smooth(times, values, 1.5)
    np.testing.assert_allclose(made.sum(1), 1, rtol=1e-12)
    assert (made >= -1e-12).all() and made.std() < values.std()
    # By hand, point by point.
    near = np.abs(times[:, None] - times[None]) <= 0.75
    np.testing.assert_allclose(made, near @ values / near.sum(1)[:, None])
    # Backwards in time it is the same: it looks ahead as far as back.
    back = smoothing.smooth(-times[::-1], values[::-1], 1.5)[::-1]
    np.testing.assert_allclose(made, back)


def test_no_smoothing_is_none():
    values = np.array([[0.2, 0.8], [0.6, 0.4]])
    np.testing.assert_array_equal(smoothing.smooth([0, 1], values, 0), values)
    assert smoothing.smooth([], np.zeros((0, 3)), 2).shape == (0, 3)
    assert smoothing.stated(0) == smoothing.stated(None) == ""
    assert "mean over 1.5 s around it" in smoothing.stated(1.5)


@pytest.mark.parametrize(
    "times, seconds, message",
    [
        ([0, 1], -1, "0 to 3600 seconds. Received: -1"),
        ([0, 1], float("nan"), "Received: nan"),
        ([0, 1], 4000, "Received: 4000"),
        ([1, 0], 1, "must not run backwards"),
        ([0, 1, 2], 1, "equally many. Received: 3 and 2"),
    ],
)
def test_smoothing_refuses_what_makes_no_sense(times, seconds, message):
    with pytest.raises(UsageError, match=message):
        smoothing.smooth(times, [[1.0], [0.0]], seconds)
