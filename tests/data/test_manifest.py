"""Manifests: what is read, what is drawn, and every fault by its line."""

import collections
import dataclasses
import hashlib
import os
import pickle
import random
import re

import pytest

from emorec.data import manifest
from emorec.errors import LabelError, ManifestError, UsageError


@pytest.fixture
def folder(tmp_path):
    """A folder with files v0 to v9, all different, and copy0 = v0."""
    for i in range(10):
        (tmp_path / f"v{i}").write_bytes(b"video %d" % i)
    (tmp_path / "copy0").write_bytes(b"video 0")
    return tmp_path


def write(folder, text, name="m.csv"):
    path = folder / name
    if isinstance(text, str):
        text = text.encode()
    path.write_bytes(text)
    return str(path)


def faults(folder, text, labels="mec2017", **kwargs):
    """Returns the lines of the error that `text` must give."""
    path = write(folder, text)
    with pytest.raises(ManifestError) as e:
        manifest.read(path, labels, **kwargs)
    message = str(e.value)
    assert message.startswith(f"{path}: ")
    first, *others = message.removeprefix(f"{path}: ").split("\n")
    return [first, *(line.removeprefix("  ") for line in others)]


def only_fault(folder, text, **kwargs):
    first, second = faults(folder, text, **kwargs)
    assert first == "1 fault"
    return second


# What is read


def test_every_column(folder):
    path = write(
        folder,
        "video,label,split,start,end,identity,source\n"
        "v0,happy,train,,,anna,cheavd\n"
        '"v1", sad ,val,1.5,4,"bert, jr",\n'
        "\n"
        f"{folder}/v2,,predict,.5,,,films\n"
        ",,,,,,\n"
        "./v1,sad,DEV,4,5e0,,\n",
    )
    m = manifest.read(path)
    assert [dataclasses.astuple(r)[1:] for r in m.rows] == [
        (2, "v0", f"{folder}/v0", "happy", "train", 0, None, "anna", "cheavd"),
        (3, "v1", f"{folder}/v1", "sad", "validation", 1.5, 4, "bert, jr", ""),
        (5, f"{folder}/v2", f"{folder}/v2", None, "unlabelled", 0.5, None, None,
         "films"),
        (7, "./v1", f"{folder}/v1", "sad", "validation", 4, 5, None, ""),
    ]  # fmt: skip
    assert m.path == path
    assert m.labels.name == "mec2017"
    assert not m.drawn_split
    assert m.sha256 == {
        f"{folder}/v{i}": hashlib.sha256(b"video %d" % i).hexdigest()
        for i in range(3)
    }
    assert [r.line for r in m.split("validation")] == [3, 7]
    assert re.fullmatch("v0-[0-9a-f]{16}", m.rows[0].id)
    assert len({r.id for r in m.rows}) == 4
    assert pickle.loads(pickle.dumps(m)) == m  # goes to worker processes


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffVIDEO, Label ,Split\nv0,happy,train\n",
        "video,label,split\r\nv0,happy,train\r\n",
        "split,video,label\ntrain,v0,happy",
        '"video","label","split"\n"v0", "happy","TRAINING"\n',
        "\n\nvideo,label,split\nv0,happy,train\n",
    ],
)
def test_forms_of_csv(folder, text):
    (row,) = manifest.read(write(folder, text)).rows
    assert (row.video, row.label, row.split) == ("v0", "happy", "train")


def test_names_beyond_ascii(folder):
    (folder / "高兴 \u202fpm.mp4").write_bytes(b"x")
    path = write(folder, "video,label,split\n高兴 \u202fpm.mp4,悲,train\n")
    m = manifest.read(path, "auto")
    assert m.labels.names == ("悲",)
    assert re.fullmatch("____pm-[0-9a-f]{16}", m.rows[0].id)


def test_auto_labels_are_sorted(folder):
    m = manifest.read(
        write(folder, "video,label\nv0,zeal\nv1,awe\nv2,zeal\n"), "auto"
    )
    assert m.labels.names == ("awe", "zeal")


