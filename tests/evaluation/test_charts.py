"""Charts: they show what they were given, whatever its size and names."""

import sys

import numpy as np
import pytest
from matplotlib import image

from emorec.errors import EmorecError
from emorec.evaluation import charts

NAMES = ("happy", "sad", "angry")


@pytest.fixture
def drawn(monkeypatch):
    """Keeps each figure, so that a test can ask what is in it."""
    from matplotlib.backends import backend_agg

    figures = []

    class Canvas(backend_agg.FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            figures.append(figure)

    monkeypatch.setattr(backend_agg, "FigureCanvasAgg", Canvas)
    return figures


def texts_of(figure):
    """Every text that is drawn, but for empty ones."""
    from matplotlib.text import Text

    return [
        t
        for t in figure.findobj(Text)
        if t.get_visible() and t.get_text().strip()
    ]


def assert_a_picture(path):
    """It is one, on white, and nothing of it is cut off at its edges."""
    assert path.read_bytes().startswith(b"\x89PNG")
    pixels = image.imread(path)
    assert pixels.std() > 0.01
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 1).all()


def bars(path, groups, count, names=None):
    names = names or [f"condition {i}" for i in range(count)]
    ones = np.ones(len(groups))
    series = dict.fromkeys(names, (ones, 0.9 * ones, 1.2 * ones))
    charts.bar_chart(path, groups, series, "Title", "mean variance", "note")


def test_bars_and_whiskers_are_the_figures(tmp_path, drawn):
    path = tmp_path / "bars.png"
    series = {
        "original": ([1.0, 2.0, 0.5], [0.8, 1.5, 0.4], [1.3, 2.5, 0.6]),
        "cropped": ([1.5, np.nan, 1.0], [1.4, np.nan, np.nan], [1.6] * 3),
    }
    charts.bar_chart(path, NAMES, series, "Title", "mean variance")
    assert_a_picture(path)
    axes = drawn[0].axes[0]
    first, second = [c for c in axes.containers if hasattr(c, "errorbar")]
    assert [p.get_height() for p in first] == [1.0, 2.0, 0.5]
    assert [p.get_height() for p in second][0::2] == [1.5, 1.0]
    # Side by side, not one over the other.
    assert first[0].get_x() + first[0].get_width() <= second[0].get_x()
    (lines,) = first.errorbar[2]
    assert [s[:, 1].tolist() for s in lines.get_segments()] == [
        [0.8, 1.3],
        [1.5, 2.5],
        [0.4, 0.6],
    ]
    # A whisker without a bound has no length.
    (lines,) = second.errorbar[2]
    np.testing.assert_allclose(lines.get_segments()[2][:, 1], [1.0, 1.6])
    assert axes.get_ylim()[0] == 0
    assert {"original", "cropped", *NAMES, "Title", "mean variance"} <= {
        t.get_text() for t in texts_of(drawn[0])
    }


@pytest.mark.parametrize(
    "groups, count",
    [
        (["happy"], 1),
        (NAMES, 2),
        ([f"a_very_long_name_of_an_emotion_{i}" for i in range(20)], 2),
        ([f"e{i}" for i in range(25)], 8),
    ],
    ids=["one", "three", "long", "many"],
)
def test_bars_of_any_number_are_not_cut_off(tmp_path, groups, count):
    bars(tmp_path / "bars.png", groups, count)
    assert_a_picture(tmp_path / "bars.png")


def test_a_note_and_a_legend_do_not_overlap(tmp_path, drawn):
    bars(tmp_path / "bars.png", NAMES, 2)
    figure = drawn[0]
    figure.canvas.draw()
    note = figure.axes[0].xaxis.label.get_window_extent()
    assert not note.overlaps(figure.legends[0].get_window_extent())


def test_names_are_no_formulas(tmp_path, drawn):
    hostile = [r"$\frac{$", "50 % & <b>", "a_{1}^2", r"$\undefined$"]
    bars(tmp_path / "bars.png", hostile, 2, hostile[::3])
    counts = np.ones((4, 5), int)
    path = tmp_path / "matrix.png"
    charts.confusion_matrix(path, counts, hostile, r"$\x$", r"$\y$")
    assert r"$\undefined$" in [t.get_text() for t in texts_of(drawn[0])]


