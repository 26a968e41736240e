"""The Beam way of `emorec prepare` against the local one."""

import dataclasses
import json
import pathlib

import pytest
from testing import commands

from emorec.config import Config
from emorec.data import manifest, prepare, shards
from emorec.errors import EmorecError, UsageError, WeightsError


def run(sample_set, folder, flag):
    """In a process of its own: Beam takes 4 s to import, and would stay."""
    return commands.apart(
        "prepare",
        f"--manifest={sample_set}",
        f"--output_dir={folder}",
        "--runner=beam",
        f"--beam_pipeline_args={flag}",
        timeout=300,
    )


@pytest.mark.long
def test_beam_writes_the_same_records(prepared, sample_set, tmp_path):
    done = run(sample_set, tmp_path, "--direct_num_workers=1")
    assert done.code == 0, done.err
    ours = json.loads((tmp_path / "dataset.json").read_text())
    theirs = json.loads(
        (pathlib.Path(prepared.path) / "dataset.json").read_text()
    )
    assert ours == theirs
    for split in prepared.splits:
        for path in map(pathlib.Path, prepared.files(split)):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "flag",
    ["--runner=Nobody", "--direct_num_workers=abc", "--direct_running_mode=no"],
)
def test_bad_flags_are_refused_in_one_line(flag, capsys):
    from tfx_pipeline import beam_shards

    with pytest.raises(UsageError) as caught:
        beam_shards.check([flag])
    message = str(caught.value)
    assert message.startswith("`--beam_pipeline_args`: ")
    assert flag.rpartition("=")[2] in message
    assert "\n" not in message and "usage" not in message
    assert capsys.readouterr().err == ""


def test_a_bad_pipeline_flag_is_one_line(sample_set, tmp_path):
    done = run(sample_set, tmp_path, "--runner=NoSuchRunner")
    assert done.code == 2
    assert "NoSuchRunner" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "dataset.json").exists()


@pytest.fixture
def tasks(sample_set, tmp_path):
    """Two shards of two rows each."""
    config = Config().override(["data.shard_rows=2"])
    rows = manifest.read(str(sample_set))
    return prepare.plan(rows, tmp_path / "out", config, by_split=True)[:2]


def test_the_workers_count(tasks, tmp_path):
    from tfx_pipeline import beam_shards

    (tmp_path / "bad.mp4").write_bytes(b"no video")
    first, second = tasks
    rows = (
        first.rows[0],
        dataclasses.replace(first.rows[1], path=str(tmp_path / "bad.mp4")),
    )
    todo = [dataclasses.replace(first, rows=rows), second]
    counts = beam_shards.write_shards(todo)
    made = [shards.read_summary(task.path) for task in todo]
    assert counts == {
        "videos": 3,
        "dead_letters": 1,
        "records": 3,
        "frames": sum(s.frames_total for s in made),
        "frames_with_face": sum(s.frames_with_face for s in made),
    }
    assert counts["frames"] == counts["frames_with_face"] > 3
    # Nothing but shards is left in their folders.
    folder = pathlib.Path(first.path).parents[1]
    names = {p.suffix for p in folder.rglob("*") if p.is_file()}
    assert names == {".tfrecord", ".json"}
    assert len(list((folder / "shards").iterdir())) == 2
    assert beam_shards.write_shards([]) == dict.fromkeys(counts, 0)


def test_a_full_disk_is_one_line_and_keeps_no_shard(tasks, full_disk):
    from tfx_pipeline import beam_shards

    with full_disk(20_000), pytest.raises(EmorecError) as caught:
        beam_shards.write_shards(tasks)
    message = str(caught.value)
    assert "cannot be written" in message and "(and 1 more)" in message
    assert "\n" not in message
    assert not any(map(shards.finished, tasks))


MULTI = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.mark.parametrize(
    "flags", [[], pytest.param(MULTI, marks=pytest.mark.long)]
)
def test_workers_that_cannot_report_are_one_line(flags, tmp_path):
    from tfx_pipeline import beam_shards

    report = tmp_path / "out" / "shards" / "faults.json"
    (report / "in the way").mkdir(parents=True)
    task = beam_shards.CopyTask(
        f"{tmp_path}/in/train-00000-of-00001.tfrecord",
        f"{tmp_path}/out/Split-train/train-00000-of-00001.tfrecord",
        "hash",
    )
    with pytest.raises(EmorecError) as caught:
        beam_shards.copy_shards([task], flags)
    assert str(caught.value) == (
        f"{report}: cannot be written (Is a directory); free some space or "
        "choose another place"
    )


def test_errors_are_found_in_what_beam_raises():
    from tfx_pipeline import beam_shards

    text = (
        'Traceback (most recent call last):\n  File "x.py", line 1\n'
        "emorec.errors.RecordError: a.tfrecord: is damaged\n\n"
        "During handling of the above exception, another occurred:\n\n"
        "emorec.errors.WeightsError: b.h5: is absent [while running 'Work']\n"
    )
    with pytest.raises(WeightsError) as caught, beam_shards.plain_errors():
        raise RuntimeError("a bundle failed") from RuntimeError(text)
    assert str(caught.value) == "b.h5: is absent"
    for other in ("emorec.errors.Nothing: x", "emorec.errors.re: x", "x"):
        with pytest.raises(RuntimeError), beam_shards.plain_errors():
            raise RuntimeError(other)


@pytest.mark.long
def test_two_worker_processes_write_the_same(tasks, tmp_path):
    from tfx_pipeline import beam_shards

    counts = beam_shards.write_shards(tasks, MULTI)
    assert counts["videos"] == 4
    for task in tasks:
        name = pathlib.Path(task.path).name
        here = dataclasses.replace(task, path=str(tmp_path / "here" / name))
        shards.write_shard(here)
        assert (
            pathlib.Path(here.path).read_bytes()
            == pathlib.Path(task.path).read_bytes()
        )