def test_without_videos(folder):
    path = write(folder, "video,label,split\nabsent,happy,train\n")
    m = manifest.read(path, check_videos=False)
    assert m.sha256 == {}
    assert m.rows[0].path == f"{folder}/absent"


def test_relative_path_of_the_csv(folder, monkeypatch):
    write(folder, "video,label\nv0,sad\n")
    monkeypatch.chdir(folder)
    m = manifest.read("m.csv")
    assert m.path == f"{folder}/m.csv"
    assert m.rows[0].path == f"{folder}/v0"


def test_ids_follow_the_clip_not_its_place(folder):
    a = manifest.read(write(folder, "video,label\nv0,sad\nv1,happy\n"))
    b = manifest.read(
        write(folder, "label,video,start\nhappy,v1,\nsad,v0,\nsad,v1,2\n")
    )
    ids = {r.video: r.id for r in a.rows}
    assert [r.id for r in b.rows[:2]] == [ids["v1"], ids["v0"]]
    assert b.rows[2].id not in ids.values()
    assert manifest.Row.__slots__[0] == "id"


def test_ids_are_safe_in_file_names(folder):
    os.mkdir(folder / "a b")
    for name in ("a b/..x y;$.mp4", ".hidden", "-" + "n" * 99 + ".avi"):
        (folder / name).write_bytes(name.encode())
    m = manifest.read(
        write(
            folder,
            "video,label\na b/..x y;$.mp4,sad\n.hidden,sad\n"
            f"-{'n' * 99}.avi,sad\n",
        )
    )
    stems = [r.id[:-17] for r in m.rows]
    assert stems == ["x_y__", "hidden", "n" * 39]


# Draws


def many(people, clips, names=True):
    """Returns rows' text and their number: `people` x `clips` clips."""
    return [
        f"p{p}c{c},happy,{f'person {p}' if names else ''}"
        for p in range(people)
        for c in range(clips)
    ]


def draw(folder, lines, head="video,label,identity", **kwargs):
    path = write(folder, "\n".join([head, *lines]))
    m = manifest.read(path, check_videos=False, **kwargs)
    assert m.drawn_split
    return m


def shares(m):
    counts = collections.Counter(r.split for r in m.rows)
    return [counts[s] for s in ("train", "validation", "test")]


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        (1, [1, 0, 0]),
        (2, [1, 1, 0]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (10, [7, 2, 1]),
        (100, [70, 15, 15]),
    ],
)
def test_each_split_gets_its_share(folder, clips, expected):
    for seed in range(5):
        assert shares(draw(folder, many(clips, 1), seed=seed)) == expected
        # Without identities each video is a group.
        lines = many(clips, 1, names=False)
        assert shares(draw(folder, lines, seed=seed)) == expected


def test_draw_follows_from_seed_and_data_alone(folder):
    lines = many(20, 3)

    def by_video(lines, seed):
        return {r.video: r.split for r in draw(folder, lines, seed=seed).rows}

    first = by_video(lines, 0)
    shuffled = random.Random(1).sample(lines, len(lines))
    assert by_video(shuffled, 0) == first
    assert by_video(lines, 1) != first
    # A literal: other machines and later versions must draw the same.
    test = sorted({v[:-2] for v, split in first.items() if split == "test"})
    assert test == ["p17", "p18", "p7"]


def test_draw_is_equal_in_another_folder(folder):
    splits = []
    for name in ("here", "there"):
        os.mkdir(folder / name)
        m = draw(folder / name, many(30, 1, names=False))
        splits.append([r.split for r in m.rows])
    assert splits[0] == splits[1]


def test_people_stay_whole(folder):
    m = draw(folder, many(9, 5))
    splits = collections.defaultdict(set)
    for row in m.rows:
        splits[row.identity].add(row.split)
    assert all(len(s) == 1 for s in splits.values())
    assert shares(m) == [30, 10, 5]