def test_a_matrix_shows_shares_and_counts(tmp_path, drawn):
    counts = np.array([[6, 2, 0, 0], [1, 998, 1, 0], [0, 0, 0, 0]])
    path = tmp_path / "matrix.png"
    charts.confusion_matrix(path, counts, NAMES, "Title", "a note")
    assert_a_picture(path)
    axes, bar = drawn[0].axes
    (picture,) = axes.images
    np.testing.assert_allclose(
        picture.get_array(),
        [[75, 25, 0, 0], [0.1, 99.8, 0.1, 0], [0, 0, 0, 0]],
    )
    assert picture.get_clim() == (0, 100)
    assert [t.get_text() for t in axes.texts] == [
        *("75 %\n6", "25 %\n2", "0", "0"),
        *("<1 %\n1", "100 %\n998", "<1 %\n1", "0"),
        *("-", "-", "-", "-"),
    ]
    across = [t.get_text() for t in axes.get_xticklabels()]
    assert across == [*NAMES, "no face"]
    down = [t.get_text() for t in axes.get_yticklabels()]
    assert down == ["happy  (8)", "sad  (1000)", "angry  (0)"]
    assert "a note" in [t.get_text() for t in texts_of(drawn[0])]


def test_texts_can_be_read_on_their_cells(tmp_path, drawn):
    for share in (0, 55, 71, 72, 100):
        counts = np.array([[share, 100 - share]])
        charts.confusion_matrix(tmp_path / "m.png", counts, ["a"], "Title")
        axes = drawn[-1].axes[0]
        ground = axes.images[0].cmap(share / 100)[:3]
        text = axes.texts[0].get_color()
        ratio = contrast(ground, (1, 1, 1) if text == "white" else (0, 0, 0))
        # WCAG 2 asks 4.5 of small texts.
        assert ratio > 4.49, (share, text, ratio)


