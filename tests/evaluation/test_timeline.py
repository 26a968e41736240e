"""The timeline: what is drawn, how it is bounded, and its files."""

import re
import subprocess
import sys

import numpy as np
import pytest

from emorec.answers import Summary
from emorec.errors import EmorecError, UsageError
from emorec.evaluation import person_charts, timeline
from emorec.evaluation.steps import clock, moment, steps
from emorec.labels import LabelSet
from emorec.results import Answer, Result, Results
from emorec.video.clip import Clip
from emorec.video.curves import curves

LABELS = LabelSet("auto", ("calm", "$gl_ad$", "上"))


def window(start, end, shares, *, track=0, video="a.mp4", faces=None, **more):
    total = max(1, round((end - start) * 8))
    times = start + np.arange(total)[:faces] / 8
    n = len(times)
    clip = Clip(
        track=track,
        window=0,
        start=float(start),
        end=float(end),
        times=times.astype(np.float32),
        boxes=np.zeros((n, 4), np.float32),
        face=(b"",) * n,
        context=(b"",) * n,
        frames_total=total,
        frame_size=(64, 48),
    )
    answer = Answer(np.array(shares, np.float32), None)
    return Result(video, clip, answer, LABELS, **more)


TWO = (window(0, 4, (0.1, 0.7, 0.2)), window(4, 6, (0.45, 0.3, 0.25)))


def no_face(video="empty.mp4"):
    clip = Clip(
        -1, 0, 0.0, 1.0, np.zeros(0, np.float32), np.zeros((0, 4), np.float32),
        (), (), 8, (64, 48),
    )  # fmt: skip
    return Result(video, clip, None, LABELS)


def texts(figure) -> str:
    from matplotlib.text import Text

    return " | ".join(t.get_text() for t in figure.findobj(Text))


def polygons(axes):
    """The areas as (face colour, hatch, largest height above its row)."""
    found = []
    for patch in axes.patches:
        values, _, base = patch.get_data()
        found.append(
            (
                patch.get_facecolor()[:3],
                patch.get_hatch(),
                np.nanmax(values) - base,
            )
        )
    return found


def test_a_figure_without_a_path():
    figure = timeline.plot(TWO)
    (axes,) = figure.axes
    found = texts(figure)
    assert "a.mp4" in found
    # (32 * .7 + 16 * .3) / 48.
    assert "person 0: $gl_ad$ (57 %)   face in 48 of 48 frames" in found
    assert [t.get_text() for t in axes.get_xticklabels()][:2] == ["0 s", "1 s"]
    assert "smoothed" not in found
    # A letter that the font lacks.
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["face seen", "calm", "$gl_ad$", "label 2"]
    assert axes.get_xlim() == (0, 6)


def test_heights_are_probabilities_and_the_answer_stands_out():
    (axes,) = timeline.plot(TWO).axes
    dark = (0, 0x72 / 255, 0xB2 / 255)
    found = polygons(axes)
    # Full height is .8; the second answer, of .45, is uncertain.
    answers = [(h, round(y, 3)) for colour, h, y in found if colour == dark]
    assert answers == [(None, round(0.86 * 0.7 / 0.8, 3))]
    unsure = [round(y, 3) for _, hatch, y in found if hatch]
    assert unsure == [round(0.86 * 0.45 / 0.8, 3)]
    assert len(found) == 5


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_files_are_equal_for_equal_results(tmp_path, ending):
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        assert timeline.plot(TWO, path, smooth=1) is None
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    start = b"\x89PNG" if ending == "png" else b"<?xml"
    assert first.startswith(start)
    assert sorted(tmp_path.iterdir()) == paths


def test_it_tells_of_smoothing_and_leaves_the_answer():
    figure = timeline.plot(Results(TWO, smooth=None), smooth=2)
    found = texts(figure)
    assert "smoothed: each point is the mean over 2 s around it" in found
    assert "person 0: $gl_ad$ (57 %)" in found


def test_many_people_and_videos_are_bounded():
    people = [
        window(0, 1, (0.2, 0.5, 0.3), track=i, faces=1 + i % 8)
        for i in range(30)
    ]
    other = window(0, 2, (0.2, 0.5, 0.3), video="/x/b.mp4")
    bad = Result("c.mp4", None, None, LABELS, error="c.mp4: bad")
    figure = timeline.plot([*people, other, no_face(), bad])
    assert len(figure.axes) == timeline.MAX_PEOPLE
    found = texts(figure)
    assert "the 12 people seen most; 19 more are in the results" in found
    assert "b.mp4, person 0: $gl_ad$" in found
    assert "a.mp4, person 7: $gl_ad$" in found
    assert "person 0: $gl_ad$ (50 %)   face in 1 of" not in found
    assert "no face was found in 1 video " in found + " "
    assert "1 video could not be read, or not to the end" in found
    assert "4 videos" in found


