"""What a prediction gives: dicts, rows, confidence, whole videos."""

import dataclasses
import json

import numpy as np
import pytest

from emorec import results, whole_video
from emorec.errors import ModelError, UsageError
from emorec.labels import LabelSet
from emorec.video.clip import Clip

LABELS = LabelSet("auto", ("sad", "glad", "calm"))


def clip_of(times, start=0.0, end=2.0, track=0, frames=8):
    count = len(times)
    return Clip(
        track=track,
        window=0,
        start=start,
        end=end,
        times=np.array(times, np.float32),
        boxes=np.full((count, 4), 1.04, np.float32),
        face=(b"f",) * count,
        context=(b"c",) * count,
        frames_total=frames,
        frame_size=(64, 48),
    )


def result_of(probabilities, times=(0.0, 0.25), video="v.mp4", **clip):
    answer = results.Answer(np.array(probabilities, np.float32), None)
    return results.Result(video, clip_of(times, **clip), answer, LABELS)


def test_a_result_as_an_object_and_as_a_row():
    made = result_of([0.2, 0.5, 0.3], frames=3)
    assert json.loads(json.dumps(made.to_dict())) == {
        "video": "v.mp4",
        "track": 0,
        "start": 0.0,
        "end": 2.0,
        "frames": 3,
        "frames_with_face": 2,
        "coverage": 0.6667,
        "per_frame": [
            {"time": 0.0, "box": [1.0, 1.0, 1.0, 1.0]},
            {"time": 0.25, "box": [1.0, 1.0, 1.0, 1.0]},
        ],
        "label": "glad",
        "confidence": 0.5,
        "calibrated": False,
        "uncertain": False,
        "probabilities": {"sad": 0.2, "glad": 0.5, "calm": 0.3},
    }
    assert made.to_row() == {
        "video": "v.mp4",
        "track": 0,
        "whole": False,
        "windows": 1,
        "start": 0.0,
        "end": 2.0,
        "frames": 3,
        "frames_with_face": 2,
        "coverage": 0.6667,
        "label": "glad",
        "confidence": 0.5,
        "calibrated": False,
        "uncertain": False,
        "probability_sad": 0.2,
        "probability_glad": 0.5,
        "probability_calm": 0.3,
        "message": None,
        "warning": None,
        "error": None,
    }


def test_what_has_no_answer_has_no_confidence():
    nobody = results.Result("v", clip_of([], track=-1), None, LABELS)
    error = results.Result("w", None, None, LABELS, error="w: is empty")
    for made in (nobody, error):
        assert made.label is None and made.track is None
        assert made.probabilities is None
        assert made.confidence is None and made.uncertain is None
        row = made.to_row()
        assert row["probability_glad"] is None and row["calibrated"] is None
        assert row.keys() == result_of([1, 0, 0]).to_row().keys()
    assert nobody.coverage == 0 and nobody.to_row()["frames"] == 8
    assert nobody.to_row()["message"] == "no face found"
    assert error.coverage is None and error.start is None
    assert error.windows == 0
    assert error.to_row()["error"] == "w: is empty"
    assert error.to_row()["message"] is None


def calibrated(temperature, threshold=None):
    description = {"info": {"calibration": {"temperature": temperature}}}
    return results.Calibration.of(description, threshold)


def test_confidence_is_calibrated_where_the_model_is():
    made = result_of([0.2, 0.6, 0.2])
    # Of T = 2: square roots, that sum to 1 again.
    roots = np.sqrt([0.2, 0.6, 0.2])
    expected = roots[1] / roots.sum()
    cooler = dataclasses.replace(made, calibration=calibrated(2.0))
    assert not made.calibrated and made.confidence == pytest.approx(0.6)
    assert not made.uncertain
    assert cooler.calibrated
    assert cooler.confidence == pytest.approx(expected, abs=1e-6)
    assert cooler.uncertain, "0.46 is below 0.5"
    assert cooler.label == "glad"
    assert cooler.probabilities["glad"] == pytest.approx(0.6), "the model's own"
    written = cooler.to_dict()
    assert written["calibrated"] and written["uncertain"]
    assert written["confidence"] == pytest.approx(expected, abs=1e-6)
    lower = dataclasses.replace(made, calibration=calibrated(2.0, 0.46))
    assert not lower.uncertain


def test_a_model_without_a_calibration_says_so():
    for info in ({}, {"calibration": None}):
        found = results.Calibration.of({"info": info})
        assert found == results.UNCALIBRATED
        assert found.threshold == 0.5
    stored = {"info": {"calibration": {"temperature": 1.5, "threshold": 0.7}}}
    assert results.Calibration.of(stored) == results.Calibration(1.5, 0.7)
    assert results.Calibration.of(stored, 0.2).threshold == 0.2


