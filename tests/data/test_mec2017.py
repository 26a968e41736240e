"""The import of CHEAVD 2.0: a made-up folder and label files of every form."""

import datetime
import io
import os

import numpy as np
import openpyxl
import pytest
import skimage.data
from testing import videos

from emorec import labels as label_sets
from emorec.config import Config
from emorec.data import manifest, mec2017, prepare
from emorec.errors import EmorecError, ManifestError, UsageError

ROWS = [
    ("file", "emotion", "note"),
    ("001.avi", "高兴", "a, b"),
    ("002.avi", "Sadness", ""),
    ("003.avi", "焦虑", "张伟"),
]
WANTED = [("001.avi", "happy"), ("002.avi", "sad"), ("003.avi", "anxious")]


@pytest.fixture
def folder(tmp_path):
    """Clips beneath `clips`; nothing opens them, so they are empty."""
    for name in ("001.avi", "002.avi", "003.avi", "sub/004.MP4", "film.mkv"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def write(folder, content, name="labels.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def workbook(rows, **others) -> bytes:
    """An XLSX whose first sheet has `rows`; further sheets by name."""
    book = openpyxl.Workbook()
    book.active.title = "one"
    for name, lines in {"one": rows, **others}.items():
        sheet = book[name] if name == "one" else book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def run(folder, content, name="labels.csv", output="m.csv", **options):
    columns = {
        key: options.pop(key)
        for key in ("file", "label", "start", "end", "identity", "header")
        if key in options
    }
    return mec2017.import_clips(
        str(folder / "clips"),
        write(folder, content, name),
        str(folder / output),
        columns=mec2017.Columns(**columns),
        **options,
    )


def rows_of(folder):
    return manifest.read(f"{folder}/m.csv", check_videos=False).rows


def pairs(folder):
    return [(r.video.removeprefix("clips/"), r.label) for r in rows_of(folder)]


def faults(folder, content, name="labels.csv", **options):
    """Returns the lines of the error that the label file must give."""
    with pytest.raises(ManifestError) as e:
        run(folder, content, name, **options)
    message = str(e.value)
    assert message.startswith(f"{folder}/{name}: ")
    assert not (folder / "m.csv").exists() or options.get("append")
    first, *others = message.removeprefix(f"{folder}/{name}: ").split("\n")
    return [first, *(line.removeprefix("  ") for line in others)]


def only_fault(folder, content, **options):
    first, second = faults(folder, content, **options)
    assert first == "1 fault"
    return second


# Labels


def test_every_name_of_a_label():
    wanted = {
        "happy": "Happy HAPPINESS 高兴 快乐 开心",
        "sad": "sad Sadness 悲伤 伤心 难过",
        "angry": "angry Anger 愤怒 生气",
        "surprise": "surprise surprised 惊讶 惊奇 驚訝",
        "disgust": "disgust disgusted 厌恶",
        "worried": "worried Worry 担心 担忧",
        "anxious": "anxious anxiety 焦虑 ａｎｘｉｏｕｓ",
        "neutral": "neutral 中性 平静",
    }
    assert tuple(wanted) == label_sets.MEC2017
    for label, names in wanted.items():
        for name in names.split():
            assert mec2017.label_of(f" {name}\u3000") == label, name
    for name in ("", "fear", "中", "happy sad", "0"):
        assert mec2017.label_of(name) is None


def test_no_name_means_two_labels():
    names = " ".join([*mec2017.NAMES, *mec2017.NAMES.values()]).split()
    assert len(names) == len(set(names))
    assert tuple(mec2017.NAMES) == label_sets.MEC2017


def test_unknown_labels_are_one_line(folder):
    text = "file,label\n001,fear\n002,sad\n003,怕\nfilm,fear\n"
    assert only_fault(folder, text) == (
        "line 2: unknown labels 'fear' (lines 2, 5), '怕' (line 4); there are "
        "happy, sad, angry, surprise, disgust, worried, anxious, neutral, and "
        "their names in Chinese"
    )
    rows = "".join(f"001,x{i}\n" for i in range(30))
    found = faults(folder, f"file,label\n{rows}")
    assert "'x19' (line 21) and 10 more; there are happy" in found[1]


# Forms of the label file


def delimited(mark, end="\n"):
    return end.join(
        mark.join(f'"{c}"' if mark in c else c for c in row) for row in ROWS
    )


@pytest.mark.parametrize(
    ("mark", "encoding", "form"),
    [
        (",", "utf-8", "text, commas, utf-8"),
        (",", "utf-8-sig", "text, commas, utf-8"),
        (",", "gb18030", "text, commas, gb18030"),
        (";", "gbk", "text, semicolons, gb18030"),
        ("\t", "utf-8", "text, tabs, utf-8"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_text(folder, mark, encoding, form, end):
    made = run(folder, delimited(mark, end).encode(encoding))
    assert pairs(folder) == WANTED
    assert made.form == form
    assert made.unused_columns == ("note",)
    assert (made.added, made.total, made.unused_videos) == (3, 3, 2)


def test_white_space_without_header(folder):
    text = "  001.avi   高兴\n002.avi \u3000 Sadness\n\n003 焦虑 "
    made = run(folder, text, "l.txt", file="1", label="2")
    assert pairs(folder) == WANTED
    assert made.form == "text, white space, utf-8"
    # The same, told that there is a header: one row fewer.
    run(folder, text, "l.txt", file="1", label="2", header=True, overwrite=True)
    assert pairs(folder) == WANTED[1:]


def test_xlsx(folder):
    rows = [
        ("note", "情感", "文件名", "start", "end"),
        (None, "高兴", "film", 0, datetime.time(0, 0, 1, 500000)),
        (),
        ("x", "悲伤", "film", 1.5, datetime.timedelta(hours=25)),
        (None, "sad", 1.0, None, None),
    ]
    (folder / "clips" / "1.avi").touch()
    made = run(folder, workbook(rows), "l.xlsx", start="start", end="5")
    assert made.form == "XLSX, sheet 'one'"
    found = [(r.video, r.label, r.start, r.end) for r in rows_of(folder)]
    assert found == [
        ("clips/film.mkv", "happy", 0, 1.5),
        ("clips/film.mkv", "sad", 1.5, 90000),
        ("clips/1.avi", "sad", 0, None),
    ]


# Splits


def test_test_clips_without_labels(folder):
    text = "file,label\n001,sad\n002,\n"
    made = run(folder, text, split="test")
    found = [(r.label, r.split) for r in rows_of(folder)]
    assert found == [("sad", "test"), (None, "unlabelled")]
    assert made.counts == {("sad", "test"): 1, ("", "unlabelled"): 1}
    # A bare list of names, which could also be a header.
    run(folder, "001\n003\n", split="test", file="1", overwrite=True)
    assert [r.split for r in rows_of(folder)] == ["unlabelled"] * 2
    # A label column that was not recognised must not lose its labels.
    with pytest.raises(UsageError, match="the column of the label is not kn"):
        run(folder, "file,mood\n001,sad\n", split="test", overwrite=True)


def test_unlabelled_clips(folder):
    run(folder, "file,label\n001,fear\n", split="unlabelled")
    (row,) = rows_of(folder)
    assert (row.label, row.split) == (None, "unlabelled")


@pytest.mark.parametrize("split", ["train", "validation", None])
def test_a_clip_without_label(folder, split):
    assert only_fault(folder, "file,label\n001,\n002,sad\n", split=split) == (
        "line 2: has no label; give one, or import clips to predict with split "
        "unlabelled"
    )


def test_without_split_the_draw_is_left_to_prepare(folder):
    made = run(folder, "file,label\n001,sad\n002,happy\n")
    assert (folder / "m.csv").read_text() == (
        "video,label,source\nclips/001.avi,sad,cheavd2\n"
        "clips/002.avi,happy,cheavd2\n"
    )
    assert made.counts == {("sad", ""): 1, ("happy", ""): 1}


# Names of videos


def test_every_fault_is_told_at_once(folder):
    (folder / "clips" / "b").mkdir()
    (folder / "clips" / "b" / "004.mp4").touch()
    names = "001 004 ../x.avi a\x07 no 002 no 002.avi fear".split()
    text = "".join(f"{name}\tsad\n" for name in names)
    assert faults(folder, f"file\tlabel\n{text}\tsad\n003\nfilm\tx\n") == [
        "10 faults",
        "line 3: video '004' could be 'b/004.mp4' or 'sub/004.MP4'; write its "
        "folder and its ending",
        "line 4: video '../x.avi' must be a name beneath the folder of the "
        "videos, without '..'",
        "line 5: has a control character in 'a\\x07'",
        "lines 6, 8: there is no video 'no'",
        "line 9: video '002.avi' is in line 7 already; a video stands once, "
        "or in parts of their own start and end",
        "line 10: there is no video 'fear'",
        "line 11: names no video",
        "line 12: 1 cells where the first line has 2; a cell that holds the "
        "separator needs double quotes, or use tabs",
        "line 13: unknown label 'x' (line 13); there are happy, sad, angry, "
        "surprise, disgust, worried, anxious, neutral, and their names in "
        "Chinese",
    ]


def test_links_within_the_folder_are_one_video(folder):
    (folder / "clips" / "b.avi").symlink_to("001.avi")
    assert "'b.avi' is in line 2 already" in only_fault(
        folder, "file,label\n001,sad\nb,sad\n"
    )


def test_a_manifest_elsewhere_names_absolute_paths(folder):
    (folder / "out").mkdir()
    run(folder, "file,label\n001,sad\n", output="out/m.csv")
    (row,) = manifest.read(f"{folder}/out/m.csv").rows
    assert row.video == row.path == f"{folder}/clips/001.avi"


# Start and end


def test_starts_and_ends(folder):
    text = (
        "file,label,from,to\nfilm,sad,0,1.5\nfilm,happy,1.5,00:00:03.250\n"
        "film,sad,0:01:05,\nfilm,sad,,.5\nfilm,sad,01:00:00,3600.25\n"
    )
    run(folder, text, start="from", end="to")
    found = [(r.start, r.end) for r in rows_of(folder)]
    assert found == [
        (0, 1.5), (1.5, 3.25), (65, None), (0, 0.5), (3600, 3600.25)
    ]  # fmt: skip
    assert (folder / "m.csv").read_text().splitlines()[2] == (
        "clips/film.mkv,happy,1.5,3.25,cheavd2"
    )


def test_columns_of_times_are_read_only_if_named(folder):
    made = run(folder, "file,label,start,end\n001,sad,5,6\n")
    assert rows_of(folder)[0].end is None
    assert made.unused_columns == ("start", "end")


def test_faulty_times(folder):
    cells = [
        ("2", "1"), ("1", "1"), ("-1", "2"), ("0", "nan"), ("01:05", "100"),
        ("00:60:00", ""), ("1e3", ""), ("٣", ""), ("0", "0.0000001"),
    ]  # fmt: skip
    rows = "".join(f"film,sad,{a},{b}\n" for a, b in cells)
    number = "must be seconds from 0, or hh:mm:ss. Received:"
    assert faults(
        folder, "file,label,start,end\n" + rows, start="start", end="end"
    ) == [
        "9 faults",
        "line 2: `end` must be after `start`. Received: 2 to 1",
        "line 3: `end` must be after `start`. Received: 1 to 1",
        f"line 4: `start` {number} '-1'",
        f"line 5: `end` {number} 'nan'",
        f"line 6: `start` {number} '01:05'",
        f"line 7: `start` {number} '00:60:00'",
        f"line 8: `start` {number} '1e3'",
        f"line 9: `start` {number} '٣'",
        "line 10: `end` must be after `start`. Received: 0 to 0",
    ]


def test_parts_may_not_repeat(folder):
    head = "file,label,start,end\n"
    times = {"start": "start", "end": "end"}
    again = "is in line 2 already; a video stands once, or in parts"
    for first, second in (("0,1", "0.0,1"), (",", "1,2"), ("1,2", ",")):
        text = f"{head}film,sad,{first}\nfilm,sad,{second}\n"
        assert again in only_fault(folder, text, **times)


# Appending


def test_three_splits_in_one_manifest(folder):
    run(folder, "file,label\n001,sad\n", split="train", append=True)
    path = folder / "m.csv"
    text = path.read_text()
    assert text == "video,label,split,source\nclips/001.avi,sad,train,cheavd2\n"
    # As another hand may have left it.
    path.write_text("label,VIDEO\n\n sad , clips/001.avi\n")
    run(
        folder,
        "file,label,a,b,who\nfilm,happy,1,2,anna\n",
        split="validation",
        start="a",
        end="b",
        identity="who",
        source="films",
        append=True,
    )
    made = run(folder, "file\n002\n", split="test", append=True)
    assert path.read_text() == (
        "video,label,split,start,end,identity,source\n"
        "clips/001.avi,sad,,,,,\n"
        "clips/film.mkv,happy,validation,1,2,anna,films\n"
        "clips/002.avi,,unlabelled,,,,cheavd2\n"
    )
    assert (made.added, made.total) == (1, 3)
    assert made.counts == {
        ("sad", ""): 1, ("happy", "validation"): 1, ("", "unlabelled"): 1
    }  # fmt: skip


def test_appending_to_a_manifest_of_other_labels(folder):
    path = write(folder, "video,label,source\nx.avi,contempt,own\n", "m.csv")
    run(folder, "file,label\n001,sad\n", append=True)
    rows = manifest.read(path, "auto", check_videos=False).rows
    assert [r.label for r in rows] == ["contempt", "sad"]


def test_what_may_not_be_appended(folder):
    run(folder, "file,label\n001,sad\n002,sad\n", split="train")
    before = (folder / "m.csv").read_bytes()
    text = "file,label\n003,sad\n002,happy\n"
    assert only_fault(folder, text, append=True, split="test") == (
        f"line 3: video '002.avi' is in line 3 of {folder}/m.csv already; a "
        "video stands once, or in parts of their own start and end"
    )
    assert (folder / "m.csv").read_bytes() == before
    (folder / "m.csv").write_text("video,mood\nx,sad\n")
    with pytest.raises(ManifestError, match="line 1: unknown column 'mood'"):
        run(folder, text, append=True)
    (folder / "m.csv").write_text("")
    with pytest.raises(ManifestError, match=r"m.csv: has no rows; the first"):
        run(folder, text, append=True)


def test_a_manifest_that_leaks_is_not_written(folder):
    who = {"identity": "who"}
    run(folder, "file,label,who\n001,sad,anna\n", split="train", **who)
    before = (folder / "m.csv").read_bytes()
    with pytest.raises(ManifestError) as e:
        run(
            folder,
            "file,label,who\n002,sad,anna\n",
            split="test",
            append=True,
            **who,
        )
    assert str(e.value) == (
        f"{folder}/m.csv: not written, for it would have 1 fault\n"
        "  line 2: identity 'anna' is in train (line 2) and test (line 3); "
        "keep it in one split"
    )
    assert (folder / "m.csv").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["clips", "labels.csv", "m.csv"]


# The output


def test_an_output_that_is_there(folder):
    text = "file,label\n001,sad\n"
    run(folder, text)
    with pytest.raises(EmorecError) as e:
        run(folder, "file,label\n002,sad\n")
    assert str(e.value) == (
        f"{folder}/m.csv: is there already; `append` to it, `overwrite` it, "
        "or choose another"
    )
    run(folder, "file,label\n002,sad\n", overwrite=True)
    assert pairs(folder) == [("002.avi", "sad")]
    with pytest.raises(UsageError, match="give `append` or `overwrite`, not"):
        run(folder, text, append=True, overwrite=True)
    with pytest.raises(UsageError, match="must not replace the label file"):
        run(folder, text, output="labels.csv", overwrite=True)
    (folder / "link.csv").symlink_to("m.csv")
    for output in ("clips", "link.csv"):
        with pytest.raises(EmorecError, match="is not a plain file, which al"):
            run(folder, text, output=output, overwrite=True)


def test_a_full_disk_leaves_what_was_there(folder, file_size_limit):
    run(folder, "file,label\n001,sad\n")
    before = (folder / "m.csv").read_bytes()
    write(folder, "file,label\n001,sad\n002,sad\n")
    with (
        file_size_limit(60),
        pytest.raises(EmorecError, match="cannot be written"),
    ):
        mec2017.import_clips(
            f"{folder}/clips",
            f"{folder}/labels.csv",
            f"{folder}/m.csv",
            overwrite=True,
        )
    assert (folder / "m.csv").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["clips", "labels.csv", "m.csv"]


@pytest.mark.parametrize("source", ["", "a b", "a=1", "a,b", "x" * 65, "a\n"])
def test_sources_that_are_none(folder, source):
    with pytest.raises(UsageError) as e:
        run(folder, "file,label\n001,sad\n", source=source)
    assert str(e.value) == (
        "`source` must be 1 to 64 letters, digits, '_', '-' or '.'. "
        f"Received: {source!r}"
    )


def test_splits_that_are_none(folder):
    with pytest.raises(UsageError, match="`split` must be one of train, val"):
        run(folder, "file,label\n001,sad\n", split="holdout")


# On to the records


def test_real_videos_through_prepare(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    image = np.ascontiguousarray(skimage.data.astronaut()[0:256, 96:352])
    size = {"size": (256, 256), "fps": 8}
    videos.write_video(clips / "a.mp4", pictures=[image] * 4, **size)
    videos.write_video(clips / "b.mp4", pictures=[255 - image] * 4, **size)
    videos.write_video(
        clips / "film.mp4", pictures=[np.roll(image, 9, 1)] * 32, **size
    )
    text = (
        "文件名;情感;始;终\na;高兴;;\nfilm;焦虑;1;00:00:01.5\nfilm;悲伤;2;3\n"
    )
    run(
        tmp_path, text.encode("gb18030"), split="train", start="始", end="终"
    )  # fmt: skip
    run(tmp_path, workbook([["file"], ["b"]]), split="test", append=True)
    found = manifest.read(str(tmp_path / "m.csv"))
    assert [(r.label, r.split, r.source) for r in found.rows] == [
        ("happy", "train", "cheavd2"),
        ("anxious", "train", "cheavd2"),
        ("sad", "train", "cheavd2"),
        (None, "unlabelled", "cheavd2"),
    ]
    assert len(found.sha256) == 3
    config = Config().override(["data.train_phases=1", "video.fps=8"])
    made = prepare.prepare(found, tmp_path / "data", config)
    assert not made.failures
    train = made.splits["train"]
    # 0.5 s, 0.5 s and 1 s at 8 frames a second.
    assert (train["rows"], train["frames_total"]) == (3, 4 + 4 + 8)
    assert made.splits["unlabelled"]["rows"] == 1