def test_one_large_person_goes_to_training(folder):
    lines = [f"a{i},happy,anna" for i in range(90)] + many(10, 1)
    for seed in range(5):
        m = draw(folder, lines, seed=seed)
        assert shares(m)[0] == 90
        assert {r.split for r in m.rows if r.identity == "anna"} == {"train"}


def test_shares_are_an_argument(folder):
    m = draw(folder, many(10, 1), split_shares=(0.5, 0.5, 0))
    assert shares(m) == [5, 5, 0]


@pytest.mark.parametrize(
    "bad", [(1, 1, 1), (0, 0.5, 0.5), (0.5, 0.5), (1.5, -0.5, 0)]
)
def test_bad_shares(folder, bad):
    path = write(folder, "video,label\nv0,sad\n")
    with pytest.raises(UsageError, match="`split_shares` must be shares"):
        manifest.read(path, split_shares=bad)


def test_copies_are_drawn_together(folder):
    path = write(folder, "video,label\nv0,sad\ncopy0,sad\nv1,sad\n")
    for seed in range(8):
        rows = manifest.read(path, seed=seed).rows
        assert rows[0].split == rows[1].split != rows[2].split


def test_groups_hang_together_through_other_rows(folder):
    # anna and bert share v0, bert and carl share v1: one group of six rows.
    lines = ["v0,sad,anna,1", "v0,sad,bert,2", "v1,sad,bert,1"]
    lines += ["v1,sad,carl,2", "v2,sad,carl,1", "copy0,sad,dora,1"]
    lines += ["v3,sad,eve,1", "v4,sad,fay,1"]
    path = write(folder, "\n".join(["video,label,identity,start", *lines]))
    for seed in range(8):
        rows = manifest.read(path, seed=seed).rows
        assert {r.split for r in rows[:6]} == {"train"}
        assert {r.split for r in rows[6:]} == {"validation", "test"}


def test_empty_cells_follow_what_is_given(folder):
    path = write(
        folder,
        "video,label,split,identity\n"
        "v0,sad,test,anna\nv1,sad,,anna\nv2,sad,,bert\ncopy0,sad,,\n"
        "v3,,predict,bert\n",
    )
    m = manifest.read(path)
    assert m.drawn_split
    assert [r.split for r in m.rows] == [
        "test",
        "test",
        "train",
        "test",
        "unlabelled",
    ]


def test_a_link_between_given_splits_is_a_leak(folder):
    # Line 3 is drawn; wherever it goes, it shares something with the other.
    text = "video,label,split,identity\n"
    text += "v0,sad,train,anna\nv1,sad,,anna\nv1,sad,test,bert\n"
    text = text.replace("v1,sad,test", "./v1,sad,test")
    found = faults(folder, text)
    assert "line 4: repeats line 3: the same video, start and end" in found
    assert found[1] == (
        "line 3: one video, 'v1' = './v1', is in train (line 3) and test "
        "(line 4); keep it in one split"
    )


# Fingerprints


def test_fingerprint_is_of_the_data_not_of_its_order(folder):
    head = "video,label,split,start,identity,source\n"
    lines = ["v0,sad,train,1,anna,x\n", "v1,happy,test,0,bert,y\n"]

    def of(*lines):
        return manifest.read(write(folder, head + "".join(lines))).fingerprint

    first = of(*lines)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert of("\n", *lines[::-1]) == first
    changes = ["v2,", ",happy,", ",validation,", ",2,", ",carl,", ",z\n"]
    olds = ["v0,", ",sad,", ",train,", ",1,", ",anna,", ",x\n"]
    others = {
        of(lines[0].replace(old, new), lines[1])
        for old, new in zip(olds, changes, strict=True)
    }
    assert len(others - {first}) == 6
    (folder / "v0").write_bytes(b"another film")
    assert of(*lines) not in others | {first}


