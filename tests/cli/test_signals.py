"""Ctrl-C, SIGTERM and SIGKILL to commands, in real process groups."""

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time
import types

import pytest
from testing import commands

from emorec.cli import app
from emorec.data import dataset


def members(group: int) -> list[int]:
    """The processes of a process group that are alive."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything: state, parent, group.
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
            if int(number) == group and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def workers(group: int) -> int:
    count = 0
    for number in members(group):
        with contextlib.suppress(OSError):
            line = pathlib.Path(f"/proc/{number}/cmdline").read_bytes()
            count += b"spawn_main" in line
    return count


def wait_for(what, process=None):
    ends = time.monotonic() + 120
    while not what():
        if process is not None:
            assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.fixture
def preparing(sample_set, tmp_path):
    """`emorec prepare --workers=2` in a process group of its own."""
    process = subprocess.Popen(
        commands.line(
            "prepare",
            f"--manifest={sample_set}",
            f"--output_dir={tmp_path / 'data'}",
            "--set=data.shard_rows=1",
            "--workers=2",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=commands.environment(),
        start_new_session=True,
    )
    try:
        yield process, tmp_path / "data"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_ctrl_c_while_the_workers_start_is_one_line(preparing):
    process, data = preparing
    wait_for(lambda: workers(process.pid) == 2, process)
    time.sleep(0.5)  # They are importing now, which takes them seconds.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err == "emorec prepare: interrupted; what was finished is kept\n"
    assert process.returncode == 130
    wait_for(lambda: not members(process.pid))
    assert not (data / dataset.FILE).exists()


@pytest.mark.parametrize(
    "to",
    [pytest.param("parent", marks=pytest.mark.long), "parent, then group"],
)
def test_sigterm_ends_the_workers_and_keeps_their_shards(preparing, to):
    process, data = preparing
    wait_for(lambda: list(data.glob("shards/*.json")), process)
    process.send_signal(signal.SIGTERM)
    if to != "parent":
        os.killpg(process.pid, signal.SIGTERM)  # As GNU timeout does.
    _, err = process.communicate(timeout=60)
    assert err == "emorec prepare: terminated; what was finished is kept\n"
    assert process.returncode == 143
    wait_for(lambda: not members(process.pid))
    finished = list(data.glob("shards/*.json"))
    assert 1 <= len(finished) < 32
    for path in finished:
        assert (data / f"{path.stem}.tfrecord").exists()
    assert not list(data.glob(".*.tmp")), "half a shard was left behind"
    assert not (data / dataset.FILE).exists()


def test_workers_do_not_outlive_a_parent_that_is_killed(preparing):
    process, data = preparing
    wait_for(lambda: list(data.glob("shards/*.json")), process)
    process.kill()
    process.wait(60)
    wait_for(lambda: not members(process.pid))
    assert len(list(data.glob("shards/*.json"))) < 32


@pytest.fixture
def guarded(monkeypatch):
    """Runs a function as a command is run; returns the exit code."""
    monkeypatch.setattr(app, "_quiet_libraries", lambda: None)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    yield lambda main: app._guarded(
        "emorec x", types.SimpleNamespace(main=lambda args: main()), []
    )
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_sigterm_runs_finally_once(capsys, guarded):
    seen = []

    def main():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("never reached")
        finally:
            # The second of a pair must not break off the cleaning up.
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("cleaned up")

    assert guarded(main) == 143
    assert seen == ["cleaned up"]
    assert capsys.readouterr().err == (
        "emorec x: terminated; what was finished is kept\n"
    )
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_handler_of_a_program_around_us_stays(guarded):
    got = []
    signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    assert guarded(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
    assert got == [signal.SIGTERM]


def test_a_command_in_a_thread_sets_no_handler(guarded):
    seen = []

    def main():
        seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: seen.append(guarded(main)))
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL, 0]
