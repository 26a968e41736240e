"""One video to all that the page shows of it."""

import csv
import json

import cv2
import numpy as np
import pytest
from testing.videos import write_video

from emorec.errors import VideoError
from emorec.ui import analysis
from emorec.ui.analysis import Analyst, Limits, Options
from emorec.video import reader


@pytest.fixture(scope="module")
def analyst(backend, detector):
    return Analyst(backend, detector, Limits())


@pytest.fixture(scope="module")
def named(clip, backend, detector, tmp_path_factory):
    """The clip, its face in the middle, under a name of a user's."""
    with reader.read_frames(clip, backend.config.video, fps=1000) as opened:
        frames = list(opened)
    pictures = [frame.image for frame in frames]
    x0, y0, x1, y1 = detector.detect(pictures[:1])[0].boxes[0].astype(int)
    left, top = (x0 + x1) // 2 - 120, (y0 + y1) // 2 - 120
    pad = [(240, 240), (240, 240), (0, 0)]
    pictures = [
        np.pad(p, pad, "edge")[240 + top :, 240 + left :][:240, :240]
        for p in pictures
    ]
    path = tmp_path_factory.mktemp("mine") / "my clip.mp4"
    return write_video(
        path,
        pictures=pictures,
        times=[frame.time for frame in frames],
        size=(240, 240),
    )


def run(analyst, path, folder, **options):
    folder.mkdir(exist_ok=True)
    job = analyst.job(path, folder, Options(**options))
    job.start()
    assert job.wait(60)
    return job.outcome


