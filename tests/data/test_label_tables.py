"""Tables from outside: forms of text, workbooks, bounds, and columns."""

import datetime
import io
import zipfile

import openpyxl
import pytest

from emorec.data import label_columns, label_tables
from emorec.data.csv_lines import Faults
from emorec.data.label_columns import Columns
from emorec.errors import ManifestError, UsageError

ROWS = [("file", "label"), ("001", "高兴"), ("002", "sad")]
CELLS = ((1, ROWS[0]), (2, ROWS[1]), (3, ROWS[2]))


def read(folder, content, name="l.csv", sheet=None) -> label_tables.Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    faults = Faults(str(path))
    table = label_tables.read(str(path), faults, sheet)
    faults.raise_if_any()
    return table


def faults(folder, content, name="l.csv") -> list[str]:
    """Returns the lines of the error that the table must give."""
    with pytest.raises(ManifestError) as e:
        read(folder, content, name)
    message = str(e.value)
    assert message.startswith(f"{folder}/{name}: ")
    return message.removeprefix(f"{folder}/{name}: ").split("\n  ")


def only_fault(folder, content, name="l.csv") -> str:
    (fault,) = faults(folder, content, name)
    assert "\n" not in fault
    return fault


def workbook(rows, **others) -> bytes:
    """An XLSX whose first sheet, `one`, has `rows`; then others by name."""
    book = openpyxl.Workbook()
    book.active.title = "one"
    for name, lines in {"one": rows, **others}.items():
        sheet = book[name] if name == "one" else book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def repack(data, *change, **parts) -> bytes:
    """A workbook with bytes of its first sheet changed, and more parts."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            part = old.read(name)
            if change and name == "xl/worksheets/sheet1.xml":
                assert change[0] in part
                part = part.replace(*change)
            new.writestr(name, part)
        for name, part in parts.items():
            new.writestr(name, part)
    return out.getvalue()


# Text


@pytest.mark.parametrize(
    ("text", "name", "form", "cells"),
    [
        ("a,b\n", "l.csv", "commas", ("a", "b")),
        ("a;b,c;d", "l.csv", "semicolons", ("a", "b,c", "d")),
        ("a\tb c\t", "l.txt", "tabs", ("a", "b c", "")),
        ('"a,b,c";d', "l.csv", "semicolons", ("a,b,c", "d")),
        ('a, "b"', "l.csv", "commas", ("a", "b")),
        ("a  b", "l.txt", "white space", ("a", "b")),
        ("a  b", "l", "white space", ("a", "b")),
        ("a  b", "l.CSV", "one column", ("a  b",)),
        ("a b", "l.tsv", "one column", ("a b",)),
    ],
)
def test_separators(tmp_path, text, name, form, cells):
    table = read(tmp_path, text, name)
    assert table.form == f"text, {form}, utf-8"
    assert table.rows == ((1, cells),)


def test_lines_are_counted_as_an_editor_does(tmp_path):
    text = '\na,b\r\n\r\n"two\nlines ""x""; y",\u2028\n,\nc,d,,\n'
    assert read(tmp_path, text).rows == (
        (2, ("a", "b")),
        (4, ('two\nlines "x"; y', "")),
        (7, ("c", "d")),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows; each is a clip and its label"),
        (" \n,,\n", "has no rows; each is a clip and its label"),
        ("a,b".encode("utf-16"), "is UTF-16 text; save it in UTF-8"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1xls",
            "is an old XLS, or has a password; save it as CSV or as XLSX "
            "without one",
        ),
        (b"a,b\n\0", "holds NUL bytes; give a CSV, TXT or XLSX of labels"),
        (b"a,b\n\xff\xff", "is neither UTF-8 nor GB 18030; save it in UTF-8"),
        (
            'a,b\n\n001,"sad\n002,sad\n',
            "line 3: is not CSV (unexpected end of data); look for a double "
            "quote that is not closed, or has text after it",
        ),
        (f"a,b\n{'x' * 4097},", "line 2: has a cell of over 4096 characters"),
        ("x," * 64, "line 1: more than 64 columns"),
    ],
)
def test_files_of_another_kind(tmp_path, content, message):
    assert only_fault(tmp_path, content) == message


def test_uneven_rows(tmp_path):
    assert faults(tmp_path, "a,b\nc\nd,e,,\nf,g,h\ni,j\n") == [
        "2 faults",
        "line 2: 1 cells where the first line has 2; a cell that holds the "
        "separator needs double quotes, or use tabs",
        "line 4: 3 cells where the first line has 2; a cell that holds the "
        "separator needs double quotes, or use tabs",
    ]


def test_bounds(tmp_path, monkeypatch):
    assert only_fault(tmp_path, "x" * (16 << 20) + "\n") == (
        "a label file holds at most 16777216 bytes"
    )
    monkeypatch.setattr(label_tables, "MAX_ROWS", 2)
    for content in ("a\nb\nc\n", workbook([["a"], ["b"], ["c"]])):
        message = only_fault(tmp_path, content)
        assert message == "more than 2 rows; split the file"


def test_no_file(tmp_path):
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(ManifestError) as e:
            label_tables.read(str(path), Faults(str(path)))
        assert str(e.value) == (
            f"{path}: is not a file; give a CSV, TXT or XLSX of labels"
        )


# Workbooks


def test_cells_of_a_workbook(tmp_path):
    # The content says what it is, not the name.
    rows = [(" a ", None, 1, 2.0, 0.5), (), (None,), (None, "b", True)]
    table = read(tmp_path, workbook(rows), "l.txt")
    assert table.form == "XLSX, sheet 'one'"
    assert table.rows == (
        (1, ("a", "", "1", "2", "0.5")),
        (4, ("", "b", "True")),
    )
    times = [datetime.time(0, 1, 5), datetime.timedelta(hours=25)]
    (_, cells), *_ = read(tmp_path, workbook([times])).rows
    assert cells == ("00:01:05", "90000")


def test_sheets(tmp_path):
    data = workbook([["x"]], two=ROWS)
    assert read(tmp_path, data).rows == ((1, ("x",)),)
    table = read(tmp_path, data, sheet="two")
    assert (table.form, table.rows) == ("XLSX, sheet 'two'", CELLS)
    with pytest.raises(UsageError) as e:
        read(tmp_path, data, sheet="four")
    assert str(e.value) == (
        "`sheet` must be one of 'one', 'two'. Received: 'four'"
    )
    with pytest.raises(UsageError) as e:
        read(tmp_path, "a,b\n", sheet="two")
    assert str(e.value) == (
        f"`sheet` is for XLSX files, and {tmp_path}/l.csv is none. "
        "Received: 'two'"
    )


def test_a_workbook_that_grows(tmp_path):
    bomb = repack(workbook(ROWS), bomb=bytes(70 << 20))
    assert len(bomb) < 1 << 20
    message = only_fault(tmp_path, bomb)
    assert message.startswith("unpacks to 734")
    assert message.endswith("67108864 and 4096 are read; save it as CSV")
    many = repack(workbook(ROWS), **{f"p{i}": b"" for i in range(4096)})
    assert message[-20:] in only_fault(tmp_path, many)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_workbook_with_entities(tmp_path, encoding):
    entity = '<!DOCTYPE a [<!ENTITY b "c">]><worksheet'.encode(encoding)
    data = repack(workbook(ROWS), b"<worksheet", entity)
    assert only_fault(tmp_path, data) == (
        "its part 'xl/worksheets/sheet1.xml' defines XML entities, which no "
        "XLSX needs; save it as CSV"
    )


def test_a_workbook_that_is_wrong_about_its_size(tmp_path):
    for claim in (b"A1:A1", b"A1:XFD1048576"):
        data = repack(workbook(ROWS), b'ref="A1:B3"', b'ref="' + claim + b'"')
        assert read(tmp_path, data).rows == CELLS
    data = repack(data, b'<row r="3"', b'<row r="999999999"')
    message = only_fault(tmp_path, data)
    assert message == "more than 200000 rows; split the file"
    wide = workbook([*ROWS, ["x"] * 80])
    assert only_fault(tmp_path, wide) == "line 4: more than 64 columns"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"PK\x03\x04 and no more",
        lambda data: repack(b"PK\x05\x06" + bytes(18), a=b"no workbook"),
        lambda data: repack(data, b"<row", b"<<<<"),
        lambda data: repack(data, b' r="A2"', b' r="!!"'),
        lambda data: repack(data, b'<row r="2"', b'<row r="' + b"9" * 5000),
    ],
)
def test_a_damaged_workbook(tmp_path, spoil):
    message = only_fault(tmp_path, spoil(workbook(ROWS)))
    assert message.startswith("cannot be read as XLSX (")
    assert message.endswith("); save it anew, or as CSV")


def test_an_unusual_packing_is_refused(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("xl/workbook.xml", "x")
    assert only_fault(tmp_path, data.getvalue()) == (
        "is packed in a way that no XLSX is; save it anew"
    )


# Columns


def find(*rows, split="train", **columns):
    rows = enumerate((tuple(row.split(",")) for row in rows), 1)
    table = label_tables.Table("made up", tuple(rows))
    return label_columns.find(table, Columns(**columns), split)


@pytest.mark.parametrize(
    ("header", "places"),
    [
        ("file,label", {"file": 0, "label": 1}),
        ("Emotion,x,File Name", {"file": 2, "label": 0}),
        ("视频_名称,情感", {"file": 0, "label": 1}),
        ("start,clip-name,CLASS", {"file": 1, "label": 2}),
    ],
)
def test_columns_that_are_found(header, places):
    assert find(header, "a,b") == (True, places)


def test_columns_that_are_named():
    header = "Emo,Clip Id,from,2"
    named = {"label": "emo", "file": "clip_id", "start": "from"}
    places = {"label": 0, "file": 1, "start": 2}
    assert find(header, "a,b,c,d", **named) == (True, places)
    # A name goes before a number.
    places = {"label": 0, "file": 3, "end": 2}
    named = {"label": "emo", "file": "2", "end": "3"}
    assert find(header, "a,b,c,d", **named) == (True, places)


def test_columns_by_number():
    for first in ("2,1", "a,b"):
        found = find(first, file="1", label="2")
        assert found == (False, {"file": 0, "label": 1})
    places = {"file": 0, "label": 1}
    assert find("file,b", file="1", label="2") == (True, places)
    found = find("file,b", file="1", label="2", header=False)
    assert found == (False, places)
    assert find("a,b", file="1", label="2", header=True) == (True, places)


def test_when_labels_are_needed():
    assert find("file,label", split="unlabelled") == (True, {"file": 0})
    places = {"file": 0, "label": 1}
    assert find("file,label", split="test") == (True, places)
    found = find("file,label", split="unlabelled", label="label")
    assert found == (True, places)
    assert find("file", "a", split="test") == (True, {"file": 0})
    for split in ("train", None):
        with pytest.raises(UsageError, match="column of the label is not kn"):
            find("file", "a", split=split)
    # A column that was not recognised must not lose its labels.
    with pytest.raises(UsageError, match="column of the label is not known"):
        find("file,mood", "a,sad", split="test")


@pytest.mark.parametrize(
    ("first", "columns", "message"),
    [
        (
            "001,sad",
            {},
            "the column of the file is not known; give `file_column` as a "
            "number from 1 to 2. The first row holds '001', 'sad'",
        ),
        (
            "file,mood",
            {},
            "the column of the label is not known; give `label_column` as a "
            "name of the header or a number from 1 to 2. The first row is the "
            "header 'file', 'mood'",
        ),
        (
            "file,video,label",
            {},
            "the file could be in the columns 1 and 2; give `file_column` as a "
            "name of the header or a number from 1 to 3. The first row is the "
            "header 'file', 'video', 'label'",
        ),
        (
            "file,label",
            {"start": "from"},
            "`start_column` 'from' is no column; give `start_column` as a name "
            "of the header or a number from 1 to 2. The first row is the "
            "header 'file', 'label'",
        ),
        (
            "001,sad",
            {"file": "1", "label": "3"},
            "`label_column` '3' is no column; give `label_column` as a number "
            "from 1 to 2. The first row holds '001', 'sad'",
        ),
        (
            "001,sad",
            {"file": "0", "label": "2"},
            "`file_column` '0' is no column; give `file_column` as a number "
            "from 1 to 2. The first row holds '001', 'sad'",
        ),
        (
            "file,label",
            {"label": "1"},
            "`file_column` and `label_column` are one column, number 1; name "
            "another",
        ),
    ],
)
def test_columns_that_are_not_there(first, columns, message):
    with pytest.raises(UsageError) as e:
        find(first, **columns)
    assert str(e.value) == message
