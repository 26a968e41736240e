"""Videos decoded, cut and answered at once: order, batches, errors, ends."""

import threading

import numpy as np
import pytest
from testing.toy_prediction import ToyBackend, ToyDetector
from testing.videos import write_video

from emorec import predict, predict_cuts
from emorec.errors import VideoError


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of 3, 7 and 2 frames, 8 a second, and one of 40."""
    folder = tmp_path_factory.mktemp("videos")
    return [
        str(write_video(folder / f"{n}.mp4", n, fps=8)) for n in (3, 7, 2, 40)
    ]


def threads():
    return [
        t.name for t in threading.enumerate() if t.name.startswith("emorec")
    ]


def told(results):
    return [
        (r.video, r.error, r.clip and (r.clip.start, r.clip.frames_with_face))
        for r in results
        if not r.whole
    ]


def test_results_come_in_order_whatever_is_answered_together(
    videos, monkeypatch
):
    expected = [(videos[0], None, (0.0, 3)), (videos[1], None, (0.0, 4))]
    expected += [(videos[1], None, (0.5, 3)), (videos[2], None, (0.0, 2))]
    expected += [(videos[3], None, (i / 2, 4)) for i in range(10)]
    found = []
    for linger in (0, 60):
        monkeypatch.setattr(predict_cuts, "LINGER_S", linger)
        backend = ToyBackend("clip.clip_frames=4")
        results = list(predict.predict_videos(videos, backend, ToyDetector()))
        assert told(results) == expected
        found.append([r.to_dict() for r in results])
        assert sum(map(sum, backend.asked)) == 52
        assert not threads()
    assert found[0] == found[1]
    # 3 frames, 4 and 3 of the next, 2 and 4 of those after it.
    assert backend.asked[0][:4] == [3, 4, 3, 2]


def test_a_full_batch_waits_for_no_more(videos, monkeypatch):
    monkeypatch.setattr(predict_cuts, "LINGER_S", 60)
    monkeypatch.setattr(predict_cuts, "FULL_FRAMES", 1)
    done = threading.Event()

    def paths():
        yield videos[0]
        assert done.wait(30)
        yield videos[2]

    backend = ToyBackend()
    results = predict.predict_videos(paths(), backend, ToyDetector())
    assert next(results).video == videos[0]
    done.set()
    assert [r.video for r in results] == [videos[2]]
    assert backend.asked == [[3], [2]]


def test_progress_counts_videos(videos, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.touch()
    seen = []
    results = predict.predict_videos(
        [*videos, str(bad)], ToyBackend(), ToyDetector(), progress=seen.append
    )
    assert [r.video for r in results][-1] == str(bad)
    assert [n for n in seen if n == int(n)] == [1, 2, 3, 4, 5]
    assert seen == sorted(seen)
    # The video of 40 frames has two windows, the first of 32.
    assert [n for n in seen if 3 < n < 4] == [3.8, 3.99]


def test_what_was_read_before_an_error_is_answered(videos):
    """The last video fails in its 25th frame; the next one is read."""
    backend = ToyBackend("clip.clip_frames=4", "detector.batch_frames=8")
    detector = ToyDetector(fails_after=24)
    results = list(predict.predict_videos([videos[3]], backend, detector))
    assert told(results) == [
        *((videos[3], None, (i / 2, 4)) for i in range(4)),
        (videos[3], "the detector fails", None),
    ]
    with pytest.raises(VideoError, match="the detector fails"):
        list(predict.predict_video(videos[3], backend, ToyDetector(24)))
    assert not threads()


def test_another_error_of_the_detector_is_raised(videos):
    detector = ToyDetector(fails_after=24, error=ZeroDivisionError)
    with pytest.raises(ZeroDivisionError, match="the detector fails"):
        list(predict.predict_videos([videos[3]], ToyBackend(), detector))
    assert not threads()


@pytest.mark.parametrize("how", ["close", "backend"])
def test_the_threads_end_with_the_results(videos, how):
    class Failing(ToyBackend):
        def predict(self, clips):
            raise ZeroDivisionError("the backend fails")

    if how == "close":
        results = predict.predict_videos(
            videos * 3, ToyBackend("clip.clip_frames=1"), ToyDetector()
        )
        next(results)
        assert threads()
        results.close()
    else:
        with pytest.raises(ZeroDivisionError, match="the backend fails"):
            list(predict.predict_videos(videos, Failing(), ToyDetector()))
    assert not threads()


def test_a_warning_is_on_the_last_result(tmp_path):
    pictures = np.random.default_rng(0).integers(
        0, 255, (40, 48, 64, 3), np.uint8
    )
    path = write_video(tmp_path / "cut.mkv", fps=8, pictures=list(pictures))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    backend = ToyBackend("clip.clip_frames=4")
    results = list(predict.predict_videos([str(path)], backend, ToyDetector()))
    assert len(results) > 2
    *others, last = [r.warning for r in results if not r.whole]
    assert others == [None] * len(others)
    assert "is damaged or cut short" in last
