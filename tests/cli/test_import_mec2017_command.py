"""`emorec import_mec2017`: what it prints, and how it fails."""

import openpyxl
import pytest
from testing import videos
from testing.commands import Done

from emorec.cli import app
from emorec.data import manifest


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs the command in `tmp_path`, which has clips of three splits."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "train/001.avi",
        "train/002.avi",
        "val/101.avi",
        "test/201.avi",
    ):
        path = tmp_path / "CHEAVD" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Different videos, or they would be copies in two splits.
        shown = int(path.stem)
        pictures = [videos.picture(shown)] * 3
        videos.write_video(path, pictures=pictures)

    def run(*args):
        capsys.readouterr()
        code = app.run("import_mec2017", ["--output=m.csv", *args])
        return Done(code, *capsys.readouterr())

    return run


TRAIN = ("--videos=CHEAVD/train", "--label_file=train.csv", "--split=train")


def test_three_splits(run, tmp_path):
    (tmp_path / "train.csv").write_bytes(
        "文件名;情感;备注\n001;高兴;\n002.avi;焦虑;夜\n".encode("gb18030")
    )
    (tmp_path / "val.txt").write_text("101.avi   Sadness\n")
    book = openpyxl.Workbook()
    book.active.append(["video"])
    book.active.append([201])
    book.save(tmp_path / "test.xlsx")
    done = run(*TRAIN)
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "train.csv: text, semicolons, gb18030\n"
        "columns not used: 备注\n"
        "m.csv: 2 rows added, 2 in all\n"
        "  label    train\n"
        "  happy        1\n"
        "  anxious      1\n"
    )
    done = run(
        *("--videos=CHEAVD/val", "--label_file=val.txt", "--append"),
        *("--split=validation", "--file_column=1", "--label_column=2"),
    )
    assert (done.code, done.err) == (0, "")
    done = run(
        *("--videos=CHEAVD", "--label_file=test.xlsx", "--split=test"),
        *("--append", "--source=cheavd_test"),
    )
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "test.xlsx: XLSX, sheet 'Sheet'\n"
        "videos in no row: 3\n"
        "m.csv: 1 rows added, 4 in all\n"
        "  label    train  validation  unlabelled\n"
        "  happy        1           0           0\n"
        "  sad          0           1           0\n"
        "  anxious      1           0           0\n"
        "  (none)       0           0           1\n"
    )
    assert (tmp_path / "m.csv").read_text() == (
        "video,label,split,source\n"
        "CHEAVD/train/001.avi,happy,train,cheavd2\n"
        "CHEAVD/train/002.avi,anxious,train,cheavd2\n"
        "CHEAVD/val/101.avi,sad,validation,cheavd2\n"
        "CHEAVD/test/201.avi,,unlabelled,cheavd_test\n"
    )
    assert len(manifest.read("m.csv").sha256) == 4


def test_every_flag_of_a_column(run, tmp_path):
    (tmp_path / "train.csv").write_text("001,sad,1,2,anna\n001,happy,2,,bert\n")
    done = run(
        *("--videos=CHEAVD/train", "--label_file=train.csv", "--noheader"),
        *("--file_column=1", "--label_column=2", "--start_column=3"),
        *("--end_column=4", "--identity_column=5", "--source=own"),
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(
        "  label  to draw\n  happy        1\n  sad          1\n"
    )
    assert (tmp_path / "m.csv").read_text() == (
        "video,label,start,end,identity,source\n"
        "CHEAVD/train/001.avi,sad,1,2,anna,own\n"
        "CHEAVD/train/001.avi,happy,2,,bert,own\n"
    )


def test_faults_are_listed(run, tmp_path):
    (tmp_path / "train.csv").write_text(
        "clip,label\n001,sad\n001,sad\n9,fear\n"
    )
    done = run(*TRAIN)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "emorec import_mec2017: train.csv: 3 faults\n"
        "  line 3: video '001.avi' is in line 2 already; a video stands once, "
        "or in parts of their own start and end\n"
        "  line 4: there is no video '9'\n"
        "  line 4: unknown label 'fear' (line 4); there are happy, sad, angry, "
        "surprise, disgust, worried, anxious, neutral, and their names in "
        "Chinese\n"
    )
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--split=dev",), 2, "flag --split=dev: value should be one of <trai"),
        (("--videos=no",), 2, "`videos` must be a folder of clips. Received:"),
        (("--label_file=no.csv",), 1, "no.csv: is not a file; give a CSV, TXT"),
        (("--label_column=mood",), 2, "`label_column` 'mood' is no column; gi"),
        (("--sheet=two",), 2, "`sheet` is for XLSX files, and train.csv is no"),
        (("--append", "--overwrite"), 2, "give `append` or `overwrite`, not b"),
        (("--output=there.csv",), 1, "there.csv: is there already; `append` t"),
        (("--output=CHEAVD",), 1, "CHEAVD: is not a plain file, which alone a"),
        (("--output=train.csv",), 2, "the manifest must not replace the label"),
        (("--source=a=b",), 2, "`source` must be 1 to 64 letters, digits, '_'"),
        (("more",), 2, "takes flags only. Received: more"),
    ],
)  # fmt: skip
def test_one_line_of_error(run, tmp_path, args, code, message):
    (tmp_path / "train.csv").write_text("file,label\n001,sad\n")
    (tmp_path / "there.csv").touch()
    done = run(*TRAIN, *args)
    assert done.code == code
    assert done.fault().startswith(f"emorec import_mec2017: {message}")
    assert not (tmp_path / "m.csv").exists()


def test_help_states_the_layout(run):
    done = run("--help")
    assert done.code == 0
    for words in ("ASSUMED: a folder of clips", "高兴 悲伤 愤怒", "--append"):
        assert words in done.out