def test_fingerprint_of_a_moved_folder_is_equal(folder, tmp_path):
    text = "video,label,split\na,sad,train\n"
    marks = []
    for name in ("here", "there"):
        os.mkdir(tmp_path / name)
        (tmp_path / name / "a").write_bytes(b"film")
        m = manifest.read(write(tmp_path / name, text))
        marks.append((m.fingerprint, m.rows[0].id))
    assert marks[0] == marks[1]


# Leakage


def test_one_person_in_two_splits(folder):
    fault = only_fault(
        folder,
        "video,label,split,identity\nv0,sad,train,anna\nv1,sad,test,anna\n"
        "v2,sad,train,anna\nv3,sad,test,\nv4,sad,unlabelled,anna\n",
    )
    assert fault == (
        "line 2: identity 'anna' is in train (lines 2, 4) and test (line 3); "
        "keep it in one split"
    )


def test_one_video_in_two_splits_by_content(folder):
    text = "video,label,split\nv0,sad,train\nv1,sad,val\ncopy0,sad,val\n"
    assert only_fault(folder, text) == (
        "line 2: one video, 'v0' = 'copy0', is in train (line 2) and "
        "validation (line 4); keep it in one split"
    )
    # Unread, they are two videos.
    assert len(manifest.read(f"{folder}/m.csv", check_videos=False).rows) == 3


def test_parts_of_one_video_in_two_splits(folder):
    head = "video,label,split,start,end\n"
    apart = head + "v0,sad,train,0,1\nv0,sad,test,1,2\n"
    for check in (True, False):
        fault = only_fault(folder, apart, check_videos=check)
        assert "one video, 'v0', is in train (line 2) and test" in fault
    together = head + "v0,sad,train,0,1\nv0,sad,train,1,2\n"
    assert len(manifest.read(write(folder, together)).rows) == 2


def test_empty_files_are_no_copies(folder):
    for name in ("e0", "e1"):
        (folder / name).touch()
    path = write(folder, "video,label,split\ne0,sad,train\ne1,sad,test\n")
    assert len(manifest.read(path).rows) == 2


def test_unlabelled_rows_cannot_leak(folder):
    path = write(folder, "video,label,split\nv0,sad,train\ncopy0,,predict\n")
    assert [r.split for r in manifest.read(path).rows] == [
        "train",
        "unlabelled",
    ]


# Faults


def test_every_fault_is_told_at_once(folder):
    found = faults(
        folder,
        b"video,label,split,start,end,speaker\n"
        b"v0,fear,train,,,\n"  # 2
        b"absent,sad,train,,,\n"
        b"v1,sad,,,\n"  # 4
        b"../v2,sad,train,,,\n"
        b"v3,sad,train,2,1,\n"  # 6
        b"v4,sad,holdout,x,nan,\n"
        b"v5,,train,,,\n"  # 8
        b",sad,train,,,\n"
        b"v6,sad,train,-1,inf,\n"  # 10
        b"v7,s\xffd,train,,,\n"
        b'v7,"sad,train,,,\n'  # 12
        b"v\x008,sad,train,,,\n"
        b"v9,fear,train,,,\n"  # 14
        b"v9,sad,test,,,\n"
        b"v8,a\x1b[31m,test,,,\n",  # 16
    )
    names = "happy, sad, angry, surprise, disgust, worried, anxious, neutral"
    number = "must be seconds, a finite number from 0. Received:"
    assert found == [
        "20 faults",
        "line 1: unknown column 'speaker'; there are video, label, split, "
        "start, end, identity, source",
        f"lines 2, 14: unknown label 'fear': the label set 'mec2017' holds "
        f"{names}",
        "line 3: video 'absent' cannot be read (No such file or directory): "
        f"'{folder}/absent'",
        "line 4: 5 cells where the header has 6 columns; a cell that holds a "
        "comma needs double quotes",
        "line 5: video '../v2' leaves the manifest's folder; write its "
        "absolute path",
        "line 6: `end` must be after `start`. Received: 2 to 1",
        "line 7: unknown split 'holdout'; there are train, validation, test, "
        "unlabelled",
        f"line 7: `start` {number} 'x'",
        f"line 7: `end` {number} 'nan'",
        "line 8: has no label; give one, or write split unlabelled for a "
        "clip to predict",
        "line 9: names no video",
        f"line 10: `start` {number} '-1'",
        f"line 10: `end` {number} 'inf'",
        "line 11: is not UTF-8 (invalid start byte at byte 5)",
        "line 12: is not CSV (unexpected end of data); a line break within a "
        "cell is not allowed, nor is text after a closing quote",
        "line 13: holds a NUL byte; a manifest is UTF-8 text",
        "line 14: one video, 'v9', is in train (line 14) and test (line 15); "
        "keep it in one split",
        "line 15: repeats line 14: the same video, start and end",
        "line 16: has a control character in 'a\\x1b[31m'",
    ]