@pytest.mark.parametrize("value", [0, -1, "warm", float("nan"), [1.0]])
def test_a_damaged_calibration_is_refused(value):
    with pytest.raises(ModelError, match=r"calibration is damaged .*again"):
        calibrated(value)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_share(value):
    with pytest.raises(UsageError, match=r"0 to 1\. Received: "):
        results.Calibration.of({"info": {}}, value)


def test_a_whole_video_is_the_mean_weighted_by_frames():
    windows = [
        result_of([1, 0, 0], times=[0, 0.5, 1], end=2.0),
        result_of([0, 0, 1], times=[0.5], end=2.0, track=1),
        result_of([0, 1, 0], times=[1, 1.5], start=1.0, end=3.0),
    ]
    sums = whole_video.WholeVideo()
    for window in windows:
        sums.add(window)
    assert sums.most_windows == 2
    first, second = sums.results(frames=12)
    np.testing.assert_allclose(
        first.answer.probabilities, [0.6, 0.4, 0], atol=1e-7
    )
    assert first.answer.attention is None
    assert first.to_dict() == {
        "video": "v.mp4",
        "track": 0,
        "start": 0.0,
        "end": 3.0,
        "frames": 12,
        # The frame at 1 s is in both windows and counts once.
        "frames_with_face": 4,
        "coverage": 0.3333,
        "whole": True,
        "windows": 2,
        "label": "sad",
        "confidence": 0.6,
        "calibrated": False,
        "uncertain": False,
        "probabilities": {"sad": 0.6, "glad": 0.4, "calm": 0.0},
    }
    assert (second.track, second.windows, second.label) == (1, 1, "calm")
    assert second.to_row()["whole"] is True


def test_a_whole_video_takes_no_wholes_and_no_empty_windows():
    sums = whole_video.WholeVideo()
    sums.add(results.Result("v", clip_of([], track=-1), None, LABELS))
    assert sums.results(8) == [] and sums.most_windows == 0
    sums.add(result_of([1, 0, 0]))
    (made,) = sums.results(8)
    sums.add(made)
    assert sums.most_windows == 1


def test_whoever_is_seen_most_is_one_answer():
    windows = [
        result_of([1, 0, 0], track=3),
        result_of([0, 1, 0], times=[2, 3], start=2.0, end=4.0, track=5),
    ]
    made = list(
        whole_video.with_wholes(windows, lambda: 16, main=True, always=False)
    )
    assert made[:2] == windows
    (whole,) = made[2:]
    assert (whole.track, whole.windows, whole.end) == (3, 2, 4.0)
    np.testing.assert_allclose(whole.answer.probabilities, [0.5, 0.5, 0])
    apart = list(whole_video.with_wholes(windows, lambda: 16))
    assert apart == windows, "one window each: nothing to add"
    always = list(whole_video.with_wholes(windows, lambda: 16, always=True))
    assert [r.track for r in always if r.whole] == [3, 5]


def test_one_answer_a_person():
    sums = whole_video.WholeVideo()
    windows = [
        result_of([1, 0, 0]),
        result_of([0, 1, 0], times=[2], start=2.0, end=4.0),
    ]
    for window in windows:
        sums.add(window)
    alone = result_of([0, 0, 1], track=1)
    other = result_of([0, 0, 1], video="w.mp4")
    bad = results.Result("x.mp4", None, None, LABELS, error="x.mp4: is empty")
    made = results.Results(
        [*windows, alone, *sums.results(16), other, bad], 1.0, ["by hand"]
    )
    assert [(r.video, r.track, r.label) for r in made.whole] == [
        ("v.mp4", 1, "calm"),
        ("v.mp4", 0, "sad"),
        ("w.mp4", 0, "calm"),
        ("x.mp4", None, None),
    ]
    assert made.whole.smooth == 1.0 and made.of(0).notes == ("by hand",)
    assert "Note: by hand" in made._repr_html_()
    assert made.people == [("v.mp4", 0), ("v.mp4", 1), ("w.mp4", 0)]
    assert len(made.of(0)) == 4 and len(made.of(0, "w.mp4")) == 1
    assert made.to_dict() == {
        "results": [r.to_dict() for r in made],
        "notes": ["by hand"],
    }


def test_a_result_is_shown_in_one_line_without_its_pictures():
    made = result_of([0.4, 0.3, 0.3])
    assert repr(made) == (
        "Result(v.mp4, 0.00-2.00 s, person 0: sad 0.40, uncertain)"
    )
    sums = whole_video.WholeVideo()
    sums.add(made)
    assert repr(sums.results(8)[0]).endswith("sad 0.40, uncertain, whole)")
    nobody = results.Result("v\n", clip_of([], track=-1), None, LABELS)
    bad = results.Result("x", None, None, LABELS, error="x: is empty")
    assert repr(results.Results([nobody, bad])) == (
        "Results([\n  Result('v\\n', 0.00-2.00 s, no face found),"
        "\n  Result(x: is empty),\n])"
    )
    assert repr(results.Results()) == "Results([])"


