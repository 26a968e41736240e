"""Boxes joined into people."""

import numpy as np
import pytest

from emorec.config import TrackConfig
from emorec.video.tracks import Tracker, iou_matrix, match


def box(x, y, side=10.0) -> np.ndarray:
    return np.float32([x, y, x + side, y + side])


def follow(frames, **config) -> list[list[int]]:
    """Returns the ids of frames of boxes, one 1/8 s after the other."""
    tracker = Tracker(TrackConfig(**config))
    return [
        tracker.update(i / 8, np.array(boxes).reshape(-1, 4))
        for i, boxes in enumerate(frames)
    ]


def test_iou_by_hand():
    found = iou_matrix(
        np.array([[0, 0, 10, 10], [0, 0, 4, 5], [3, 3, 3, 9]]),
        np.array(
            [
                [0, 0, 10, 10],
                [5, 0, 15, 10],  # 50 of 150 with the first.
                [10, 0, 20, 10],  # Touches it.
                [2, 2, 4, 4],  # Within it; 4 of 20 with the second.
                [5, 5, 5, 5],
            ]
        ),
    )
    np.testing.assert_allclose(
        found,
        [
            [1, 1 / 3, 0, 0.04, 0],
            [0.2, 0, 0, 0.2, 0],
            [0, 0, 0, 0, 0],
        ],
    )
    assert found.dtype == np.float64


def test_iou_of_no_boxes():
    assert iou_matrix(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert iou_matrix(np.zeros((2, 4)), np.zeros((0, 4))).shape == (2, 0)


def test_a_box_turned_inside_out_overlaps_nothing():
    inside_out = np.array([[10, 10, 0, 0]])
    assert iou_matrix(inside_out, np.array([[0, 0, 10, 10]]))[0, 0] == 0
    assert iou_matrix(inside_out, inside_out)[0, 0] == 0


def test_two_people_who_cross_keep_their_ids():
    # One walks right and one left, past each other, a head apart in height.
    frames = [
        [box(4 * i, 0), box(80 - 4 * i, 6)]
        if i % 2
        else [box(80 - 4 * i, 6), box(4 * i, 0)]
        for i in range(21)
    ]
    found = follow(frames)
    assert found[0] == [0, 1]  # The first frame names the left walker 0.
    for i, ids in enumerate(found):
        assert ids == ([1, 0] if i % 2 else [0, 1])


def test_the_best_pair_comes_first():
    # The new box overlaps both; the nearer person gets it, whatever the
    # order, and the other one's own box stays his.
    for order in ([0, 1], [1, 0]):
        first = [box(0, 0), box(6, 0)]
        second = [box(5, 0), box(1, 0)]
        found = follow([first, [second[i] for i in order]])
        assert found[0] == [0, 1]
        assert found[1] == [[1, 0][i] for i in order]


def test_an_overlap_below_min_iou_is_another_person():
    frames = [[box(0, 0)], [box(5, 0)]]  # IoU 1/3.
    assert follow(frames, min_iou=0.33) == [[0], [0]]
    assert follow(frames, min_iou=0.34) == [[0], [1]]


@pytest.mark.parametrize("missing, same", [(1, True), (7, True), (8, False)])
def test_a_gap(missing, same):
    """8 frames are 1 s: 7 missing ones make a gap of just max_gap_s."""
    frames = [[box(0, 0)], *[[]] * missing, [box(1, 0)]]
    found = follow(frames, max_gap_s=1.0)
    assert found[0] == [0] and found[-1] == ([0] if same else [1])
    assert found[1:-1] == [[]] * missing


def test_a_person_who_left_does_not_take_the_newcomer():
    here, there = box(0, 0), box(50, 0)
    frames = [[here, there], [there], [there], [there, here]]
    # Back within the gap, and later than it.
    assert follow(frames, max_gap_s=1.0)[-1] == [1, 0]
    assert follow(frames, max_gap_s=0.25)[-1] == [1, 2]


def test_without_a_gap_every_frame_must_follow():
    frames = [[box(0, 0)], [box(0, 0)]]
    assert follow(frames, max_gap_s=0.0) == [[0], [1]]


def test_equal_overlaps_go_to_the_older_person():
    frames = [[box(0, 0)], [box(0, 0), box(0, 0)], [box(0, 0)]]
    assert follow(frames) == [[0], [0, 1], [0]]


def test_ids_do_not_depend_on_how_frames_arrive():
    """Any number of frames at a time; a tracker sees one after the other."""
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 200, (5, 2))
    frames = []
    for _ in range(60):
        places += rng.normal(0, 2, places.shape)
        shown = rng.permutation(5)[: rng.integers(0, 6)]
        frames.append([box(*places[i], 20) for i in shown])
    whole = follow(frames)
    assert len({i for ids in whole for i in ids}) >= 5
    for ids in whole:
        assert len(set(ids)) == len(ids)
    tracker = Tracker(TrackConfig())
    again = []
    for begin in range(0, 60, 7):
        for i in range(begin, min(begin + 7, 60)):
            boxes = np.array(frames[i]).reshape(-1, 4)
            again.append(tracker.update(i / 8, boxes))
    assert again == whole
    assert follow(frames[:30]) == whole[:30]


def test_match_takes_the_best_pair_first_and_each_box_once():
    a = np.stack([box(0, 0), box(3, 0), box(50, 0)])
    b = np.stack([box(4, 0), box(0, 0), box(90, 0)])
    assert match(a, b, 0.3) == [(0, 1), (1, 0)]
    # Alone, the second would take the first's: 7 of 13.
    assert match(a[1:], b[1:], 0.3) == [(0, 0)]
    assert match(a[1:], b[1:], 0.6) == []
    # Equal overlaps: the earlier one of the first, then of the second.
    assert match(a[[0, 0]], b[[1, 1]], 0.3) == [(0, 0), (1, 1)]
    assert match(a, b[:0], 0.3) == match(a[:0], b, 0.3) == []
