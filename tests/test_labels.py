"""Label sets."""

import pytest

from emorec import labels
from emorec.errors import LabelError
from emorec.labels import LabelSet


def test_the_built_in_sets():
    mec = labels.resolve("mec2017")
    assert mec.name == "mec2017" and len(mec) == 8
    assert mec.names == (
        "happy",
        "sad",
        "angry",
        "surprise",
        "disgust",
        "worried",
        "anxious",
        "neutral",
    )
    assert [mec.id_of(n) for n in mec.names] == list(range(8))
    fer = labels.resolve("fer2013")
    assert len(fer) == 7 and fer.id_of("fear") == 2


def test_auto_does_not_depend_on_the_order():
    found = labels.resolve("auto", ["sad", "happy", "sad", "awe"])
    assert found == LabelSet("auto", ("awe", "happy", "sad"))
    assert labels.resolve("auto", {"awe", "sad", "happy"}) == found
    with pytest.raises(LabelError) as e:
        labels.resolve("auto")
    assert str(e.value) == "`--labels=auto` needs data with labels: none"


def test_a_file_of_labels(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffcalm\n\n  in awe  \nbored\n", encoding="utf-8")
    found = labels.resolve(str(path))
    assert found == LabelSet("mine.txt", ("calm", "in awe", "bored"))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "`labels` must hold 1 to 1000 names. Received: 0 names"),
        (b"\xff\xfe", "cannot be read as UTF-8 text ("),
        (b"sad\nsad\n", "must not repeat a name. Received: sad more than"),
        (b"x" * 65, "printable names of 1 to 64 characters. Received: 'xxx"),
        (b"a\x07b", "printable names of 1 to 64 characters. Received: 'a"),
        (b"a\n" * ((1 << 19) + 1), "a label file holds at most 1 MiB"),
    ],
    ids=["empty", "binary", "repeated", "long", "control", "big"],
)
def test_a_bad_file(tmp_path, data, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(data)
    with pytest.raises(LabelError) as e:
        labels.resolve(str(path))
    assert message in str(e.value) and "mine.txt" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_spec_that_is_nothing(tmp_path):
    for spec in ("mec2018", str(tmp_path)):
        with pytest.raises(LabelError) as e:
            labels.resolve(spec)
        assert str(e.value) == (
            "`--labels` must be mec2017, fer2013, auto or the path of a text "
            f"file with one label a line. Received: {spec!r}"
        )


def test_an_unknown_label_is_named():
    with pytest.raises(LabelError) as e:
        LabelSet("mine", ("a", "b")).id_of("c")
    assert str(e.value) == (
        "unknown label 'c': the label set 'mine' holds a, b"
    )


@pytest.mark.parametrize("names", [(), ("",), (" a",), ("a\nb",), ("a", "a")])
def test_bad_names_are_refused(names):
    with pytest.raises(LabelError, match="^`labels` must "):
        LabelSet("mine", names)
    with pytest.raises(LabelError, match="^`labels` must hold 1 to 1000"):
        LabelSet("mine", tuple(f"n{i}" for i in range(1001)))


def test_round_trip_and_damage():
    found = labels.resolve("fer2013")
    assert LabelSet.from_dict(found.to_dict()) == found
    for values in ({}, {"name": "x"}, {"name": "x", "names": 3}, None):
        with pytest.raises(LabelError) as e:
            LabelSet.from_dict(values)
        assert str(e.value) == (
            f"a label set needs `name` and `names`. Received: {values!r}"
        )


def test_a_word_stands_for_one_emotion():
    words = [word for row in labels._WORDS for word in row]
    assert len(words) == len(set(words))
    found = labels.match(
        ("Joy", " anxiety ", "worry", "SURPRISED", "fear", "awe", ""),
        labels.MEC2017,
    )
    assert found == [0, 6, 5, 3, None, None, None]