def test_faults_are_capped(folder):
    rows = "".join(f"no{i},sad,train\n" for i in range(80))
    found = faults(folder, "video,label,split\n" + rows)
    assert found[0] == "80 faults"
    assert len(found) == 52
    assert found[50].startswith("line 51: video 'no49' cannot be read")
    assert found[51] == "and 30 more"
    # One fault of many lines is one entry.
    rows = "".join(f"v{i},fear,train\n" for i in range(10))
    found = faults(folder, "video,label,split\n" + rows)
    assert found[0] == "10 faults"
    assert found[1].startswith("lines 2, 3, 4, 5, 6, 7 and 4 more: unknown")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("video,split", "line 1: column 'label' is missing"),
        ("label,split", "line 1: column 'video' is missing"),
        ("video,label,video", "line 1: column 'video' is there 2 times"),
        ("video,label,", "line 1: column 3 has no name"),
    ],
)
def test_header_faults(folder, head, message):
    row = ",".join({"video": "v0", "label": "sad"}.get(c, "") for c in
                   head.split(","))  # fmt: skip
    assert only_fault(folder, f"{head}\n{row}\n") == message


def test_near_names_are_suggested(folder):
    found = faults(folder, "vidoe,label,begin\nv0,sadness,\n")
    assert found[1].startswith("line 1: unknown column 'vidoe'; there are")
    assert found[1].endswith("; did you mean 'video'?")
    assert found[2].startswith("line 1: unknown column 'begin'; there are")
    assert found[2].endswith("source")
    assert found[3] == "line 1: column 'video' is missing"
    assert found[4].endswith("anxious, neutral; did you mean 'sad'?")
    assert len(found) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows; the first line names columns such as video,label"),
        ("\n ,\n", "has no rows"),
        ("\ufeff", "has no rows"),
        ("video,label,split\n", "has no rows"),
        ("video;label;split\nv0;sad;train\n", "has semicolons between its col"),
        ("video\tlabel\nv0\tsad\n", "has tabs between its columns; save it"),
        ("video,label\nv0,sad\n".encode("utf-16"), "is UTF-16 text; save it"),
    ],
)
def test_files_of_another_kind(folder, text, message):
    (found,) = faults(folder, text)
    assert found.startswith(message)


def test_a_broken_first_line_is_the_only_fault(folder):
    assert only_fault(folder, b"PK\x03\x04\0\0\nv0,sad\nv1,sad\n") == (
        "line 1: holds a NUL byte; a manifest is UTF-8 text"
    )
    assert only_fault(folder, "video,label\rv0,sad\rv1,sad\r") == (
        "line 1: has a bare CR; save it with LF or CRLF line ends"
    )


def test_no_file_and_no_folder(folder):
    for path in (folder / "none.csv", folder):
        with pytest.raises(ManifestError, match=f"{path}: is not a file"):
            manifest.read(str(path))


