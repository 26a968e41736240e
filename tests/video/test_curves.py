"""Answers over time: windows with gaps, windows that overlap, whole videos."""

import dataclasses

import numpy as np
import pytest

from emorec.answers import Summary
from emorec.labels import LabelSet
from emorec.results import Answer, Calibration, Result
from emorec.video.clip import Clip
from emorec.video.curves import curves

LABELS = LabelSet("auto", ("calm", "glad"))


def window(start, end, glad, *, times=None, track=0, video="a.mp4", **changes):
    total = round((end - start) * 8)
    if times is None:
        times = start + np.arange(total) / 8
    n = len(times)
    clip = Clip(
        track=track,
        window=0,
        start=start,
        end=end,
        times=np.asarray(times, np.float32),
        boxes=np.tile(np.float32([10, 10, 30, 40]), (n, 1)),
        face=(b"",) * n,
        context=(b"",) * n,
        frames_total=total,
        frame_size=(64, 48),
    )
    answer = Answer(np.array([1 - glad, glad], np.float32), None)
    return Result(video, clip, answer, LABELS, **changes)


def spans(person):
    return [
        (
            round(s.start, 3),
            round(s.end, 3),
            round(float(s.probabilities[1]), 3),
        )
        for s in person.spans
    ]


def test_windows_one_after_the_other_are_steps():
    (person,) = curves([window(0, 4, 0.75), window(4, 6, 0.25)])
    assert spans(person) == [(0, 4, 0.75), (4, 6, 0.25)]
    assert [s.label for s in person.spans] == ["glad", "calm"]
    assert person.faces == ((0.0, 6.0),)
    assert (person.frames, person.frames_with_face) == (48, 48)
    # Weighted by frames: (32 * .75 + 16 * .25) / 48.
    assert person.whole.probabilities[1] == pytest.approx(7 / 12)
    assert person.at(1.0).label == "glad"
    assert person.at(5.0).label == "calm"
    assert person.at(7.0) is None


def test_where_windows_overlap_their_mean_holds():
    (person,) = curves([window(2, 6, 0.2), window(0, 4, 0.8)])
    assert spans(person) == [(0, 2, 0.8), (2, 4, 0.5), (4, 6, 0.2)]
    # Of the two, the first alone is counted until it ends.
    assert (person.frames, person.windows) == (32, 2)


def test_nothing_is_told_of_a_gap():
    early = window(0, 1, 0.9, times=[0, 0.125, 0.75])
    (person,) = curves([early, window(3, 4, 0.9)])
    assert spans(person) == [(0, 1, 0.9), (3, 4, 0.9)]
    assert person.at(2.0) is None
    np.testing.assert_allclose(
        person.faces, [(0, 0.25), (0.75, 0.875), (3, 4)], atol=1e-6
    )
    assert (person.frames, person.frames_with_face) == (16, 11)


def test_a_slow_video_has_no_gaps():
    slow = window(0, 1.125, 0.9, times=[0, 1])
    clip = dataclasses.replace(slow.clip, frames_total=2)
    (person,) = curves([dataclasses.replace(slow, clip=clip)])
    assert person.faces == ((0.0, 1.125),)


def test_people_and_videos_are_kept_apart():
    people = curves(
        [
            window(0, 1, 0.9),
            window(0, 1, 0.1, track=1),
            window(0, 1, 0.5, video="b.mp4"),
        ]
    )
    assert [(p.video, p.track) for p in people] == [
        ("a.mp4", 0),
        ("a.mp4", 1),
        ("b.mp4", 0),
    ]


def test_the_answer_for_the_whole_video_is_taken_over():
    summary = Summary(0, 0.0, 6.0, 100, 40, 2, (64, 48))
    whole = Result(
        "a.mp4",
        None,
        Answer(np.array([0.9, 0.1], np.float32), None),
        LABELS,
        summary=summary,
    )
    person, other = curves(
        [window(0, 4, 0.75), window(0, 4, 0.75, track=1), whole]
    )
    assert person.whole.label == "calm"
    assert (person.frames, person.frames_with_face) == (100, 40)
    assert (other.frames, other.frames_with_face) == (100, 32)


def test_confidence_is_calibrated_and_may_be_uncertain():
    cooled = Calibration(temperature=2.0, threshold=0.7)
    (person,) = curves([window(0, 1, 0.8, calibration=cooled)])
    # softmax(log(.8, .2) / 2) = 2 / 3.
    assert person.spans[0].confidence == pytest.approx(2 / 3)
    assert person.spans[0].uncertain
    assert person.spans[0].probabilities[1] == pytest.approx(0.8)


def test_errors_and_videos_without_a_face_are_nobody():
    nobody = Result("x.mp4", None, None, LABELS, error="x.mp4: bad")
    assert curves([nobody]) == []
