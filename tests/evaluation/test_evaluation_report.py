"""The pages of an evaluation and of a comparison; worst mistakes."""

import dataclasses
import html
import pathlib
import re

import numpy as np
import pytest
from testing.evaluations import (
    DESCRIPTION,
    clip,
    data,
    worked_example,
)

from emorec.data import planted, planted_set, shards
from emorec.evaluation import (
    compare,
    evaluate,
    evaluation_report,
    evaluation_table,
    mistakes,
)
from emorec.video import blur

ASKED = evaluation_report.Asked("models/<b>mine", "data/<i>theirs")


def report(clips=None, description=DESCRIPTION, **values):
    made = evaluate.report(
        data(**values), "test", clips or worked_example(), description
    )
    assert made.metrics.n
    return made


def page_of(made, folder, pictures=None, **how) -> str:
    path = folder / "report.html"
    evaluation_report.write(made, path, ASKED, pictures or {}, **how)
    return path.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader sees: no tags, no styles, single spaces."""
    page = re.sub(r"<(style|title)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def alone(page: str) -> bool:
    """Whether a page fetches nothing and runs nothing."""
    found = re.findall(r"""(?:src|href)=["']?([^"'> ]*)""", page)
    return "<script" not in page and all(
        f.startswith(("data:image/jpeg;base64,", "a/", "b/")) for f in found
    )


def test_the_figures_on_the_page(tmp_path):
    page = page_of(report(), tmp_path)
    assert alone(page)
    shown = text_of(page)
    assert "Evaluation: models/<b>mine" in shown
    assert "split test of data/<i>theirs: 4 clips, 3 labels" in shown
    assert re.search(r"accuracy 50\.0 % 95 % interval \d", shown)
    assert "always “glad”: 50.0 %" in shown
    assert "3 of 4 clips have an answer" in shown
    assert "A face was in 37.5 % of the sampled frames" in shown
    assert "Only 4 clips: the figures are rough" in shown
    assert "a thing to be said" in shown
    assert "The context encoder has random frozen weights" in shown
    # The confusion matrix, a class, a source.
    assert "glad (2) 0 1 50 % 0 1 50 %" in shown
    assert "calm 1 50.0 % 100.0 % 66.7 % 50.0 %" in shown
    assert "upset 1 0.0 % 0.0 % 0.0 %" in shown
    assert "studio 1 100.0 %" in shown
    assert "This model has no temperature" in shown
    assert page.count('aria-label="reliability diagram') == 1
    # The only wrong answer; the row without a face is no answer.
    assert "d.mp4 answered calm (50.0 %), labelled upset" in shown
    assert "c.mp4" not in shown


def test_both_diagrams_of_a_calibrated_model(tmp_path):
    info = {"calibration": {"temperature": 2.5, "split": "validation"}}
    made = report(description={**DESCRIPTION, "info": info})
    page = page_of(made, tmp_path)
    assert page.count('aria-label="reliability diagram') == 2
    shown = text_of(page)
    assert "temperature 2.500, fitted on the split validation" in shown
    assert "no temperature" not in shown
    # The bar of the answer says what stands above it.
    assert "Probabilities are calibrated." in shown
    (share,) = re.findall(r"d\.mp4 answered calm \(([\d.]+) %\)", shown)
    (bar,) = re.findall(r"in 4 of 16 frames calm ([\d.]+) %", shown)
    assert bar == share != "50.0"
    line = evaluation_table.format_report(made)
    assert "with the model's temperature 2.500" in line


def test_names_cannot_break_the_page(tmp_path):
    evil = '<script>alert("x")</script>'
    clips = [clip(evil, 1, [0.9, 0.1, 0.0], 8, source=evil)]
    failures = [{"split": "test", "video": evil + "\n", "reason": evil}]
    page = page_of(report(clips, failures=failures), tmp_path)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "1 of the split; they are in no figure" in text_of(page)
    # A name that is no UTF-8.
    page = page_of(report([clip("\udcff", 1, [0.9, 0.1, 0.0], 8)]), tmp_path)
    assert "\\udcff.mp4" in page


def test_a_page_of_many_classes_and_sources(tmp_path):
    names = tuple(f"class {i}" for i in range(30))
    made = report()
    found = dataclasses.replace(
        made.metrics,
        names=names,
        confusion=np.zeros((30, 31), int),
    )
    assert evaluation_report._matrix(found) is None
    clips = [
        clip(str(i), 1, [0.2, 0.7, 0.1], 8, source=f"s{i:03}")
        for i in range(60)
    ]
    shown = text_of(page_of(report(clips), tmp_path))
    assert "s039" in shown and "s040" not in shown
    assert "20 more are in per_source.csv" in shown


def test_no_face_anywhere(tmp_path):
    page = page_of(report([clip("a", 0, [0, 0, 0], 0, (8, 0))]), tmp_path)
    shown = text_of(page)
    assert "No clip has an answer" in shown
    assert "Every clip that has an answer was answered rightly" in shown


def test_the_worst_mistakes_come_first():
    clips = [
        clip("sure", 0, [0.0, 0.9, 0.1], 8),
        clip("right", 1, [0.0, 1.0, 0.0], 8),
        clip("surer", 0, [0.0, 0.05, 0.95], 8),
        clip("unsure", 0, [0.3, 0.4, 0.3], 8),
        clip("silent", 0, [0.0, 0.0, 0.0], 0, (8, 0)),
    ]
    found = mistakes.worst(report(clips))
    assert [row["row"] for row in found] == ["surer", "sure", "unsure"]
    assert mistakes.worst(report(clips), 1) == found[:1]
    assert mistakes.worst(report(clips[1:2])) == []


@pytest.fixture(scope="module")
def rows(prepared) -> list[str]:
    """Two rows of the sample set's test split."""
    found = [
        row
        for path in prepared.files("test")
        for row in shards.read_summary(path).row_frames
    ]
    return found[:2]


def test_pictures_come_out_of_the_records(prepared, rows, tmp_path):
    found = mistakes.pictures(prepared, "test", rows)
    assert list(found) == rows
    for pictures in found.values():
        assert 2 <= len(pictures) <= mistakes.PICTURES
        times = [p.time for p in pictures]
        assert times == sorted(set(times)) and times[0] < 0.2 < times[-1]
        for p in pictures:
            assert blur.decoded(p.face).shape == (224, 224, 3)
    assert mistakes.pictures(prepared, "test", ["nobody"]) == {}
    clips = [clip(rows[0], 0, [0.0, 0.9, 0.1], 8)]
    page = page_of(report(clips), tmp_path, found)
    assert alone(page)
    assert page.count("data:image/jpeg") == 2 * len(found[rows[0]])


def test_pictures_can_hide_faces(prepared, rows, tmp_path):
    """In the crop of the face nothing is left; around it, all but faces."""
    shown = mistakes.pictures(prepared, "test", rows[:1])[rows[0]]
    hider = blur.FaceHider(config=prepared.config.detector)
    hidden = mistakes.pictures(prepared, "test", rows[:1], hider)[rows[0]]
    assert [p.time for p in hidden] == [p.time for p in shown]
    for before, after in zip(shown, hidden, strict=True):
        assert _detail(after.face) < 0.3 * _detail(before.face)
        assert _detail(after.context) < _detail(before.context)
        assert not len(hider.find([blur.decoded(after.face)])[0])
        assert not len(hider.find([blur.decoded(after.context)])[0])
    clips = [clip(rows[0], 0, [0.0, 0.9, 0.1], 8)]
    page = page_of(report(clips), tmp_path, {rows[0]: hidden}, blurred=True)
    assert "surest of. Faces are hidden." in text_of(page)


def _detail(jpeg: bytes) -> float:
    return float(
        np.abs(np.diff(blur.decoded(jpeg).astype(float), axis=0)).mean()
    )


def test_a_data_set_without_crops_has_no_pictures(tmp_path):
    task = planted.Task(clips=(4, 4, 4))
    made = planted_set.write(tmp_path, 0, task)
    row = next(iter(shards.read_summary(made.files("test")[0]).row_frames))
    assert mistakes.pictures(made, "test", [row]) == {row: []}


def test_the_page_of_a_comparison(tmp_path):
    first = report()
    better = [clip("d", 2, [0.1, 0.2, 0.7], 4, (16, 4))]
    second = report([c for c in worked_example() if c.row != "d"] + better)
    found = compare.compare(first, second, ("models/old", "models/<new>"))
    path = tmp_path / "comparison.html"
    evaluation_report.write_comparison(found, path, "data", ["A: <note>"])
    page = path.read_text(encoding="utf-8")
    assert alone(page)
    shown = text_of(page)
    assert "A models/old B models/<new>" in shown
    assert "A: <note>" in shown
    assert re.search(r"accuracy 50\.0 % 75\.0 % \+25\.0 ", shown)
    assert "A right 2 0 A wrong 1 1" in shown
    assert "McNemar p = 1.0000" in shown
    assert "d.mp4 upset calm upset" in shown
    # The widest interval nearly fills its axis, and none leaves it.
    ends = [float(x) for x in re.findall(r' x[12]="([\d.]+)" y1="9"', page)]
    assert max(ends) <= 260 and min(ends) >= 0


def test_the_page_in_a_browser(prepared, rows, tmp_path):
    """On a small screen: no sideways scrolling, no picture that is broken."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = pathlib.Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip(f"no browser at {chromium}")
    clips = [clip(rows[0], 0, [0.0, 0.9, 0.1], 8), *worked_example()]
    pictures = mistakes.pictures(prepared, "test", rows)
    page_of(report(clips), tmp_path, pictures)
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=str(chromium), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 390, "height": 800})
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(
            "[...document.images].every(i => i.complete && i.naturalWidth)"
        )
        browser.close()
    assert [s for s in said if not s.startswith(("data:", "file:"))] == []
