"""Candidates in a graph against those in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from emorec.video import candidates, graph_boxes

ROWS = tf.TensorSpec((None, 6), tf.float64)


@pytest.fixture(scope="module")
def suppress():
    """Two functions: by the union, by the smaller box; overlap .5."""
    return [
        tf.function(
            lambda rows, s=smaller: graph_boxes.suppress(rows, 0.5, s),
            input_signature=[ROWS],
        )
        for smaller in (False, True)
    ]


def scattered(count, frames, seed=0) -> np.ndarray:
    """Returns unsorted rows that overlap a lot, with equal logits."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (count, 2))
    return np.column_stack(
        [
            rng.integers(0, frames, count),
            corner,
            corner + rng.uniform(15, 40, (count, 2)),
            # f32 as networks give them; one in some is equal to another.
            rng.integers(-40, 40, count).astype(np.float32) / 8,
        ]
    )


@pytest.mark.parametrize("smaller", [0, 1])
@pytest.mark.parametrize(
    "count, frames", [(0, 1), (1, 1), (40, 3), (700, 1), (900, 5)]
)
def test_suppresses_as_numpy_does(suppress, count, frames, smaller):
    rows = scattered(count, frames)
    kept = suppress[smaller](rows).numpy()
    expected = candidates.suppress(rows, 0.5, bool(smaller))
    assert count < 2 or 0 < len(expected) < count
    np.testing.assert_array_equal(kept, expected)


def test_a_dropped_box_drops_others_of_its_frame(suppress):
    # Each overlaps the next one by 2/3, and the next but one by less than .5.
    chain = [[0, x, 0, x + 50, 10, 9 - x] for x in (0, 10, 20)]
    alone = [[1, 20, 0, 70, 10, -9]]
    kept = suppress[0](np.array(chain + alone, float)).numpy()
    assert kept[:, [0, 1]].tolist() == [[0, 0], [1, 20]]


def test_squares_as_numpy_does():
    rows = scattered(20, 2)
    np.testing.assert_array_equal(
        graph_boxes.squared(tf.constant(rows)), candidates.squared(rows)
    )
    assert graph_boxes.squared(graph_boxes.empty()).shape == (0, 6)