@pytest.fixture(scope="module")
def outcome(analyst, named, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    found = run(analyst, named, folder, window=0.5)
    assert found.error is None
    return found


def picture(view, number):
    """The pixels of a picture that the page shows."""
    path = view["pictures"][number].partition("file=")[2]
    return cv2.imread(path.replace("%20", " "))


def test_the_view_holds_the_answers_at_their_times(outcome, backend):
    view = json.loads(json.dumps(outcome.view))  # All of it is JSON.
    assert view["name"] == "my clip.mp4"
    assert view["labels"] == list(backend.labels.names)
    assert view["nobody"] is None and view["warnings"] == []
    assert view["duration"] == pytest.approx(0.75, abs=0.1)
    [person] = view["people"]
    assert person["frames"] == person["with_face"] == 6
    assert person["label"] in view["labels"]
    assert 0 < person["confidence"] < 1
    for span in person["spans"]:
        assert sum(span["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert [s["start"] for s in person["spans"]] == [0, 0.25, 0.5]


def test_each_window_has_its_map_and_the_frames_looked_at(outcome):
    windows = outcome.view["windows"]
    assert [w["start"] for w in windows][:2] == [0, 0.25]
    first, second = windows[:2]
    assert len(first["times"]) == len(first["pictures"]) == 4
    assert 1 / 4 <= first["peak"] <= 1
    # Frames that lie in both windows are one picture.
    assert first["pictures"][2:] == second["pictures"][:2]
    assert len(outcome.view["pictures"]) == 6
    assert picture(outcome.view, 0).shape == (128, 128, 3)


def test_the_tables_name_the_video_as_its_user_does(outcome):
    with open(outcome.csv, newline="") as f:
        rows = list(csv.DictReader(f))
    assert {row["video"] for row in rows} == {"my clip.mp4"}
    assert rows[-1]["whole"] == "True"
    assert rows[-1]["label"] == outcome.view["people"][0]["label"]
    with open(outcome.frames_csv, newline="") as f:
        assert len(list(csv.DictReader(f))) == 6


def test_the_report_and_the_video_are_there(outcome, backend):
    page = outcome.report.read_text()
    assert "my clip.mp4" in page and str(outcome.report.parent) not in page
    info = reader.probe(outcome.video, backend.config.video)
    assert info.codec == "h264" and info.duration == pytest.approx(0.75, 0.1)


def test_faces_are_hidden_in_the_pictures(outcome, analyst, named, tmp_path):
    hidden = run(analyst, named, tmp_path / "a", blur=True)
    plain, blurred = picture(outcome.view, 0), picture(hidden.view, 0)
    differs = np.abs(plain.astype(int) - blurred).max(-1) > 30
    assert differs.mean() > 0.02
    # The face alone: the borders of the picture are as they were.
    assert not differs[:, :4].any() and not differs[:, -4:].any()


def test_without_pictures_none_are_made(analyst, named, tmp_path):
    bare = run(analyst, named, tmp_path / "a", pictures=False)
    assert bare.view["pictures"] == []
    assert {w["pictures"] for w in bare.view["windows"]} == {None}
    assert not list((tmp_path / "a").glob("*.jpg"))
    assert "data:image" not in bare.report.read_text()


def test_a_video_without_a_face_says_what_is_needed(analyst, tmp_path):
    path = write_video(tmp_path / "grey.mp4", 20, size=(128, 96))
    found = run(analyst, path, tmp_path / "a")
    assert found.error is None and found.view["people"] == []
    assert found.view["nobody"].startswith("No face was found in the 6 frames")
    assert found.video.exists() and found.csv.exists()


def test_what_is_no_video_is_told_without_where_it_lies(analyst, tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no video at all")
    found = run(analyst, path, tmp_path / "a")
    assert found.error.startswith("notes.mp4: cannot be read as a video")


def test_videos_over_the_limits_are_refused(backend, detector, tmp_path):
    path = write_video(tmp_path / "long.mp4", 60, fps=1)
    few = Analyst(backend, detector, Limits(seconds=30))
    with pytest.raises(VideoError) as fault:
        few.check(path)
    assert str(fault.value) == (
        "long.mp4: 60 s are over this page's 30 s; cut it, or start the page "
        "with a larger --max_seconds"
    )
    small = Analyst(backend, detector, Limits(megabytes=0.001))
    with pytest.raises(VideoError, match=r"^long.mp4: .* larger --max_upload"):
        small.check(path)


def test_a_video_that_states_no_length_is_stopped_at_the_limit(
    backend, detector, tmp_path, monkeypatch
):
    path = write_video(tmp_path / "a.h264", 300, options={"x264-params": ""})
    info = reader.probe(path, backend.config.video)
    assert info.duration is None
    monkeypatch.setattr(analysis, "_SLACK_S", 0.0)
    # 12 s at 25 frames/s: the face search meets no face and gives no result.
    found = run(
        Analyst(backend, detector, Limits(seconds=2)), path, tmp_path / "a"
    )
    assert found.error.startswith("a.h264: goes on after this page's 2 s")


def test_pictures_of_a_long_video_are_bounded(
    analyst, named, tmp_path, monkeypatch
):
    monkeypatch.setattr(analysis, "MAX_PICTURED", 1)
    found = run(analyst, named, tmp_path / "a", window=0.5)
    assert len(found.view["windows"]) == 1
    assert len(found.view["people"][0]["spans"]) == 3
    [warning] = found.view["warnings"]
    assert warning.startswith("The attention map is there for the first 1 of")


def test_a_job_waits_for_the_one_before_and_can_be_stopped(
    analyst, named, tmp_path
):
    with analyst._busy:
        job = analyst.job(named, tmp_path, Options())
        job.start()
        assert not job.wait(0.3)
        assert job.stage == "Waiting for another video"
        job.stop()
        assert job.wait(10)
    assert job.outcome is None


def test_stopping_ends_the_search_for_faces(backend, detector, named, tmp_path):
    class Slow:
        config, engine = detector.config, detector.engine

        def detect(self, frames):
            job.stop()
            return detector.detect(frames)

    job = Analyst(backend, Slow(), Limits()).job(named, tmp_path, Options())
    job.start()
    assert job.wait(20)
    assert job.outcome is None and not list(tmp_path.iterdir())


def test_what_must_be_said_of_a_model_is_said(backend):
    from emorec.ui import view

    notes = view.notes(backend.description)
    assert any("generated sample set" in note for note in notes)
    assert any("encoder has random weights" in note for note in notes)
    quiet = json.loads(json.dumps(backend.description))
    quiet["random_weights"] = []
    quiet["info"]["data"]["sources"] = {"mine": 3}
    assert view.notes(quiet) == []