def contrast(one, two):
    """The contrast of two colours as WCAG 2 defines it, 1 to 21."""

    def light(colour):
        c = np.asarray(colour)
        c = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return c @ (0.2126, 0.7152, 0.0722)

    low, high = sorted((light(one), light(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("k", [1, 2, 20, 300])
def test_a_matrix_of_any_size_is_not_cut_off(tmp_path, drawn, k):
    counts = np.random.default_rng(0).integers(0, 900, (k, k + 1))
    names = [f"quite a long name of label number {i}" for i in range(k)]
    path = tmp_path / "matrix.png"
    charts.confusion_matrix(path, counts, names, "Title " * k, "note " * k)
    assert_a_picture(path)
    labels = [t.get_text() for t in drawn[0].axes[0].get_yticklabels()]
    # Cut in the middle: the number at the end still tells them apart.
    assert len(set(labels)) == len(labels)
    assert max(drawn[0].get_size_inches()) <= 22
    if k <= 20:
        assert len(labels) == k
        boxes = [t.get_window_extent() for t in drawn[0].axes[0].texts]
        assert not boxes[0].overlaps(boxes[1])


def epochs(count, start=0.0, validation=True):
    rows = []
    for i in range(count):
        row = {"loss": 2.0 - 0.1 * i + start, "accuracy": 0.1 * i}
        if validation:
            row |= {"val_loss": 2.5 - 0.1 * i, "val_accuracy": 0.05 * i}
        rows.append(row)
    return rows


def test_curves_are_the_figures_of_the_epochs(tmp_path, drawn):
    path = tmp_path / "curves.png"
    charts.training_curves(path, {"seed 0": epochs(4)}, "caca_rnn_a")
    assert_a_picture(path)
    loss, accuracy = drawn[0].axes
    train, validation = loss.lines
    assert train.get_xdata().tolist() == [1, 2, 3, 4]
    assert train.get_ydata().tolist() == [2.0, 1.9, 1.8, 1.7]
    assert validation.get_ydata().tolist() == [2.5, 2.4, 2.3, 2.2]
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [0, 10, 20, 30])
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [0, 5, 10, 15])
    # Training is thin and dashed, validation full.
    assert (train.get_linestyle(), validation.get_linestyle()) == ("--", "-")
    assert train.get_linewidth() < validation.get_linewidth()
    key = [t.get_text() for t in loss.get_legend().get_texts()]
    assert key == ["training", "validation"]
    assert not drawn[0].legends


def test_what_was_not_measured_is_not_drawn(tmp_path, drawn):
    runs = {"a": epochs(3, validation=False), "b": []}
    runs["a"][1]["loss"] = float("nan")
    runs["a"][2]["accuracy"] = None
    charts.training_curves(tmp_path / "c.png", runs, "Title")
    loss, accuracy = drawn[0].axes
    assert len(loss.lines) == len(accuracy.lines) == 1
    assert np.isnan(loss.lines[0].get_ydata()).tolist() == [False, True, False]
    key = [t.get_text() for t in loss.get_legend().get_texts()]
    assert key == ["training"]


def test_one_epoch_is_a_point(tmp_path, drawn):
    charts.training_curves(tmp_path / "c.png", {"a": epochs(1)}, "Title")
    loss = drawn[0].axes[0]
    assert [line.get_marker() for line in loss.lines] == ["o", "o"]
    assert [t for t in loss.get_xticks() if 0.5 <= t <= 1.5] == [1]


@pytest.mark.parametrize("count", [0, 7, 14, 60])
def test_curves_of_any_number_of_runs(tmp_path, drawn, count):
    runs = {
        f"a_long_name_of_a_system seed {i}": epochs(3, i / 50)
        for i in range(count)
    }
    charts.training_curves(tmp_path / "c.png", runs, "Title")
    assert_a_picture(tmp_path / "c.png")
    lines = drawn[0].axes[0].lines
    assert len(lines) == 2 * count
    assert len({line.get_color() for line in map(_hashed, lines)}) == count
    if count == 60:
        names = [t.get_text() for t in drawn[0].legends[0].get_texts()]
        assert names == [next(iter(runs)), "... 60 runs ...", list(runs)[-1]]
    elif count > 1:
        names = [t.get_text() for t in drawn[0].legends[0].get_texts()]
        assert names == list(runs)


def _hashed(line):
    if not isinstance(line.get_color(), str):
        line.set_color(tuple(np.round(line.get_color(), 6)))
    return line


def test_equal_charts_are_equal_files(tmp_path):
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    bars(one, NAMES, 2)
    bars(two, NAMES, 2)
    assert one.read_bytes() == two.read_bytes()


def test_no_state_is_left_and_the_users_settings_do_not_matter(tmp_path):
    import matplotlib

    one, two = tmp_path / "one.png", tmp_path / "two.png"
    bars(one, NAMES, 2)
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        bars(two, NAMES, 2)
        assert dict(matplotlib.rcParams) == before
    assert one.read_bytes() == two.read_bytes()
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_chart_that_cannot_be_written_leaves_nothing(tmp_path):
    folder = tmp_path / "taken.png"
    folder.mkdir()
    with pytest.raises(EmorecError, match=r"taken.png: cannot be written"):
        bars(folder, NAMES, 2)
    bad = tmp_path / "bad.png"
    with pytest.raises(ValueError):
        charts.bar_chart(bad, NAMES, {"a": ([1], [1], [1])}, "", "")
    with pytest.raises(ValueError, match=r"\[K, K \+ 1\].* \(3, 3\), 3 names"):
        charts.confusion_matrix(bad, np.ones((3, 3), int), NAMES, "")
    assert [p.name for p in tmp_path.iterdir()] == ["taken.png"]


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError) as e:
        charts.require()
    assert e.value.name == "matplotlib"
    with pytest.raises(ModuleNotFoundError):
        bars(tmp_path / "a.png", NAMES, 2)
    assert not list(tmp_path.iterdir())
