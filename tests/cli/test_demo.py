"""What `emorec demo` does to its folder. (The stages have their own tests;
the whole demo is `make demo`.)"""

import json

import pytest
from testing import commands

from emorec.cli import demo
from emorec.config import Config
from emorec.data import sample_plan


def test_a_folder_of_somebody_else_is_left_alone(capsys, tmp_path):
    for name in ("model", "serving"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("dear")
    done = commands.here(capsys, "demo", f"--output_dir={tmp_path}")
    assert done.code == 2
    assert "must be empty, new or of an earlier demo" in done.fault()
    assert (tmp_path / "model" / "mine.txt").read_text() == "dear"
    assert (tmp_path / "serving" / "mine.txt").read_text() == "dear"
    assert not (tmp_path / "demo.json").exists()


@pytest.mark.parametrize("command", ["demo", "sample"])
def test_a_place_that_cannot_be_written_is_one_line(capsys, command):
    done = commands.here(capsys, command, "--output_dir=/proc/no/where")
    assert done.code == 1
    assert "/proc/no" in done.fault()
    assert done.fault().endswith("choose another --output_dir")


@pytest.mark.parametrize(("seed", "kept"), [(0, True), (1, False)])
def test_inputs_are_kept_where_they_would_be_the_same(tmp_path, seed, kept):
    demo._Demo(tmp_path, 0)
    assert json.loads((tmp_path / "demo.json").read_text()) == {
        "emorec": "0.1.0",
        "config": Config().data_hash(),
        "sample": sample_plan.VERSION,
        "seed": 0,
    }
    for name in ("sample", "data", "model"):
        (tmp_path / name).mkdir()
    demo._Demo(tmp_path, seed)
    assert (tmp_path / "sample").exists() is kept
    assert (tmp_path / "data").exists() is kept
    assert not (tmp_path / "model").exists()


def test_a_failed_stage_names_the_command_and_its_log(tmp_path):
    made = demo._Demo(tmp_path, 0)
    with pytest.raises(Exception, match=r"`emorec prepare` failed with code"):
        made.prepare()  # There is no sample set yet.
    assert (tmp_path / "logs" / "prepare.log").stat().st_size > 0
