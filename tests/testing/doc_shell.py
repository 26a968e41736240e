"""Runs the blocks of a page as its reader would, in a folder of the test's.

`emorec` runs in this process, which has TensorFlow loaded; servers and lines
that need a shell run in processes of their own. What is changed, so that a page
of hours takes seconds, stands in this file and nowhere else:

  ports     8500, 8501 and 7860 become free ones
  sample    `emorec sample` writes 3 identities and clips of .5 s; person10,
            who is held out in the whole set, becomes person02, who is here
  seconds   `--seconds` of a load test becomes 1
  EXTRA     flags that are added to a command
"""

import contextlib
import functools
import io
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from unittest import mock

from absl import logging

from emorec.cli import main as command
from emorec.data import sample
from emorec.errors import EmorecError
from serving.client import EmotionClient
from testing import commands, doc_blocks

# Short training of small networks, and few requests of warmup.
EXTRA = {
    "train": (
        "--set=train.epochs=2",
        "--set=train.batch_size=8",
        "--set=model.encoder_units=16",
        "--set=model.rnn_units=8",
        "--missing_weights=random",
    ),
    "prepare": ("--workers=1",),
    "export": ("--warmup_batch_sizes=1",),
    "train_face": ("--set=face_train.epochs=2",),
    "serve": ("--embedded",),
}
WRITTEN = ("--output", "--output_dir", "--report", "--annotate", "--plot")
PORTS = ("8500", "8501", "7860")
READY_S = 120


class Shell:
    """A folder, the servers that were started in it, and Python's names.

    Args:
        folder: The working directory of every block.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._ports = {port: str(_free_port()) for port in PORTS}
        self._processes = []

    def beside(self, folder: pathlib.Path) -> "Shell":
        """A shell in another folder that asks the same servers."""
        other = Shell(folder)
        other._ports = self._ports
        return other

    def run(self, block: doc_blocks.Block, names: dict | None = None) -> None:
        """Runs a block; fails with its place in the page.

        Args:
            block: One that `is_run`.
            names: What a Python block finds, and adds to.
        """
        if block.language == "python":
            self._python(block, {} if names is None else names)
            return
        for step in doc_blocks.steps(block):
            done = self._step(step)
            place = f"{block.page}:{step.line}: {step.command}"
            assert done.code == step.code, (
                f"{place}\nexit code {done.code}\n{done.err}\n{done.out}"
            )
            printed = self._as_shown(done.out + done.err)
            absent = step.output and doc_blocks.missing(step.output, printed)
            assert not absent, f"{place}\ndid not print: {absent}\n{printed}"

    def close(self) -> None:
        """Ends the servers."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)
        self._processes.clear()

    def _step(self, step) -> commands.Done:
        text = self._changed(step.command)
        words = doc_blocks.arguments(text.removesuffix("&").strip())
        if words is None or words[0] not in ("emorec", "cd"):
            return self._bash(text)
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return commands.Done(0, "", "")
        words = [w.replace("$PWD", str(self.folder)) for w in words[1:]]
        words += EXTRA.get(words[0], ()) if "--help" not in words else ()
        if words[0] == "export" and "--format=onnx" in words:
            words.remove(*EXTRA["export"])
        if words[0] in ("serve", "ui"):
            return self._start(words)
        done = self._here(words)
        if done.code == 0:
            self._look_for(words)
        return done

    def _look_for(self, words) -> None:
        """Fails where a file that a command was to write is not there."""
        for word in words:
            flag, _, path = word.partition("=")
            if flag in WRITTEN and not (self.folder / path).exists():
                raise AssertionError(f"{' '.join(words)}\nmade no {path}")

    def _here(self, words) -> commands.Done:
        out, err = io.StringIO(), io.StringIO()
        small = functools.partial(
            sample.write_sample_set, identities=3, seconds=0.5
        )
        verbosity = logging.get_verbosity()
        try:
            with (
                contextlib.chdir(self.folder),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                mock.patch.dict(os.environ),
                mock.patch.object(sample, "write_sample_set", small),
                warnings.catch_warnings(),
            ):
                code = command.main(words)
        finally:
            logging.set_verbosity(verbosity)
        return commands.Done(code, out.getvalue(), err.getvalue())

    def _bash(self, text) -> commands.Done:
        """A line for a shell, where `emorec` and `python` are this one's."""
        environment = commands.environment()
        bin_ = pathlib.Path(sys.executable).parent
        environment["PATH"] = f"{bin_}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return commands.Done(done.returncode, done.stdout, done.stderr)

    def _start(self, words) -> commands.Done:
        """Starts a server and waits until it answers."""
        log = self.folder / f"{words[0]}.log"
        with open(log, "w") as file:
            process = subprocess.Popen(
                commands.line(*words),
                cwd=self.folder,
                env=commands.environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        ask = self._ask_page if words[0] == "ui" else self._ask_model
        ends = time.monotonic() + READY_S
        while process.poll() is None and time.monotonic() < ends:
            if ask():
                return commands.Done(0, log.read_text(), "")
            time.sleep(0.2)
        return commands.Done(1, log.read_text(), "it never answered")

    def _ask_model(self) -> bool:
        try:
            with EmotionClient(f"127.0.0.1:{self._ports['8500']}") as client:
                client.wait_ready(5)
        except EmorecError:
            return False
        return True

    def _ask_page(self) -> bool:
        url = f"http://127.0.0.1:{self._ports['7860']}/"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _python(self, block, names):
        lines = "\n" * block.line + self._changed(block.text)
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            exec(compile(lines, block.page, "exec"), names)

    def _changed(self, text: str) -> str:
        text = text.replace("person10", "person02")
        text = re.sub(r"--seconds=\d+", "--seconds=1", text)
        for shown, free in self._ports.items():
            text = re.sub(rf"\b{shown}\b", free, text)
        return text

    def _as_shown(self, text: str) -> str:
        """What was printed, without this machine's folder in it."""
        return text.replace(f"{self.folder}/", "")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
