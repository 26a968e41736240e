"""Videos to results: windows, people, backends, and what is written."""

import dataclasses
import json

import numpy as np
import pytest
from testing.toy_prediction import ToyBackend
from testing.videos import write_video

from emorec import local_backend, predict, saved_model_backend
from emorec.config import Config
from emorec.errors import ModelError, VideoError
from emorec.evaluation import batches
from emorec.training import bundle, graphs
from emorec.video.clip import Clip
from emorec.video.faces import FaceDetector


@pytest.fixture(scope="module")
def local(model_dir):
    # In float32, as what is exported.
    made = graphs.of(bundle.load(model_dir)).with_bfloat16("none")
    return local_backend.LocalBackend(made)


@pytest.fixture(scope="module")
def exported(base_path):
    return saved_model_backend.SavedModelBackend(base_path)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(Config().detector)


@pytest.fixture(scope="module")
def videos(sample_set):
    return [str(p) for p in sorted(sample_set.parent.rglob("*.mp4"))[:3]]


def test_the_model_and_its_export_agree_on_videos(
    local, exported, detector, videos
):
    ours = list(predict.predict_videos(videos, local, detector))
    theirs = list(predict.predict_videos(videos, exported, detector))
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs, strict=True):
        n = a.clip.frames_with_face
        assert n == 6
        np.testing.assert_allclose(
            a.answer.probabilities, b.answer.probabilities, atol=1e-5, rtol=0
        )
        assert a.answer.attention.shape == b.answer.attention.shape == (n, n)
        np.testing.assert_allclose(
            a.answer.attention, b.answer.attention, atol=1e-5, rtol=0
        )
        np.testing.assert_allclose(a.answer.attention.sum(1), 1, rtol=1e-5)
    apart = ours[0].answer.probabilities - ours[2].answer.probabilities
    assert np.abs(apart).max() > 1e-4, "all answers are alike"


@pytest.mark.parametrize("name", ["local", "exported"])
def test_clips_of_unequal_lengths_do_not_change_each_other(
    request, name, local, detector, videos
):
    backend = request.getfixturevalue(name)
    clips = [r.clip for r in predict.predict_videos(videos, local, detector)]
    cut = [shortened(clip, n) for clip, n in zip(clips, (6, 1, 3))]
    together = backend.predict(cut)
    for clip, answer in zip(cut, together, strict=True):
        (alone,) = backend.predict([clip])
        np.testing.assert_allclose(
            answer.probabilities, alone.probabilities, atol=1e-5, rtol=0
        )
        assert answer.attention.shape == alone.attention.shape
        np.testing.assert_allclose(
            answer.attention, alone.attention, atol=1e-5, rtol=0
        )


def shortened(clip, n):
    return dataclasses.replace(
        clip,
        times=clip.times[:n],
        boxes=clip.boxes[:n],
        face=clip.face[:n],
        context=clip.context[:n],
    )


def test_backends_say_what_they_are(local, exported):
    for backend in (local, exported):
        plain = backend.config.override(["features.bfloat16=none"])
        assert plain == local.config
        assert backend.labels == local.labels
        assert backend.description == local.description
        assert backend.description["system"] == "caca_rnn_a"


class Remembering(ToyBackend):
    """A backend that notes the sizes of what it is asked, and says "glad"."""

    def predict(self, clips):
        self.asked.append([c.frames_with_face for c in clips])
        return [predict.Answer(np.array([0.25, 0.75]), None) for _ in clips]


def test_a_long_video_is_asked_for_in_batches(detector, videos):
    backend = Remembering("clip.clip_frames=1", "video.fps=24")
    results = list(predict.predict_video(videos[0], backend, detector))
    assert len(results) == sum(map(len, backend.asked)) > predict.BATCH_CLIPS
    assert max(map(len, backend.asked)) == predict.BATCH_CLIPS
    starts = [r.clip.start for r in results]
    assert starts == sorted(starts)
    assert {r.label for r in results} == {"glad"}


