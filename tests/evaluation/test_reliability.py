"""The reliability diagram shows what was measured, and all of it."""

import numpy as np
import pytest
from matplotlib import image

from emorec.errors import EmorecError
from emorec.evaluation import calibration, reliability


@pytest.fixture
def figures(monkeypatch):
    """Keeps each figure, so that a test can ask what is in it."""
    from matplotlib.backends import backend_agg

    kept = []

    class Canvas(backend_agg.FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            kept.append(figure)

    monkeypatch.setattr(backend_agg, "FigureCanvasAgg", Canvas)
    return kept


def measured(temperature, n=60):
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.full(4, 0.4), n)
    return calibration.measure(scores, rng.integers(0, 4, n), temperature)


def test_both_curves_and_their_errors(figures, tmp_path):
    found = measured(2.5)
    reliability.diagram(tmp_path / "a.png", found, "a model, split test")
    axes, below = figures[0].axes
    for container, key in zip(axes.containers, ("bins_before", "bins")):
        bins = [b for b in found[key] if b["clips"]]
        line = container.lines[0]
        for axis, name in enumerate(("confidence", "accuracy")):
            np.testing.assert_allclose(
                np.float64(line.get_data()[axis]),
                [100 * b[name] for b in bins],
            )
    heights = [[b.get_height() for b in c] for c in below.containers]
    for found_heights, key in zip(heights, ("bins_before", "bins")):
        assert found_heights == [b["clips"] for b in found[key] if b["clips"]]
    texts = [t.get_text() for t in figures[0].legends[0].get_texts()]
    assert texts == [
        f"the model's own: error (ECE) {100 * found['ece_before']:.1f} %",
        "calibrated, temperature 2.5: error (ECE) "
        f"{100 * found['ece_after']:.1f} %",
    ]
    title = figures[0]._suptitle.get_text()
    assert title == "a model, split test\n60 clips"


def test_nothing_is_cut_off(figures, tmp_path):
    path = tmp_path / "a.png"
    words = "a very long name of a model that nobody would give, " * 4
    reliability.diagram(path, measured(0.4, 3), words, words)
    height, width, _ = image.imread(path).shape
    texts = [figures[0]._suptitle, figures[0].axes[1].xaxis.label]
    texts += figures[0].legends[0].get_texts()
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width, text
        assert box.y0 >= 0 and box.y1 <= height, text


def test_one_curve_without_a_temperature(figures, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        reliability.diagram(path, measured(None), "")
    assert len(figures[0].axes[0].containers) == 1
    assert len(figures[0].legends[0].get_texts()) == 1
    # Equal charts are equal files.
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_place_that_is_taken(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(EmorecError, match=r"a\.png: cannot be written"):
        reliability.diagram(tmp_path / "a.png", measured(2.0), "")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "share, n, low, high",
    # Wilson's interval as any table has it.
    [(0.5, 10, 0.2366, 0.7634), (0.0, 10, 0.0, 0.2775), (1.0, 1, 0.2065, 1.0)],
)
def test_the_interval_of_a_share(share, n, low, high):
    found = reliability._interval(share, n)
    np.testing.assert_allclose(found, (low, high), atol=1e-4)
