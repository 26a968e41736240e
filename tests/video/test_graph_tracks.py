"""Tracks in a graph against `Tracker`, and the choice of the main person."""

import numpy as np
import pytest
import tensorflow as tf

from emorec.config import TrackConfig
from emorec.video.graph_faces import Faces
from emorec.video.graph_tracks import main_person, track
from emorec.video.tracks import Tracker

CONFIG = TrackConfig(min_iou=0.3, max_gap_s=1.0, min_frames=3, min_score=0.95)
SPECS = [
    tf.TensorSpec((None,), tf.float64),
    tf.TensorSpec((None,), tf.int32),
    tf.TensorSpec((None, 4), tf.float32),
    tf.TensorSpec((None,), tf.float32),
]


@pytest.fixture(scope="module")
def follow():
    @tf.function(input_signature=SPECS, autograph=False)
    def graph(times, frames, boxes, scores):
        faces = Faces(frames, boxes, scores)
        ids, people = track(times, faces, CONFIG)
        main = main_person(faces, ids, people, tf.shape(times)[0], CONFIG)
        return ids, people, main

    def run(times, by_frame, scores=None):
        """Takes the boxes of each frame; returns ids, people, main."""
        frames = [i for i, boxes in enumerate(by_frame) for _ in boxes]
        boxes = [box for boxes in by_frame for box in boxes]
        if scores is None:
            scores = np.full(len(frames), 0.99)
        made = graph(
            np.asarray(times, np.float64),
            np.asarray(frames, np.int32),
            np.asarray(boxes, np.float32).reshape(-1, 4),
            np.asarray(scores, np.float32),
        )
        ids, people, main = (x.numpy() for x in made)
        return ids.tolist(), int(people), main.tolist()

    return run


def by_tracker(times, by_frame) -> list[int]:
    tracker, ids = Tracker(CONFIG), []
    for time, boxes in zip(times, by_frame):
        if len(boxes):
            ids += tracker.update(time, np.asarray(boxes, np.float32))
    return ids


def square(x, y=0, side=10):
    return [x, y, x + side, y + side]


@pytest.mark.parametrize("seed", range(6))
def test_ids_are_the_tracker_s(follow, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.choice([0, 0.125, 0.5, 1.01], 60))
    walkers = rng.uniform(0, 60, (8, 2))
    by_frame = []
    for _ in times:
        walkers = walkers + rng.normal(0, 2, walkers.shape)
        seen = walkers[rng.random(8) < rng.choice([0, 0.4, 0.9])]
        # Whole numbers, so that some overlaps are equal.
        by_frame.append([square(*np.round(w)) for w in seen])
    ids, people, _ = follow(times, by_frame)
    expected = by_tracker(times, by_frame)
    assert ids == expected
    assert people == max(expected) + 1 > 8


def test_equal_overlaps_go_to_the_older_track(follow):
    by_frame = [[square(0), square(10)], [square(5)], [square(0), square(10)]]
    times = [0, 0.1, 0.2]
    assert follow(times, by_frame)[0] == by_tracker(times, by_frame)
    assert follow(times, by_frame)[0][:3] == [0, 1, 0]


def test_a_gap_ends_a_track(follow):
    by_frame = [[square(0)], [], [square(0)], [square(0)]]
    assert follow([0, 0.5, 1.0, 2.0], by_frame)[0] == [0, 0, 0]
    # A millisecond more than a second still counts as one.
    assert follow([0, 0.5, 1.0009, 1.1], by_frame)[0] == [0, 0, 0]
    assert follow([0, 0.5, 1.002, 2.0], by_frame)[0] == [0, 1, 1]


def test_nobody(follow):
    assert follow([0, 1, 2], [[], [], []]) == ([], 0, [])
    assert follow([], []) == ([], 0, [])


TIMES = np.arange(6) / 8


def test_the_main_person_covers_most(follow):
    # Longer in the picture, but smaller.
    by_frame = [[square(0), square(50, side=20)]] * 3 + [[square(0)]] * 3
    ids, people, main = follow(TIMES, by_frame)
    assert (ids, people) == ([0, 1, 0, 1, 0, 1, 0, 0, 0], 2)
    assert main == [i == 1 for i in ids]


def test_ties_go_to_the_lowest_id(follow):
    by_frame = [[square(50), square(0)]] * 3
    assert follow(TIMES[:3], by_frame)[2] == [True, False] * 3


def test_a_short_track_is_no_person(follow):
    by_frame = [[square(0)]] * 4 + [[square(0), square(50, side=40)]] * 2
    ids, _, main = follow(TIMES, by_frame)
    assert main == [i == 0 for i in ids]
    # But the video itself may be short.
    by_frame = [[square(0), square(50, side=40)]] * 2
    assert follow(TIMES[:2], by_frame)[2] == [False, True] * 2
    # Two of three frames are too few, and then there is nobody.
    assert follow(TIMES[:3], [[square(0)]] * 2 + [[]])[2] == [False] * 2


def test_one_sure_face_makes_a_person(follow):
    by_frame = [[square(0), square(50, side=40)]] * 3
    doubtful = [0.9, 0.9, 0.96, 0.94, 0.9, 0.9]
    assert follow(TIMES[:3], by_frame, doubtful)[2] == [True, False] * 3
    assert follow(TIMES[:3], by_frame, [0.94] * 6)[2] == [False] * 6