def test_a_request_is_bounded_in_bytes_too(detector, videos, monkeypatch):
    """A clip may have 4096 frames; eight such are more than a server takes."""
    config = "clip.clip_frames=1", "video.fps=24"
    backend = Remembering(*config)
    results = list(predict.predict_video(videos[0], backend, detector))
    largest = max(len(r.clip.face[0]) + len(r.clip.context[0]) for r in results)
    for bound, most in ((3 * largest, 3), (1, 1)):
        monkeypatch.setattr(batches, "BATCH_BYTES", bound)
        bounded = Remembering(*config)
        found = list(predict.predict_video(videos[0], bounded, detector))
        assert max(map(len, bounded.asked)) == most
        assert [r.to_dict() for r in found] == [r.to_dict() for r in results]


def test_without_a_face_no_backend_is_asked(detector, tmp_path):
    black = [np.zeros((96, 128, 3), np.uint8)] * 18
    path = write_video(
        tmp_path / "black.mp4", fps=24, size=(128, 96), pictures=black
    )
    backend = Remembering()
    (result,) = predict.predict_videos([str(path)], backend, detector)
    assert backend.asked == []
    assert result.to_dict() == {
        "video": str(path),
        "track": None,
        "start": 0.0,
        "end": 0.75,
        "frames": 6,
        "frames_with_face": 0,
        "coverage": 0.0,
        "per_frame": [],
        "message": "no face found",
    }


def test_a_bad_video_is_a_result_and_the_others_go_on(
    detector, videos, tmp_path
):
    bad = tmp_path / "bad.mp4"
    bad.touch()
    backend = Remembering()
    results = list(
        predict.predict_videos([str(bad), videos[0]], backend, detector)
    )
    assert results[0].to_dict() == {
        "video": str(bad),
        "error": f"{bad}: is empty (0 bytes); fetch it again",
    }
    assert results[0].label is None
    assert results[1].label == "glad"
    with pytest.raises(VideoError, match="is empty"):
        next(predict.predict_video(str(bad), backend, detector))


def test_the_object_that_is_written():
    clip = Clip(
        track=2,
        window=1,
        start=4.0,
        end=4.6666666,
        times=np.array([4.0, 4.1251], np.float32),
        boxes=np.array([[1.04, 2, 3, 4], [5, 6, 7, 8.96]], np.float32),
        face=(b"a", b"b"),
        context=(b"c", b"d"),
        frames_total=5,
        frame_size=(64, 48),
    )
    answer = predict.Answer(np.array([0.12345678, 0.87654322]), None)
    made = predict.Result("v.mp4", clip, answer, Remembering.labels).to_dict()
    assert json.loads(json.dumps(made)) == {
        "video": "v.mp4",
        "track": 2,
        "start": 4.0,
        "end": 4.667,
        "frames": 5,
        "frames_with_face": 2,
        "coverage": 0.4,
        "per_frame": [
            {"time": 4.0, "box": [1.0, 2.0, 3.0, 4.0]},
            {"time": 4.125, "box": [5.0, 6.0, 7.0, 9.0]},
        ],
        "label": "glad",
        "confidence": 0.876543,
        "calibrated": False,
        "uncertain": False,
        "probabilities": {"calm": 0.123457, "glad": 0.876543},
    }


def test_the_newest_complete_version_is_taken(tmp_path):
    for name in ("1", "9", "10", "11", "x"):
        (tmp_path / name).mkdir()
    for name in ("1", "9", "10", "x"):
        (tmp_path / name / "saved_model.pb").touch()
    assert saved_model_backend.find_version(tmp_path) == tmp_path / "10"
    assert saved_model_backend.find_version(tmp_path / "9") == tmp_path / "9"
    for path in (tmp_path / "11", tmp_path / "none"):
        with pytest.raises(ModelError) as caught:
            saved_model_backend.find_version(path)
        assert str(caught.value) == (
            f"{path}: no SavedModel and no version folder with one; make one "
            "with `emorec export`"
        )


@pytest.mark.parametrize(
    "broken",
    ["config", "labels", "random_weights", "info", "encoders", "streams"],
)
def test_an_incomplete_description_is_refused(local, broken):
    values = {k: v for k, v in local.description.items() if k != broken}
    with pytest.raises(ModelError, match=f"not complete.*{broken}"):
        predict.parse_description(values)
    for other in (None, [], "text"):
        with pytest.raises(ModelError, match="not complete"):
            predict.parse_description(other)