def test_bounds(folder, monkeypatch):
    long_cell, long_line = "x" * 4097, "y" * (1 << 17)
    found = faults(
        folder,
        f"video,label,split\n{long_cell},sad,train\n{long_line},sad,train\n"
        "v0,fear,train\n",
    )
    assert found[1] == "line 2: has a cell of over 4096 characters"
    assert found[2] == "line 3: longer than 65536 bytes"
    assert found[3].startswith("line 4: unknown label 'fear'")
    assert len(found) == 4
    text = "video,label\nv0,sad\nv1,sad\nv2,sad\n"
    monkeypatch.setattr(manifest, "MAX_ROWS", 2)
    assert faults(folder, text) == ["more than 2 rows; split the manifest"]
    monkeypatch.setattr(manifest, "MAX_FILE_BYTES", 10)
    assert faults(folder, text) == ["a manifest holds at most 10 bytes"]


@pytest.mark.parametrize(
    "video", ["..", "../v0", "a/../../v0", "./../v0", "a/../..", "../"]
)
def test_relative_paths_stay_in_the_folder(folder, video):
    os.mkdir(folder / "inner")
    fault = only_fault(folder / "inner", f"video,label\n{video},sad\n")
    assert fault.endswith(
        "leaves the manifest's folder; write its absolute path"
    )
    assert "line 2: video" in fault


def test_paths_that_only_look_as_if_they_left(folder):
    (folder / "..odd").write_bytes(b"odd")
    path = write(folder, "video,label\n..odd,sad\na/../v1,sad\n")
    rows = manifest.read(path).rows
    assert [r.path for r in rows] == [f"{folder}/..odd", f"{folder}/v1"]


def test_only_files_are_opened(folder):
    os.mkfifo(folder / "pipe")  # would block for ever
    found = faults(folder, f"video,label\npipe,sad\n{folder},sad\nv0/x,sad\n")
    assert "line 2: video 'pipe' cannot be read (it is not a file)" in found[1]
    assert "cannot be read (it is not a file)" in found[2]
    assert "line 4: video 'v0/x' cannot be read (Not a directory)" in found[3]


@pytest.mark.parametrize(
    "text", ["1_0", "1e999", "0x1", "٣", "1 2", "--1", "1.5s", "00:01", "-0.5"]
)
def test_times_that_are_no_seconds(folder, text):
    fault = only_fault(folder, f"video,label,start\nv0,sad,{text}\n")
    assert fault.startswith("line 2: `start` must be seconds, a finite number")


def test_end_equal_to_start(folder):
    fault = only_fault(folder, "video,label,start,end\nv0,sad,1,1.0\n")
    assert fault == "line 2: `end` must be after `start`. Received: 1 to 1"
    fault = only_fault(folder, "video,label,end\nv0,sad,0\n")
    assert fault == "line 2: `end` must be after `start`. Received: 0 to 0"


def test_label_faults_of_auto(folder):
    fault = only_fault(
        folder, f"video,label\nv0,{'x' * 65}\nv1,sad\n", labels="auto"
    )
    assert fault.startswith("line 2: `labels` must be printable names of 1 to")
    fault = only_fault(
        folder, "video,label,split\nv0,,predict\n", labels="auto"
    )
    assert fault == "line 1: `--labels=auto` needs data with labels: none"
    found = faults(folder, "video,split\nno,train\n", labels="auto")
    assert len(found) == 3  # the column and the file, nothing on `auto`


def test_unknown_label_set(folder):
    path = write(folder, "video,label\nv0,sad\n")
    with pytest.raises(LabelError, match="`--labels` must be mec2017"):
        manifest.read(path, "mec2018")


# Real data


@pytest.mark.real
def test_real_clips(test_data):
    path = str(test_data / "clips" / "labelled" / "labels.csv")
    m = manifest.read(path, "auto")
    assert len(m.rows) == len(m.sha256) == 15
    assert m.labels.names == (
        "angry", "contempt", "disgust", "fear", "happy", "neutral", "sad",
        "surprise",
    )  # fmt: skip
    assert m.drawn_split
    assert shares(m) == [11, 2, 2]
    with pytest.raises(ManifestError, match="3 faults") as e:
        manifest.read(path)
    assert "line 12: unknown label 'contempt'" in str(e.value)
    assert "lines 5, 14: unknown label 'fear'" in str(e.value)
