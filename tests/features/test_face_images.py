"""Face images out of folders, good ones and bad."""

import os

import numpy as np
import pytest
from testing.images import folder, picture, write

from emorec.errors import EmorecError, LabelError
from emorec.features import face_images, image_file, image_folders


def read(path, **changes):
    settings = {"validation_share": 0.25, "max_left_out": 0.05, **changes}
    return face_images.read(path, 16, **settings)


def fault(path, **changes) -> str:
    """Returns the one line of error of reading a path."""
    with pytest.raises(EmorecError) as e:
        read(path, **changes)
    assert "\n" not in str(e.value)
    return str(e.value)


def test_a_folder_for_each_class(tmp_path):
    folder(tmp_path, {"sad": 8, "happy": 4})
    write(tmp_path / "happy" / "other.JPEG", picture(100))
    (tmp_path / "happy" / "notes.txt").write_text("mine")
    (tmp_path / "happy" / ".hidden.png").write_text("no image")
    made = read(tmp_path)
    assert made.labels.names == ("happy", "sad")
    assert made.labels.name == tmp_path.name
    assert made.pixels.shape == (13, 16, 16, 3)
    assert made.label_ids.tolist() == [0] * 5 + [1] * 8
    assert made.names[0] == "happy/000.png" and made.names[-1] == "sad/007.png"
    assert made.drawn and made.ignored == 1 and not made.left_out
    np.testing.assert_array_equal(
        made.pixels[3], image_file.read(tmp_path / made.names[3], 16)
    )
    # A quarter of each class.
    assert made.counts("validation").tolist() == [1, 2]
    assert made.counts("train").tolist() == [4, 6]
    rows = np.concatenate([made.rows["train"], made.rows["validation"]])
    assert sorted(rows) == list(range(13))


def test_the_draw_goes_by_the_names(tmp_path):
    first = read(folder(tmp_path / "a", {"x": 12, "y": 12}))
    again = read(folder(tmp_path / "b", {"x": 12, "y": 12}))
    assert first.rows["validation"].tolist() == (
        again.rows["validation"].tolist()
    )
    assert first.fingerprint == again.fingerprint
    # Not the first ones, which may all be of one person.
    assert first.rows["validation"].tolist() != [0, 1, 2, 12, 13, 14]
    held_out = {first.names[i] for i in first.rows["validation"]}
    # One more image moves no other one from split to split but at the edge.
    write(tmp_path / "b" / "x" / "new.png", picture(999))
    more = read(tmp_path / "b")
    assert more.fingerprint != first.fingerprint
    assert len(held_out - {more.names[i] for i in more.rows["validation"]}) < 2


def test_as_it_is_split(tmp_path):
    folder(tmp_path / "Train", {"a": 3, "b": 2})
    folder(tmp_path / "val", {"a": 1, "b": 1})
    folder(tmp_path / "test", {"a": 2})
    made = read(tmp_path)
    assert not made.drawn
    assert {s: made.counts(s).tolist() for s in made.rows} == {
        "train": [3, 2],
        "validation": [1, 1],
        "test": [2, 0],
    }
    # `folder` begins with the same pictures each time.
    assert made.copies == 4
    assert made.describe()["counts"]["test"] == {"a": 2, "b": 0}


def test_validation_is_drawn_where_only_a_test_split_is_given(tmp_path):
    folder(tmp_path / "train", {"a": 4, "b": 4})
    folder(tmp_path / "test", {"a": 1, "b": 1})
    made = read(tmp_path)
    assert made.drawn
    assert made.counts("validation").tolist() == [1, 1]
    assert made.counts("test").tolist() == [1, 1]


def test_bad_images_are_left_out_and_told(tmp_path):
    folder(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "bad.png").write_text("no image")
    made = read(tmp_path)
    assert made.left_out == [
        ("a/bad.png", "is no PNG, JPEG, BMP or WebP picture")
    ]
    assert len(made.names) == len(made.pixels) == 20
    assert made.label_ids.tolist() == [0] * 10 + [1] * 10
    assert fault(tmp_path, max_left_out=0.01) == (
        f"{tmp_path}: 1 of 21 images cannot be used, more than "
        "--max_left_out=0.01 allows: a/bad.png is no PNG, JPEG, BMP or WebP "
        "picture"
    )


