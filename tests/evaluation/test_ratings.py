"""Reading ratings: three forms, and what each refuses."""

import json

import numpy as np
import pytest

from emorec.errors import EmorecError, UsageError
from emorec.evaluation import rating_csv, rating_forms, ratings

HEADER = "item,rater,condition,emotion,intensity"
VOTES_HEADER = '"","A","D","F","H","N","S","fileName","numResponses"'


@pytest.fixture
def write(tmp_path):
    """Writes lines into a file and returns its path."""

    def write(*lines, name="ratings.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def write_json(tmp_path):
    def write_json(value):
        path = tmp_path / "ratings.json"
        text = value if isinstance(value, str) else json.dumps(value)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_json


def fault(path, **arguments) -> str:
    with pytest.raises(EmorecError) as e:
        rating_forms.read(path, **arguments)
    return str(e.value)


def triples(table):
    """The ratings by name, sorted."""
    return sorted(
        (
            table.items[i],
            table.conditions[c],
            table.emotions[e],
            float(v),
        )
        for i, c, e, v in zip(
            table.item, table.condition, table.emotion, table.value
        )
    )


def test_the_long_form_is_read_whatever_its_order(write):
    lines = [
        "b.jpg,anna,cropped,sad,2.5",
        "a.jpg,anna,original,happy,5",
        "a.jpg,bert,original,happy,0",
    ]
    one = rating_forms.read(write(HEADER, *lines))
    two = rating_forms.read(write(HEADER, *reversed(lines), name="b.csv"))
    for table in (one, two):
        assert (table.form, table.kind) == ("csv", "intensities")
        assert table.items == ("a.jpg", "b.jpg")
        assert table.conditions == ("cropped", "original")
        assert table.emotions == ("happy", "sad")
        assert triples(table) == [
            ("a.jpg", "original", "happy", 0.0),
            ("a.jpg", "original", "happy", 5.0),
            ("b.jpg", "cropped", "sad", 2.5),
        ]


def test_columns_stand_in_any_order_and_others_are_left_unread(write):
    path = write("Intensity,note,EMOTION,rater,item", '3,"x, y",sad,r,i')
    table = rating_forms.read(path)
    assert triples(table) == [("i", "all", "sad", 3.0)]


def test_another_column_can_name_the_condition(write):
    lines = [HEADER + ",Site", "i,r,c,sad,1,web", "i,s,c,sad,2,lab"]
    table = rating_forms.read(write(*lines), group_by="site")
    assert table.conditions == ("lab", "web")
    assert triples(table) == [("i", "lab", "sad", 2), ("i", "web", "sad", 1)]


def test_every_fault_is_told_at_once_with_its_line(write):
    path = write(
        HEADER,
        "i,r,c,happy,3",
        "i,r,c,happy,4",
        "i,s,c,happy,6",
        "i,s,c,happy,-0.5",
        "i,s,c,happy,nan",
        "i,s,c,happy,1e400",
        "i,s,c,happy,",
        "i,s,c,happy",
        ",s,c,happy,1",
        "i,,c,happy,1",
        "i,t,c,,1",
        'i,t,"c,happy,1',
        f"i,{'x' * 300},c,happy,1",
        "i,t,c,ha\u200bppy,1",
    )
    assert fault(path).splitlines() == [
        f"{path}: 13 faults",
        "  line 3: rates item 'i', condition 'c', emotion 'happy' by rater "
        "'r' again, as line 2 did",
        "  line 4: has the intensity 6, outside 0 to 5 (--min, --max)",
        "  line 5: has the intensity -0.5, outside 0 to 5 (--min, --max)",
        "  line 6: has 'nan' for a number",
        "  line 7: has '1e400', which is not finite",
        "  line 8: has '' for a number",
        "  line 9: has 4 cells where the header has 5; a cell that holds a "
        "comma needs double quotes",
        "  line 10: has no item",
        "  line 11: has no rater",
        "  line 12: has no emotion",
        "  line 13: is not CSV (unexpected end of data); a line break within "
        "a cell is not allowed, nor is text after a closing quote",
        "  line 14: has a rater of over 256 characters",
        "  line 15: has the unprintable emotion 'ha\\u200bppy'",
    ]


def test_many_faults_are_counted_and_few_are_printed(write):
    path = write(HEADER, *(f"i,r,c,e,{9 + i}" for i in range(5000)))
    lines = fault(path).splitlines()
    assert lines[0] == f"{path}: {ratings.STOP_AFTER} faults"
    assert lines[-2] == "  and 950 more"
    assert lines[-1] == "  and no line after these was read"
    assert len(lines) == 53


@pytest.mark.parametrize(
    "lines, group_by, told",
    [
        (["item;rater;emotion;intensity"], "condition", "has no column 'item'"),
        (["item,rater,emotion"], "condition", "has no column 'intensity'"),
        ([HEADER, "i,r,c,e,1"], "site", "has no column 'site'; its columns"),
        (
            ["item,item,rater,emotion,intensity"],
            "condition",
            "has the column 'item' twice",
        ),
        ([HEADER], "condition", "has no ratings; its first line names"),
        ([""], "condition", "has no ratings"),
    ],
)
def test_a_csv_without_what_is_needed(write, lines, group_by, told):
    assert told in fault(write(*lines), group_by=group_by)


@pytest.mark.parametrize("name", ["item", "Rater", "emotion", "intensity", ""])
def test_group_by_is_no_column_of_another_meaning(write, name):
    path = write(HEADER, "i,r,c,e,1")
    with pytest.raises(UsageError, match="`group_by` must be a column other"):
        rating_forms.read(path, group_by=name)


def test_too_many_emotions_are_the_wrong_column(write):
    path = write(HEADER, *(f"i,r,c,e{n},1" for n in range(41)))
    told = "line 42: has one emotion more than the 40 that are taken"
    assert told in fault(path)


def test_too_many_ratings(write, monkeypatch):
    monkeypatch.setattr(ratings, "MAX_RATINGS", 2)
    path = write(HEADER, *(f"i,r{n},c,e,1" for n in range(3)))
    assert "has more than 2 ratings; split it by emotion" in fault(path)


@pytest.mark.parametrize("low, high", [(5, 0), (1, 1), (0, float("nan"))])
def test_the_range_is_a_range(write, low, high):
    path = write(HEADER, "i,r,c,e,1")
    for read in (rating_forms.read, rating_csv.read):
        with pytest.raises(UsageError, match="`min` must be a number below"):
            read(path, low=low, high=high)


def test_what_is_no_file(tmp_path, write, monkeypatch):
    assert "is not a file; give the path" in fault(str(tmp_path))
    (tmp_path / "empty").touch()
    assert "is empty (0 bytes)" in fault(str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="`format` must be auto, csv, mdns"):
        rating_forms.read("x", "xlsx")
    monkeypatch.setattr(ratings, "MAX_FILE_BYTES", 20)
    monkeypatch.setattr(ratings.check_file, "__defaults__", (20,))
    assert "and at most 20 are read" in fault(write(HEADER))


def test_conditions_are_chosen_in_the_users_order(write):
    lines = [f"{c}{i},r,{c},e,{i}" for i in range(3) for c in "abc"]
    table = rating_forms.read(write(HEADER, *lines))
    chosen = table.only(["c", "a"])
    assert chosen.conditions == ("c", "a")
    assert triples(chosen) == [
        row for row in triples(table) if row[1] in ("a", "c")
    ]
    assert chosen.items == ("a0", "a1", "a2", "c0", "c1", "c2")
    assert chosen.item.dtype == chosen.condition.dtype == np.int32
    with pytest.raises(UsageError, match=r"unknown condition 'd'; .* has a, b"):
        table.only(["a", "d"])
    with pytest.raises(UsageError, match="must differ. Received: a, a"):
        table.only(["a", "a"])


def test_the_form_of_mdns(write_json):
    path = write_json({"f2": {"sad": [0, 4, 1.5]}, "f1": {"sad": [2, 2]}})
    table = rating_forms.read(path)
    assert (table.form, table.kind) == ("mdns", "intensities")
    assert table.items == ("f1", "f2")
    assert triples(table) == [
        ("f1", "all", "sad", 2.0),
        ("f1", "all", "sad", 2.0),
        ("f2", "all", "sad", 0.0),
        ("f2", "all", "sad", 1.5),
        ("f2", "all", "sad", 4.0),
    ]
    with pytest.raises(UsageError, match="the form mdns has none to choose"):
        rating_forms.read(path, group_by="site")


@pytest.mark.parametrize(
    "value, told",
    [
        ([1], "must hold a JSON object of items"),
        ({}, "has no ratings"),
        ({"f": [1]}, "item 'f' is no object of emotions"),
        ({"f": {"sad": 3}}, "item 'f' has no list of ratings for 'sad'"),
        ({"f": {"sad": []}}, "item 'f' has no list of ratings for 'sad'"),
        ({"f": {"sad": [True]}}, "item 'f' has 'True' for a rating of 'sad'"),
        ({"f": {"sad": ["1"]}}, "item 'f' has '1' for a rating of 'sad'"),
        ({"f": {"sad": [1, 7]}}, "has 7 for a rating of 'sad', outside 0 to 5"),
        ({"f": {"": [1]}}, "item 'f' has no emotion"),
        ('{"f": {"sad": [NaN]}}', "(NaN is no rating)"),
        ('{"f": {}, "f": {}}', "(the name 'f' is there twice)"),
        ('{"f": {"sad": [1,', "is not the JSON form of MDNS"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_not_of_the_form_of_mdns(write_json, value, told):
    assert told in fault(write_json(value))


def test_the_faults_of_a_json_are_bounded(write_json):
    value = {f"f{i}": {"sad": [9]} for i in range(25)}
    lines = fault(write_json(value)).splitlines()
    assert lines[0].endswith(": 25 faults")
    assert len(lines) == 12
    assert lines[-1] == "  and 15 more"


def test_votes_are_expanded_to_0_and_1(write):
    path = write(
        VOTES_HEADER,
        '"300001",1,0,0,2,0,0,"clip",3',
        '"200001",0,0,0,0,2,0,"clip",2',
    )
    table = rating_forms.read(path, high=1)
    assert (table.form, table.kind) == ("crema_d", "votes")
    assert table.conditions == ("face", "both")
    names = ("anger", "disgust", "fear", "happy", "neutral", "sad")
    assert table.emotions == names
    votes = {("both", "anger"): [0, 0, 1], ("both", "happy"): [0, 1, 1]}
    votes[("face", "neutral")] = [1, 1]
    raters = {"both": 3, "face": 2}
    assert triples(table) == sorted(
        ("clip", condition, name, float(value))
        for condition in table.conditions
        for name in names
        for value in votes.get((condition, name), [0] * raters[condition])
    )


def test_votes_do_not_fit_another_range(write):
    path = write(VOTES_HEADER, '"200001",0,0,0,0,2,0,"clip",2')
    with pytest.raises(UsageError, match="votes are 0 and 1, which `min` and"):
        rating_forms.read(path, low=1)


def test_every_fault_of_the_votes_is_told(write):
    path = write(
        VOTES_HEADER,
        '"200001",0,0,0,0,2,0,"a",2',
        '"200001",0,0,0,0,2,0,"a",2',
        '"200002",0,0,0,0,2,0,"b",3',
        '"200003",0,0,0,0,0,0,"c",0',
        '"200004",0,0,-1,0,2,0,"d",1',
        '"400005",0,0,0,0,2,0,"e",2',
        '"200006",0,0,0,0,2,0',
        '"200007",0,0,0,0,2,0,"",2',
    )
    assert fault(path).splitlines()[1:] == [
        "  line 3: has the votes of line 2 again (the same clip and modality)",
        "  line 4: has 2 votes where numResponses is 3",
        "  line 5: has 0 votes where numResponses is 0",
        "  line 6: has '-1' for a count of votes",
        "  line 7: has the row name '400005', which should be six digits, the "
        "first 1 (voice), 2 (face) or 3 (both)",
        "  line 8: has 7 cells, the header 9",
        "  line 9: has no item",
    ]


def test_what_is_no_table_of_votes(write):
    told = fault(write(HEADER, "i,r,c,e,1"), form="crema_d")
    assert "is not CREMA-D's tabulatedVotes.csv: it has 0 columns ''" in told
    told = fault(write(VOTES_HEADER), form="auto")
    assert "has no votes; fetch it again" in told


@pytest.mark.real
def test_mdns_as_published(test_data):
    path = test_data / "ratings" / "mdns_primary_expression_annotations.json"
    table = rating_forms.read(str(path), high=4)
    assert table.form == "mdns"
    assert len(table.items) == 1000
    assert len(table.value) == 1000 * 6 * 9
    assert set(table.value) == {0, 1, 2, 3, 4}
    assert table.emotions == (
        "angry",
        "happy",
        "sad",
        "fear",
        "surprise",
        "disgust",
    )
    told = fault(str(path), high=3)
    # 1 to 9 of an item's lists hold a 4; an item is told of once.
    assert "for a rating of" in told and "outside 0 to 3 (--min, --max)" in told


@pytest.mark.real
def test_crema_d_as_published(test_data):
    path = test_data / "ratings" / "crema_d_tabulatedVotes.csv"
    table = rating_forms.read(str(path), high=1)
    assert (table.form, table.kind) == ("crema_d", "votes")
    assert table.conditions == ("voice", "face", "both")
    assert len(table.items) == 7442
    # Counted from the column numResponses: 68 568, 71 654 and 71 778 raters.
    counts = np.bincount(table.condition).tolist()
    assert counts == [6 * 68568, 6 * 71654, 6 * 71778]
    # Each rater has one vote.
    ones = np.bincount(table.condition, table.value).tolist()
    assert ones == [68568, 71654, 71778]


@pytest.mark.real
def test_the_first_digit_of_a_row_is_its_modality(test_data):
    # CREMA-D's README does not say it: the other table holds the winner of
    # each modality.
    import csv

    def rows(name):
        path = test_data / "ratings" / f"crema_d_{name}.csv"
        with open(path, encoding="utf-8", newline="") as f:
            return list(csv.DictReader(f))

    winners = {row["FileName"]: row for row in rows("summaryTable")}
    columns = {"1": "VoiceVote", "2": "FaceVote", "3": "MultiModalVote"}
    for row in rows("tabulatedVotes"):
        winner = winners[row["fileName"]][columns[row[""][0]]]
        assert winner == row["emoVote"]
