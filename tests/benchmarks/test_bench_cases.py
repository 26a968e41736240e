"""What the cases compute of the sides' answers, and their videos."""

import av
import pytest

from benchmarks import accuracy, detection, end_to_end, material, videos
from benchmarks.processes import SideError


def test_boxes_of_two_detectors_are_compared():
    box, near, far = [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]
    found = detection.same_boxes(
        [[[box], [near, far]], [[]]], [[[box], [box]], [[far]]]
    )
    assert found == {
        "faces": 3,
        "more": 1,
        "recall": pytest.approx(2 / 3),
        "found_at_iou_0.9": pytest.approx(1 / 3),
        "iou_min": pytest.approx(0.8),
        "iou_median": pytest.approx(0.9),
    }
    nothing = detection.same_boxes([[[]]], [[[]]])
    assert (nothing["recall"], nothing["iou_min"]) == (1.0, None)


def _answer(label, probability, x=0.0, window=0):
    return {
        "window": window,
        "box": [x, 0.0, x + 10.0, 10.0],
        "label": label,
        "probabilities": [probability, 1 - probability],
    }


def test_answers_of_two_paths_are_compared_by_person():
    plain = {"v/a": [_answer("sad", 0.6), _answer("sad", 0.7, x=50.0)]}
    fast = {"v/a": [_answer("sad", 0.5, x=51.0), _answer("happy", 0.4)]}
    found = accuracy.agreement(fast, plain)
    assert found["agreement"] == 0.5
    assert found["largest_difference"] == pytest.approx(0.2)
    assert found["changed"] == ["a: sad became happy"]
    found = accuracy.agreement({}, plain)
    assert (found["agreement"], found["missing"]) == (0.0, 2)
    assert accuracy.agreement(fast, {"v/a": []})["more"] == 2


def test_stages_are_told_against_their_floor():
    stages = {"decode": [0.1, 0.24], "other": [0.3, 0.48]}
    found = list(
        end_to_end.stage_rows(
            "s", [{"units": 24, "detail": {"stages": stages}}]
        )
    )
    assert [r.name for r in found] == ["s: all", "s: decode", "s: other"]
    assert found[0].ours == pytest.approx(30.0)
    assert found[0].detail["share_of_wall_time"] == {
        "decode": 0.25,
        "other": 0.75,
    }
    assert found[1].ours == pytest.approx(10.0)
    assert found[1].ratio == pytest.approx(2 * 76 / 24 / 10)
    assert found[2].reason == "no floor was measured"


def test_a_clip_is_repeated_to_a_length_and_size(sample_set, tmp_path):
    clip = videos.listed(sample_set.parent)[0]
    made = videos.looped(clip, tmp_path, 3, (320, 180), (2, 1))
    with av.open(str(made)) as opened:
        times = [frame.time for frame in opened.decode(video=0)]
    assert videos.size_of(made) == (320, 180, pytest.approx(3.0, abs=0.05))
    assert len(times) == 3 * videos.FPS
    assert times == pytest.approx([i / videos.FPS for i in range(len(times))])
    stamp = made.stat().st_mtime_ns
    again = videos.looped(clip, tmp_path, 3, (320, 180), (2, 1))
    assert again.stat().st_mtime_ns == stamp


def test_what_is_missing_is_one_line_with_the_remedy(bench, tmp_path):
    with pytest.raises(SideError, match="CLIPS must be a folder. Received: "):
        material.collect(bench, clips=str(tmp_path / "none"))
    with pytest.raises(SideError, match="MODEL must be a model folder of "):
        material.collect(bench, clips=str(tmp_path), model=str(tmp_path))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}")
    with pytest.raises(SideError, match="no videos; give CLIPS="):
        material.collect(bench, clips=str(tmp_path), model=str(tmp_path / "m"))
