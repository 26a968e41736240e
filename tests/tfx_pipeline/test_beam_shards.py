"""The Beam way of `emorec prepare` against the local one."""

import json
import pathlib
import subprocess
import sys

# Beam takes 4 s to import and must not stay in the other tests' process.
_CHILD = """
import sys
from emorec.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_beam_writes_the_same_records(prepared, sample_set, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _CHILD,
            "prepare",
            f"--manifest={sample_set}",
            f"--output_dir={tmp_path}",
            "--runner=beam",
            "--beam_pipeline_args=--direct_num_workers=1",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    ours = json.loads((tmp_path / "dataset.json").read_text())
    theirs = json.loads(
        (pathlib.Path(prepared.path) / "dataset.json").read_text()
    )
    assert ours == theirs
    for split in prepared.splits:
        for path in map(pathlib.Path, prepared.files(split)):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_bad_pipeline_flag_is_one_line(sample_set, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _CHILD,
            "prepare",
            f"--manifest={sample_set}",
            f"--output_dir={tmp_path}",
            "--runner=beam",
            "--beam_pipeline_args=--runner=NoSuchRunner",
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert "NoSuchRunner" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "dataset.json").exists()