def test_pictures_are_counted_and_left_out():
    made = result_of([0.4, 0.3, 0.3])
    answer = results.Answer(made.answer.probabilities, np.eye(2))
    made = dataclasses.replace(made, answer=answer)
    assert made.picture_bytes == 4
    bare = made.without_pictures()
    assert bare.picture_bytes == 0 and bare.answer.attention is None
    assert bare.clip.frames_with_face == 2
    assert bare.to_dict() == made.to_dict()
    bad = results.Result("x", None, None, LABELS, error="x: is empty")
    assert bad.without_pictures() is bad and bad.picture_bytes == 0


def test_a_table_of_results_keeps_its_types():
    bad = results.Result("x.mp4", None, None, LABELS, error="x.mp4: is empty")
    made = results.Results([result_of([0.2, 0.5, 0.3]), bad])
    table = made.to_pandas()
    assert list(table.columns) == list(made[0].to_row())
    assert table.loc[0, "label"] == "glad"
    assert table["track"].dtype == "Int64" and table["track"].isna().tolist()[1]
    assert table["uncertain"].dtype == "boolean"
    assert table["probability_glad"].dtype == float
    assert table["probability_glad"].isna().tolist() == [False, True]
    assert made[0].to_pandas().shape == (1, len(table.columns))
    assert len(results.Results().to_pandas()) == 0


def test_a_table_of_frames_has_boxes_and_curves():
    attention = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    first = result_of([1, 0, 0], times=[0, 1])
    first = dataclasses.replace(
        first, answer=dataclasses.replace(first.answer, attention=attention)
    )
    second = result_of([0, 0, 1], times=[1, 2], start=1.0, end=3.0)
    made = results.Results([first, second])
    table = made.frames_to_pandas()
    assert list(table.columns) == [
        *["video", "track", "time", "x0", "y0", "x1", "y1", "attended"],
        *["label", "probability_sad", "probability_glad", "probability_calm"],
        "smooth_seconds",
    ]
    assert table["time"].tolist() == [0, 1, 2]
    # The frame at 1 s lies in both windows: their mean.
    assert table["probability_sad"].tolist() == [1, 0.5, 0]
    assert table["probability_calm"].tolist() == [0, 0.5, 1]
    assert table["label"].tolist() == ["sad", "sad", "calm"]
    np.testing.assert_allclose(table["attended"][:2], [0.375, 0.625])
    assert table["attended"].isna().tolist() == [False, False, True]
    smoothed = made.frames_to_pandas(smooth=2.0)
    np.testing.assert_allclose(smoothed["probability_sad"], [0.75, 0.5, 0.25])
    assert set(smoothed["smooth_seconds"]) == {2.0}
    # The list's own smoothing, and a call's against it.
    gentle = results.Results(made, smooth=2.0)
    assert set(gentle.frames_to_pandas()["smooth_seconds"]) == {2.0}
    assert set(gentle.frames_to_pandas(0)["smooth_seconds"]) == {0.0}
    assert len(results.Results().frames_to_pandas()) == 0


def test_a_notebook_shows_a_row_a_person():
    sums = whole_video.WholeVideo()
    windows = [result_of([0.4, 0.3, 0.3]), result_of([0.4, 0.3, 0.3])]
    for window in windows:
        sums.add(window)
    page = results.Results([*windows, *sums.results(16)])._repr_html_()
    assert page.count("<tr>") == 2
    assert "<b>sad <i>(uncertain)</i></b>" in page
    assert "not calibrated" in page and "2 windows" in page
    assert "2 of 16 frames" in page and "v.mp4" in page
    assert "data:image" not in page, "a saved notebook shows no faces"
    shown = result_of([0, 1, 0], video="<b>&.mp4")._repr_html_()
    assert "&lt;b&gt;&amp;.mp4" in shown and "<b>&" not in shown
    nobody = results.Result("v", clip_of([], track=-1), None, LABELS)
    bad = results.Result("x", None, None, LABELS, error="x: <is> empty")
    page = results.Results([nobody, bad])._repr_html_()
    assert "no face found in 8 frames" in page
    assert "x: &lt;is&gt; empty" in page
    many = results.Results(
        result_of([0, 1, 0], video=f"{i}.mp4") for i in range(50)
    )
    assert "10 rows more are not shown." in many._repr_html_()
    warned = dataclasses.replace(many[0], warning="0.mp4: is cut off")
    assert "0.mp4: is cut off" in warned._repr_html_()
