"""The Beam way of `emorec prepare` against the local one."""

import json
import pathlib

from testing import commands


def prepare(sample_set, folder, flag):
    """In a process of its own: Beam takes 4 s to import, and would stay."""
    return commands.apart(
        "prepare",
        f"--manifest={sample_set}",
        f"--output_dir={folder}",
        "--runner=beam",
        f"--beam_pipeline_args={flag}",
        timeout=300,
    )


def test_beam_writes_the_same_records(prepared, sample_set, tmp_path):
    done = prepare(sample_set, tmp_path, "--direct_num_workers=1")
    assert done.code == 0, done.err
    ours = json.loads((tmp_path / "dataset.json").read_text())
    theirs = json.loads(
        (pathlib.Path(prepared.path) / "dataset.json").read_text()
    )
    assert ours == theirs
    for split in prepared.splits:
        for path in map(pathlib.Path, prepared.files(split)):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_bad_pipeline_flag_is_one_line(sample_set, tmp_path):
    done = prepare(sample_set, tmp_path, "--runner=NoSuchRunner")
    assert done.code == 2
    assert "NoSuchRunner" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "dataset.json").exists()
