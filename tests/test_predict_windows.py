"""Windows, rates and whole answers; videos that are unlike the usual."""

import numpy as np
import pytest
from testing.toy_prediction import ToyBackend, ToyDetector, make
from testing.videos import turn, write_video

from emorec import predict, predict_workers
from emorec.errors import UsageError
from emorec.predict import Windows
from emorec.predict_cuts import Cutting
from emorec.video.faces import Detections


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of 5 s, 40 frames, 8 a second."""
    return str(write_video(tmp_path_factory.mktemp("v") / "v.mp4", 40, fps=8))


def predicted(video, detector=None, backend=None, **how):
    return list(
        predict.predict_videos(
            [str(video)],
            backend or ToyBackend(),
            detector or ToyDetector(),
            **how,
        )
    )


def spans(results):
    return [(r.start, r.end, r.frames) for r in results]


@pytest.mark.parametrize(
    "every, wanted",
    [
        ("2", [(0, 2, 16), (2, 4, 16), (4, 5, 8)]),
        # The last 1 s lies in the window before it.
        ("2,1", [(0, 2, 16), (1, 3, 16), (2, 4, 16), (3, 5, 16)]),
        ("2,1.5", [(0, 2, 16), (1.5, 3.5, 16), (3, 5, 16)]),
        ("1,2", [(0, 1, 8), (2, 3, 8), (4, 5, 8)]),
        ("60", [(0, 5, 40)]),
    ],
)
def test_windows_and_one_answer_for_the_whole(video, every, wanted):
    *windows, whole = predicted(video, every=Windows.parse(every))
    assert spans(windows) == wanted
    assert not any(r.whole for r in windows)
    assert whole.whole and whole.windows == len(windows)
    # Each frame counts once, though it may lie in two windows.
    frames = 24 if every == "1,2" else 40
    assert (whole.frames, whole.frames_with_face) == (frames, frames)
    assert (whole.start, whole.end) == (0, 5)
    np.testing.assert_allclose(
        whole.answer.probabilities,
        np.average(
            [r.answer.probabilities for r in windows],
            axis=0,
            weights=[r.frames for r in windows],
        ),
        rtol=1e-6,
    )
    assert whole.to_dict()["whole"] is True
    assert "per_frame" not in whole.to_dict()


def test_a_frame_is_cut_out_once_for_all_its_windows(video):
    first, second, *_ = predicted(video, every=Windows(2, 1))
    shared = dict(zip(first.clip.times.tolist(), first.clip.face))
    times = second.clip.times.tolist()
    assert times[0] == 1.0
    for time, face in zip(times[:8], second.clip.face, strict=False):
        assert shared[time] is face


def test_without_windows_whole_answers_come_where_there_are_several(video):
    one, two, whole = predicted(video)
    assert spans([one, two]) == [(0, 4, 32), (4, 5, 8)]
    assert whole.whole and whole.windows == 2
    (alone,) = predicted(video, backend=ToyBackend("clip.clip_frames=40"))
    assert not alone.whole


def test_the_rate_is_what_is_asked_for(video):
    for fps, count in ((2, 10), (4, 20), (0.5, 3), (100, 40)):
        result = predicted(video, fps=fps, every=Windows(20))[0]
        assert result.frames == count
        # One person, however far apart the frames are.
        assert result.frames_with_face == count
        assert result.track == 0


class Several:
    """Finds a row of so many faces in each frame, 60 pixels wide each.

    Args:
        count: Gives the number of faces in the n-th frame.
    """

    def __init__(self, count):
        self._count = count
        self._seen = 0

    def detect(self, frames):
        found = []
        for _ in frames:
            count = self._count(self._seen)
            self._seen += 1
            left = np.arange(count) * 64.0
            boxes = np.stack(
                [left, left * 0 + 4, left + 60, left * 0 + 60], axis=1
            )
            # The later one is, the larger.
            boxes[:, 3] += np.arange(count)
            found.append(
                Detections(boxes.astype(np.float32), np.ones(count, np.float32))
            )
        return found


def test_the_main_person_gets_one_whole_answer(tmp_path):
    path = write_video(tmp_path / "two.mp4", 24, fps=8, size=(192, 96))
    # A second, larger one comes for the middle window.
    detector = Several(lambda n: 2 if 8 <= n < 16 else 1)
    *windows, whole = predicted(path, detector, every=Windows(1), people="main")
    assert [r.track for r in windows] == [0, 1, 0]
    assert (whole.track, whole.windows) == (0, 3)
    assert whole.frames == whole.frames_with_face == 24
    everybody = predicted(
        path, Several(lambda n: 2 if 8 <= n < 16 else 1), every=Windows(1)
    )
    wholes = [r for r in everybody if r.whole]
    assert [(r.track, r.windows) for r in wholes] == [(0, 3), (1, 1)]
    assert [r.coverage for r in wholes] == [1, 8 / 24]


def test_thirty_people(tmp_path):
    path = write_video(tmp_path / "crowd.mp4", 16, fps=8, size=(1920, 96))
    results = predicted(path, Several(lambda n: 30), every=Windows(1))
    assert [r.track for r in results if r.whole] == list(range(30))
    assert len(results) == 3 * 30


def test_a_portrait_a_blink_and_two_hours(tmp_path):
    portrait = turn(write_video(tmp_path / "p.mp4", 8, fps=8, size=(96, 64)))
    (result,) = predicted(portrait)
    assert result.clip.frame_size == (64, 96)
    blink = write_video(tmp_path / "b.mp4", 6, fps=30)
    (result,) = predicted(blink)
    assert (result.frames, result.end) == (2, 0.25)
    assert result.answer is not None
    hours = write_video(
        tmp_path / "h.mp4", times=[5.0 * i for i in range(1440)], fps=1
    )
    seen = []
    *windows, whole = predicted(
        hours,
        backend=ToyBackend("clip.crop_size=32"),
        fps=0.2,
        every=Windows(600, 300),
        progress=seen.append,
    )
    assert len(windows) == 23
    assert windows[-1].end == whole.end == 7200
    assert whole.frames_with_face == 1440
    assert seen == sorted(seen) and seen[-1] == 1
    assert any(0.45 < share < 0.55 for share in seen)


def test_workers_and_batches_change_nothing(video, monkeypatch):
    how = {"people": "main", "fps": 4.0, "every": Windows(2, 1)}
    backend, detector = make()
    expected = list(
        predict.predict_videos([video] * 3, backend, detector, **how)
    )
    assert sum(r.whole for r in expected) == 3
    told = [r.to_dict() for r in expected]
    monkeypatch.setattr("emorec.predict_cuts.BATCH_CLIPS", 1)
    alone = predict.predict_videos([video] * 3, *make(), **how)
    assert [r.to_dict() for r in alone] == told
    job = predict_workers.Job(make, workers=2, cutting=Cutting(**how))
    ended = []
    with predict_workers.Workers(job) as workers:
        found = list(workers.predict([video] * 3, ended=ended.append))
    assert [r.to_dict() for r in found] == told
    assert ended == [1, 2, 3]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "`every` must be WINDOW or WINDOW,STRIDE in seconds, as in"),
        ("1,2,3", "Received: '1,2,3'"),
        ("ten", "Received: 'ten'"),
        ("0", "each over 0. Received: 0"),
        ("2,-1", "each over 0. Received: 2,-1"),
        ("nan", "each over 0. Received: nan"),
        (
            "513",
            "windows of 4096 frames at most, 512 s at 8 fps. Received: 513",
        ),
        ("100,1", "a frame in 64 windows at most; take a longer stride"),
    ],
)
def test_windows_that_cannot_be(video, text, said):
    with pytest.raises(UsageError) as caught:
        predicted(video, every=Windows.parse(text))
    assert said in str(caught.value)


@pytest.mark.parametrize("fps", [0, -1, 241, float("nan")])
def test_rates_that_cannot_be(video, fps):
    with pytest.raises(UsageError, match="`fps` must be 0.01 to 240. Received"):
        predicted(video, fps=fps)
