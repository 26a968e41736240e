"""Tables of results: what is read back is what was written."""

import csv

import pandas as pd
import pytest

from emorec.data import result_files
from emorec.errors import UsageError

ROWS = [
    {
        "video": "=a.mp4",
        "track": None,
        "whole": False,
        "start": 0.5,
        "label": None,
        "uncertain": None,
        "probability_calm": None,
        "error": 'caf\udce9.mp4: is bad, "really"',
    },
    {
        "video": "b.mp4",
        "track": 3,
        "whole": True,
        "start": 0.0,
        "label": "calm",
        "uncertain": True,
        "probability_calm": 0.25,
        "error": None,
    },
]


def test_csv_is_read_back(tmp_path):
    path = tmp_path / "a.csv"
    result_files.write_csv(path, iter(ROWS))
    with open(path, newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(ROWS[0])
    # No formula, no byte that is not UTF-8; absent values are empty.
    assert first["video"] == "'=a.mp4"
    assert first["error"] == 'caf\\udce9.mp4: is bad, "really"'
    assert first["track"] == first["label"] == first["probability_calm"] == ""
    assert (second["whole"], second["track"]) == ("true", "3")
    assert float(second["probability_calm"]) == 0.25


def test_parquet_is_read_back(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    per_frame = [{"time": 0.125, "box": [1.0, 2.0, 3.0, 4.5]}]
    rows = [{**r, "per_frame": p} for r, p in zip(ROWS, (None, per_frame))]
    monkeypatch.setattr(result_files, "_GROUP_ROWS", 1)
    result_files.write_parquet(path, iter(rows))
    table = pd.read_parquet(path)
    assert list(table["video"]) == ["=a.mp4", "b.mp4"]
    assert table["error"][0] == 'caf\\udce9.mp4: is bad, "really"'
    assert table["track"].isna().tolist() == [True, False]
    assert table["whole"].tolist() == [False, True]
    assert table["uncertain"][1] is True or table["uncertain"][1] == True  # noqa: E712
    (frame,) = table["per_frame"][1]
    assert frame["time"] == 0.125
    assert frame["box"].tolist() == [1.0, 2.0, 3.0, 4.5]


def test_no_rows_are_a_file_too(tmp_path):
    for name, write in (
        ("a.csv", result_files.write_csv),
        ("a.parquet", result_files.write_parquet),
    ):
        write(tmp_path / name, iter(()))
        assert (tmp_path / name).exists()


def test_endings():
    assert result_files.ending_of("a/B.CSV") == ".csv"
    for path in ("out", "out.json", "csv"):
        with pytest.raises(UsageError) as caught:
            result_files.ending_of(path)
        assert str(caught.value) == (
            "results must go to a file that ends in .jsonl, .csv, .parquet. "
            f"Received: {path}"
        )