def test_a_video_without_a_face():
    figure = timeline.plot([no_face()])
    assert not figure.axes
    assert "no face was found, so there is no answer" in texts(figure)


def test_the_answer_for_the_whole_video_is_named():
    summary = Summary(0, 0.0, 6.0, 60, 48, 2, (64, 48))
    answer = Answer(np.array([0.6, 0.3, 0.1], np.float32), None)
    whole = Result("a.mp4", None, answer, LABELS, summary=summary)
    found = texts(timeline.plot([*TWO, whole]))
    assert "person 0: calm (60 %)   face in 48 of 60 frames" in found


def test_other_endings_are_refused(tmp_path):
    message = "a timeline must end in .png or .svg. Received: a.jpg"
    with pytest.raises(UsageError, match=re.escape(message)):
        timeline.plot(TWO, "a.jpg")


def test_a_span_that_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="smoothing must be by 0 to 3600"):
        timeline.plot(TWO, smooth=-1)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmorecError, match="cannot be written"):
        timeline.plot(TWO, tmp_path / "file" / "a.png")


def test_without_matplotlib_the_extra_is_named():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from emorec.evaluation import timeline\n"
        "from emorec.errors import EmorecError\n"
        "try: timeline.plot([])\n"
        "except EmorecError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert "pip install 'emorec[charts]'" in done.stdout, done.stderr


def test_long_videos_are_put_together_by_means():
    windows = [
        window(i, i + 1, (0.9, 0.05, 0.05) if i % 2 else (0.1, 0.85, 0.05))
        for i in range(1000)
    ]
    (person,) = curves(windows)
    assert len(steps(person).starts) == 1000
    made = steps(person, most=100)
    assert len(made.starts) == 100
    np.testing.assert_allclose(made.values, [[0.5, 0.45, 0.05]] * 100)
    drawn = person_charts.chart(person, None)
    assert all(len(row["rest"]) < 12_000 for row in drawn["rows"])


def test_gaps_stay_gaps():
    (person,) = curves([window(0, 1, (1, 0, 0)), window(3, 4, (0, 1, 0))])
    for made in (steps(person), steps(person, 0.5), steps(person, most=2)):
        edges, index = made.edges()
        assert edges[0] == 0
        assert edges[-1] == 4
        gaps = np.flatnonzero(index < 0)
        if len(made.starts) > 2:
            assert len(gaps) == 1
            assert np.diff(edges)[gaps] == pytest.approx(2)
    first, second = person_charts.chart(person, None)["rows"][:2]
    assert first["sure"].count("M") == second["sure"].count("M") == 1


def test_smoothing_is_a_mean_over_time():
    (person,) = curves([window(0, 4, (1, 0, 0)), window(4, 8, (0, 1, 0))])
    made = steps(person, 2.0)
    middles = (made.starts + made.ends) / 2
    expected = np.clip((5 - middles) / 2, 0, 1)
    np.testing.assert_allclose(made.values[:, 0], expected, atol=0.05)
    np.testing.assert_allclose(made.values.sum(1), 1)


@pytest.mark.parametrize(
    "time, step, text",
    [
        (0.0, 1, "0 s"),
        (0.25, 0.1, "0.2 s"),
        (59.0, 1, "59 s"),
        (61.0, 1, "1:01"),
        (7384.0, 600, "2:03:04"),
    ],
)
def test_times_below_a_chart(time, step, text):
    assert clock(time, step) == text


@pytest.mark.parametrize(
    "time, digits, text",
    [
        (0, 1, "0.0 s"),
        (59.94, 1, "59.9 s"),
        (59.96, 1, "1:00"),
        (64.5, 2, "1:04.5"),
        (7199.97, 1, "2:00:00"),
    ],
)
def test_times_in_a_report(time, digits, text):
    assert moment(time, digits) == text


def test_ticks_are_few_and_round():
    for length in (0.2, 3, 45, 7200, 86400):
        (person,) = curves([window(0, length, (1, 0, 0), faces=5)])
        ticks = person_charts.chart(person, None)["ticks"]
        assert 1 <= len(ticks) <= 25
        assert ticks[0][1] in ("0 s", "0.0 s")
