"""The CSV of FER2013 as face images, with faults told by line."""

import numpy as np
import pytest
from testing.images import line, sheet, sound

from emorec.errors import EmorecError, ManifestError
from emorec.features import face_images, fer2013


def read(path, **changes):
    settings = {"validation_share": 0.25, "max_left_out": 0.05, **changes}
    return face_images.read(path, 16, **settings)


def fault(path, **changes) -> str:
    with pytest.raises(EmorecError) as e:
        read(path, **changes)
    assert "\n" not in str(e.value)
    return str(e.value)


def test_fer2013(tmp_path):
    made = read(sheet(tmp_path / "a.csv", sound()))
    assert made.labels.name == "fer2013"
    assert made.labels.names[3] == "happy"
    assert made.pixels.shape == (28, 48, 48, 1)
    assert not made.drawn and made.names[0] == "line 2"
    for split, count in (("train", 2), ("validation", 1), ("test", 1)):
        assert made.counts(split).tolist() == [count] * 7
    expected = np.random.default_rng([1, 0]).integers(0, 256, 48 * 48)
    np.testing.assert_array_equal(made.pixels[1].ravel(), expected)


def test_the_other_form_of_its_header(tmp_path):
    """As the CSV of the challenge has it, with blanks and another order."""
    lines = [
        "{0},{2},{1}".format(*text.split(","))
        for text in [*sound(), ""]
        if text
    ]
    made = read(sheet(tmp_path / "a.csv", lines, "emotion, Usage, pixels"))
    assert made.counts("test").tolist() == [1] * 7


def test_without_usage_validation_is_drawn(tmp_path):
    lines = [text.rpartition(",")[0] for text in sound()]
    made = read(sheet(tmp_path / "a.csv", lines, "emotion,pixels"))
    assert made.drawn
    assert made.counts("validation").tolist() == [1] * 7


@pytest.mark.parametrize(
    "text, why",
    [
        (line(7), "has `emotion` '7', not 0 to 6"),
        (line(-1), "has `emotion` '-1', not 0 to 6"),
        (line().replace("0,", "happy,", 1), "has `emotion` 'happy'"),
        (line(count=2303), "has 2303 `pixels`, not 48 x 48 = 2304"),
        (line().replace(",", ",256 ", 1), "has 2305 `pixels`"),
        ("0," + "300 " * 2304 + ",Training", "not numbers 0 to 255"),
        ("0," + "-1 " * 2304 + ",Training", "not numbers 0 to 255"),
        ("0," + "x " * 2304 + ",Training", "not numbers 0 to 255"),
        (line(usage="Final"), "has `Usage` 'Final', not Training"),
        ("0,1 2 3", "has 2 columns, fewer than line 1"),
        ('0,"1 2', "is not CSV in ASCII"),
        ("0,ä,Training", "is not CSV in ASCII"),
        ("0," + "1 " * 40_000 + ",Training", "is over 16384 bytes"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path, text, why):
    lines = sound()
    lines.insert(3, text)
    lines.insert(4, "")
    path = sheet(tmp_path / "a.csv", lines)
    made = read(path)
    assert len(made.names) == 28
    (found,) = made.left_out
    assert found[0] == "line 5" and why in found[1]
    assert made.names[3] == "line 7"
    assert f"line 5 {found[1]}" in fault(path, max_left_out=0)


@pytest.mark.parametrize("header", ["", "a,b,c", "0,1 2 3,Training", "ä"])
def test_a_csv_of_something_else(tmp_path, header):
    path = sheet(tmp_path / "a.csv", sound(), header)
    with pytest.raises(ManifestError, match="line 1 must name the columns"):
        read(path)


def test_a_csv_needs_every_class(tmp_path):
    lines = [text for text in sound() if text[0] not in "36"]
    assert "none of happy, neutral;" in fault(sheet(tmp_path / "a.csv", lines))
    empty = sheet(tmp_path / "b.csv", [])
    assert "holds no images" in fault(empty)


def test_a_binary_file_is_no_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(range(256)) * 1000)
    assert "line 1 must name the columns" in fault(path)
    assert fer2013.count_lines(path) == 999