def test_links_may_not_lead_out(tmp_path):
    root = folder(tmp_path / "faces", {"a": 3, "b": 3})
    outside = write(tmp_path / "secret.png")
    (root / "a" / "out.png").symlink_to(outside)
    (root / "a" / "in.png").symlink_to(root / "b" / "000.png")
    (root / "a" / "gone.png").symlink_to(root / "b" / "nothing.png")
    made = read(root, max_left_out=0.5)
    assert made.left_out == [
        ("a/gone.png", "cannot be read (No such file or directory)"),
        ("a/out.png", "is a link that leads out of --images"),
    ]
    assert "a/in.png" in made.names
    (root / "c").symlink_to(folder(tmp_path / "other", {"x": 1}) / "x")
    assert fault(root).startswith(
        f"{root / 'c'}: is a link that leads out of --images; put"
    )


def test_folders_of_neither_form(tmp_path):
    assert fault(tmp_path / "absent").startswith(
        f"{tmp_path / 'absent'}: no such folder or file; --images takes"
    )
    assert fault(folder(tmp_path / "one", {"a": 2})).endswith("Received: a")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert fault(empty).endswith("Received: none")
    mixed = folder(tmp_path / "mixed", {"train": 2, "happy": 2})
    assert "each once" in fault(mixed)
    assert fault(mixed).endswith("Received: happy, train")
    twice = tmp_path / "twice"
    for name in ("train", "val", "validation"):
        folder(twice / name, {"a": 1, "b": 1})
    assert fault(twice).endswith("Received: train, val, validation")
    no_train = folder(tmp_path / "no_train" / "test", {"a": 1, "b": 1})
    assert fault(no_train.parent).endswith("Received: test")
    deep = folder(tmp_path / "deep" / "x", {"a": 1, "b": 1}).parent
    folder(deep / "y", {"a": 1})
    assert "must hold images alone" in fault(deep)


def test_every_class_needs_a_training_image(tmp_path):
    folder(tmp_path / "train", {"a": 2, "b": 2})
    folder(tmp_path / "val", {"a": 1, "c": 1})
    assert fault(tmp_path) == (
        f"{tmp_path}: every class needs a training image. Received: none of "
        "c; add some or remove the class"
    )
    bare = folder(tmp_path / "bare", {"a": 1, "b": 1})
    assert "no image is left for validation" in fault(bare)
    none = tmp_path / "none"
    (none / "a").mkdir(parents=True)
    (none / "b").mkdir()
    assert fault(none).startswith(f"{none}: holds no images; there can be")


def test_names_of_classes_are_labels(tmp_path):
    folder(tmp_path, {"a": 2, "b\nc": 2})
    with pytest.raises(LabelError, match="printable names"):
        read(tmp_path)


def test_a_name_that_is_no_utf8_can_be_told(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    source = os.fsencode(tmp_path / "a" / "000.png")
    os.rename(source, os.fsencode(tmp_path / "a") + b"/\xff.png")
    made = read(tmp_path)
    assert "a/\\xff.png" in made.names
    assert b"a/\\xff.png"


def test_the_number_of_images_is_bounded(tmp_path, monkeypatch):
    folder(tmp_path, {"a": 2, "b": 2})
    monkeypatch.setattr(image_folders, "MAX_FILES", 3)
    assert fault(tmp_path) == f"{tmp_path}: holds more than 3 images"
    monkeypatch.undo()
    monkeypatch.setattr(face_images, "MAX_IMAGES", 3)
    assert fault(tmp_path) == f"{tmp_path}: holds more than 3 images"


def test_progress_is_told_and_nothing_is_left_behind(tmp_path):
    root = folder(tmp_path / "faces", {"a": 2, "b": 2})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    told = []
    made = read(root, scratch=scratch, progress=lambda *n: told.append(n))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert not list(scratch.iterdir())
    assert made.pixels.any()
