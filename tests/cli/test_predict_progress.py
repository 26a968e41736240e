"""How far `emorec predict` is: plain lines, a terminal's bar, Ctrl-C."""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import threading

import pytest

from emorec.cli import predict as command
from emorec.cli import predict_progress
from emorec.cli.predict_progress import Progress


def test_plain_lines_tell_the_time_left(monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(predict_progress.time, "monotonic", lambda: clock[0])
    with Progress(5, quiet=False, done=1) as progress:
        for passed, done in ((10, 1.2), (30, 2), (20, 2.5), (300, 4), (60, 5)):
            clock[0] += passed
            progress.update(done)
        progress.line("a result", sys.stdout)
    said = capsys.readouterr()
    # One in 30 s at most; what was done before does not make it quicker.
    assert said.err.splitlines() == [
        "emorec predict: 2 of 5 videos done, 40%, about 2 min left",
        "emorec predict: 4 of 5 videos done, 80%, about 2 min left",
        "emorec predict: 5 of 5 videos done, 100%",
    ]
    assert said.out == "a result\n"


def test_quiet_tells_nothing(monkeypatch, capsys):
    monkeypatch.setattr(predict_progress, "_LINES_S", 0)
    with Progress(2, quiet=True) as progress:
        progress.update(1)
    assert capsys.readouterr().err == ""


def test_plain_lines_tell_of_drawing(monkeypatch, capsys):
    monkeypatch.setattr(predict_progress, "_LINES_S", 0)
    with Progress(1, quiet=False) as progress:
        progress.drawing("a\nb.mp4", 0.256)
    assert capsys.readouterr().err == (
        "emorec predict: drawing 'a\\nb.mp4', 26%\n"
    )


@pytest.mark.parametrize(
    "seconds, said", [(89, "89 s"), (100, "2 min"), (9000, "2.5 h")]
)
def test_lengths_of_time(seconds, said):
    assert predict_progress._length(seconds) == said


def test_a_terminal_gets_a_bar_that_lines_do_not_break(monkeypatch):
    ours, theirs = pty.openpty()
    size = struct.pack("4H", 40, 100, 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with Progress(4, quiet=False) as progress:
            progress.update(1.5)
            progress.line("a result", terminal)
            # Workers finish in any order: it never goes back.
            progress.update(1)
    # All of it: one read gives what has arrived, which may be the first line.
    shown = b""
    with contextlib.suppress(OSError):  # That is how a terminal ends.
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    shown = shown.decode()
    assert "predict" in shown and "38%" in shown and "left" in shown
    assert "\ra result\r\n" in shown
    assert "25%" not in shown


def test_the_first_ctrl_c_ends_what_is_live(capsys):
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    with command._ctrl_c_ends(stop):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            stop.wait(0.1)
    assert signal.getsignal(signal.SIGINT) is before
    assert capsys.readouterr().err == "ending; Ctrl-C again breaks off\n"
    with command._ctrl_c_ends(None), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait(0.1)
