"""`emorec train_face`: what it prints, writes and refuses."""

import json
import os
from unittest import mock

import pytest
from absl import logging
from testing.commands import Done
from testing.images import faces, line, sheet, sound

from emorec.cli import app

SMALL = (
    "--set=face_train.batch_size=16",
    "--set=face_train.epochs=1",
)


@pytest.fixture
def here(capsys):
    """Runs the command in this process."""

    def run(*args) -> Done:
        capsys.readouterr()
        verbosity = logging.get_verbosity()
        try:
            with mock.patch.dict(os.environ):
                code = app.run("train_face", [str(a) for a in args])
        finally:
            logging.set_verbosity(verbosity)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return faces(tmp_path_factory.mktemp("faces"), 12)


def test_a_folder_of_images(here, images, tmp_path):
    folder = tmp_path / "face"
    args = (f"--images={images}", f"--output_dir={folder}", *SMALL)
    done = here(*args)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[:2] == [
        "36 images of 3 classes (happy, sad, surprise): 30 train, 6 "
        "validation (validation was drawn)",
        "mini_xception, 64 x 64, 53,811 parameters: RANDOM initial weights",
    ]
    assert lines[2].startswith("epoch   1  loss ")
    assert lines[3].startswith("best epoch 1 of 1 (val_loss ")
    assert lines[4] == "validation, 6 images:"
    assert lines[5].endswith(" %  ACC (accuracy)")
    assert lines[-1].startswith(f"face encoder: {folder} (emorec train --f")
    metrics = json.loads((folder / "metrics.json").read_text())
    confusion = metrics["validation"]["confusion"]
    assert [sum(row) for row in confusion] == [2, 2, 2]
    info = json.loads((folder / "face_classifier.json").read_text())
    assert info["metrics"] == metrics
    # Again: refused; then over it, from its own weights, without a word of
    # progress.
    done = here(*args)
    assert done.code == 1
    assert done.fault() == (
        f"emorec train_face: {folder}: holds a trained face classifier; "
        "choose another --output_dir, or give --overwrite"
    )
    done = here(
        *args,
        "--overwrite",
        "--quiet",
        "--freeze",
        f"--weights={folder / 'face_classifier.keras'}",
    )
    assert done.code == 0, done.err
    assert done.out.splitlines()[1] == (
        "mini_xception, 64 x 64, 53,811 parameters: initial weights of "
        "face_classifier.keras; the last layer alone is trained"
    )
    assert "epoch   1" not in done.out


@pytest.mark.long
def test_a_csv_with_faults(here, tmp_path):
    path = sheet(tmp_path / "fer.csv", [*sound(), line(9), line(count=3)])
    args = (f"--images={path}", f"--output_dir={tmp_path / 'face'}", *SMALL)
    done = here(*args)
    assert done.code == 1
    assert done.fault() == (
        f"emorec train_face: {path}: 2 of 30 images cannot be used, more "
        "than --max_left_out=0.05 allows: line 30 has `emotion` '9', not 0 "
        "to 6; line 31 has 3 `pixels`, not 48 x 48 = 2304"
    )
    assert not (tmp_path / "face").exists()
    done = here(*args, "--max_left_out=0.1")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].endswith("14 train, 7 validation, 7 test")
    assert lines[1:4] == [
        "2 images cannot be used:",
        "  line 30 has `emotion` '9', not 0 to 6",
        "  line 31 has 3 `pixels`, not 48 x 48 = 2304",
    ]
    assert "test, 7 images:" in lines
    metrics = json.loads((tmp_path / "face" / "metrics.json").read_text())
    assert list(metrics) == ["validation", "test"]


@pytest.mark.parametrize(
    "args, code, why",
    [
        (["--images=nowhere"], 1, "nowhere: no such folder or file; --images"),
        (["--architecture=vgg"], 1, "`architecture` must be one of mini_xcep"),
        (["--freeze"], 2, "--freeze trains the last layer alone, on features"),
        (["--set=model.system=x"], 2, "takes fields of face_train alone. Rec"),
        (["--set=face_train.size=3"], 1, "with a field of `emorec.config`"),
        (["--set=face_train.epochs=-1"], 1, "config `face_train.epochs` must"),
        (["--weights=no.h5"], 1, "no.h5: cannot be read as an HDF5 file of"),
        (["--max_left_out=2"], 2, "flag --max_left_out=2"),
        (["faces"], 2, "takes flags only. Received: faces"),
        (
            ["--architecture=vgg16", "--set=face_train.image_size=16"],
            1,
            "VGG16 cannot be built for images of 16 x 16 pixels",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    here, images, tmp_path, args, code, why
):
    folder = tmp_path / "face"
    given = [f"--images={images}", f"--output_dir={folder}", *SMALL]
    done = here(*given, *args)
    assert done.code == code
    assert why in done.fault()
    assert not folder.exists()


def test_help_names_every_flag(here):
    done = here("--help")
    assert done.code == 0
    assert done.out.startswith("emorec train_face: labelled face images to a")
    for flag in ("images", "architecture", "weights", "[no]freeze", "seed"):
        assert f"  --{flag}\n" in done.out
