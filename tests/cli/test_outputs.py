"""Where results go: links, pipes, devices, and folders that cannot be."""

import json
import os
import pathlib
import stat
import subprocess

import pytest
from testing import commands


@pytest.fixture
def here(capsys):
    return lambda *args: commands.here(capsys, *args)


@pytest.fixture
def good(sample_set) -> pathlib.Path:
    """A sound video with a face."""
    return sorted(sample_set.parent.rglob("*.mp4"))[0]


@pytest.mark.parametrize("flag", ["--output", "--report"])
@pytest.mark.parametrize("is_linked", [False, True], ids=["pipe", "link"])
def test_a_pipe_is_not_replaced(here, tmp_path, good, flag, is_linked):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if is_linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    # Told before the model is looked for.
    done = here("predict", good, "--model_dir=nowhere", f"{flag}={path}")
    assert done.code == 1
    assert done.fault() == (
        f"emorec predict: {path}: is not a plain file, which alone are "
        "replaced; choose a file, or leave --output away to print the results"
    )
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/null"])
def test_a_device_is_not_replaced(good, path):
    done = subprocess.run(
        commands.line(
            "predict", good, "--model_dir=nowhere", f"--output={path}"
        ),
        capture_output=True,
        text=True,
        env=commands.environment(),
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"emorec predict: {path}: is not a plain")
    assert len(done.stderr.splitlines()) == 1
    assert not pathlib.Path("/dev/null").is_file()


def test_what_a_link_leads_to_is_written(here, tmp_path, model_dir, good):
    (tmp_path / "real").mkdir()
    old, new = tmp_path / "real" / "old.jsonl", tmp_path / "real" / "new.html"
    old.write_text("the results of yesterday")
    output, report = tmp_path / "out.jsonl", tmp_path / "report.html"
    output.symlink_to(old)
    report.symlink_to(pathlib.Path("real") / "new.html")  # Not there yet.
    done = here(
        "predict",
        good,
        f"--model_dir={model_dir}",
        f"--output={output}",
        f"--report={report}",
    )
    assert done.code == 0
    assert output.is_symlink() and report.is_symlink()
    assert json.loads(old.read_text())["video"] == str(good)
    assert new.read_text(encoding="utf-8").startswith("<!")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "new.html",
        "old.jsonl",
        "out.jsonl",
        "real",
        "report.html",
    ]


def test_a_link_that_leads_nowhere(here, tmp_path, good):
    links = [tmp_path / "circle", tmp_path / "absent"]
    links[0].symlink_to(links[0])
    links[1].symlink_to(tmp_path / "no" / "such" / "folder")
    for link in links:
        done = here("predict", good, "--model_dir=nowhere", f"--output={link}")
        assert done.fault().startswith(
            f"emorec predict: {link}: cannot be written there; "
        )
        assert link.is_symlink()


def test_the_rests_of_another_run_are_kept(here, tmp_path, model_dir, good):
    output = tmp_path / "out.jsonl"
    others = [
        tmp_path / "out.jsonl.partial",
        tmp_path / f"out.jsonl.{os.getppid()}.partial",
    ]
    for other in others:
        other.write_text("of another run")
    done = here(
        "predict", good, f"--model_dir={model_dir}", f"--output={output}"
    )
    assert done.code == 0
    assert all(o.read_text() == "of another run" for o in others)
    assert sorted(tmp_path.iterdir()) == sorted([output, *others])


def test_a_folder_that_cannot_be_is_told_before_the_work(
    here, tmp_path, prepared
):
    (tmp_path / "file").write_text("mine")
    # No model is there: it would be told of, were it looked for first.
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        reason = "File exists" if path.name == "file" else "Not a directory"
        for command in (
            ["evaluate", f"--data_dir={prepared.path}"],
            ["export"],
        ):
            done = here(
                *command,
                f"--model_dir={tmp_path / 'nowhere'}",
                f"--output_dir={path}",
            )
            assert done.code == 1
            assert done.fault() == (
                f"emorec {command[0]}: {path}: cannot be written ({reason}); "
                "choose another --output_dir"
            )
    assert (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_goes_again_if_the_work_fails(here, tmp_path, prepared):
    mine = tmp_path / "mine"
    mine.mkdir()
    for folder in (tmp_path / "new", mine):
        for command in (
            ["evaluate", f"--data_dir={prepared.path}"],
            ["export"],
        ):
            done = here(
                *command,
                f"--model_dir={tmp_path / 'nowhere'}",
                f"--output_dir={folder}",
            )
            assert "no trained model" in done.fault()
    assert list(tmp_path.iterdir()) == [mine]
