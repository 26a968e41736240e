"""emorec demo: the main job, stage by stage, on the sample set.

  emorec demo --output_dir=build/demo

Sample videos, TFRecords, a trained CACA-RNN A, its metrics on held-out
identities, a SavedModel, a model server, and a prediction through it. Each
stage is one emorec command in a process of its own; what it prints is kept
under OUTPUT_DIR/logs.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from absl import flags

import emorec
from emorec import signals
from emorec.cli import options
from emorec.config import Config
from emorec.data import sample_plan
from emorec.errors import EmorecError, ServerError, UsageError

FLAGS = flags.FlagValues()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "build/demo", "Where it goes.", flag_values=FLAGS
)
_VIDEO = flags.DEFINE_string(
    "video",
    None,
    "A video of yours for the last stage, instead of a held-out sample.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of the sample set and of training.", flag_values=FLAGS
)

STAGES = 7
# The demo fails where accuracy is not this much above the majority class's.
CLEARLY_BETTER = 0.2
_MARKER = "demo.json"
_INPUTS = ("sample", "data")
_RESULTS = ("model", "serving", "evaluation", "report", "logs")
_READY_S = 120


def main(args: list[str]) -> int:
    options.no_arguments(args)
    video = _VIDEO.value
    if video and not os.path.isfile(video):
        raise UsageError(f"{video}: `--video` must be a file: there is none")
    started = time.monotonic()
    folder = pathlib.Path(_OUTPUT_DIR.value)
    with options.output_dir(_OUTPUT_DIR.value):
        demo = _Demo(folder, _SEED.value)
    demo.sample()
    demo.prepare()
    demo.train()
    demo.evaluate()
    demo.export()
    with demo.serve() as address:
        report = demo.predict(address, video)
    print(f"the whole demo took {time.monotonic() - started:.0f} s")
    demo.announce()
    print(report)
    return 0


class _Demo:
    """The stages; each prints one line."""

    def __init__(self, folder: pathlib.Path, seed: int):
        self._folder = folder
        self._seed = seed
        self._number = 0
        self._logs = folder / "logs"
        self._claim()
        for name in ("logs", "report"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def _claim(self):
        """Takes the folder; never removes what an earlier demo did not make.

        Videos and records are kept where this demo would make the same;
        results are made anew.
        """
        marker = self._folder / _MARKER
        wanted = {
            "emorec": emorec.__version__,
            "config": Config().data_hash(),
            "sample": sample_plan.VERSION,
            "seed": self._seed,
        }
        if marker.is_file():
            same = marker.read_text(encoding="utf-8") == json.dumps(wanted)
            for name in _RESULTS if same else (*_RESULTS, *_INPUTS):
                shutil.rmtree(self._folder / name, ignore_errors=True)
        elif self._folder.exists() and any(self._folder.iterdir()):
            raise UsageError(
                f"{self._folder}: `--output_dir` must be empty, new or of an "
                "earlier demo; it holds other files"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps(wanted), encoding="utf-8")

    def sample(self):
        with self._stage("sample set") as say:
            self._run(
                "sample",
                f"--output_dir={self._folder / 'sample'}",
                f"--seed={self._seed}",
            )
            count = len(list((self._folder / "sample").rglob("*.mp4")))
            say(f"{count} generated videos (a sanity set, not emotion)")

    def prepare(self):
        with self._stage("prepare") as say:
            self._run(
                "prepare",
                f"--manifest={self._folder / 'sample' / 'manifest.csv'}",
                f"--output_dir={self._folder / 'data'}",
                f"--workers={min(2, os.cpu_count() or 1)}",
            )
            splits = self._json("data/dataset.json")["splits"]
            found = sum(s["frames_with_face"] for s in splits.values())
            total = sum(s["frames_total"] for s in splits.values())
            records = sum(s["records"] for s in splits.values())
            say(f"{records} records, a face in {found / total:.1%} of frames")

    def train(self):
        with self._stage("train") as say:
            self._run(
                "train",
                f"--data_dir={self._folder / 'data'}",
                f"--output_dir={self._folder / 'model'}",
                "--system=caca_rnn_a",
                f"--seed={self._seed}",
                "--missing_weights=random",
            )
            model = self._json("model/model.json")
            best = model["info"]["best"]
            say(
                f"CACA-RNN A, {model['info']['epochs']} epochs, validation "
                f"accuracy {best['val_accuracy']:.1%}"
            )

    def evaluate(self):
        with self._stage("evaluate") as say:
            self._run(
                "evaluate",
                f"--data_dir={self._folder / 'data'}",
                f"--model_dir={self._folder / 'model'}",
                f"--output_dir={self._folder / 'evaluation'}",
                "--split=test",
            )
            values = self._json("evaluation/metrics.json")
            accuracy = values["metrics"]["acc"]
            majority = values["majority_class"]["acc"]
            say(
                f"held-out accuracy {accuracy:.1%}, majority class "
                f"{majority:.1%}"
            )
        if accuracy < majority + CLEARLY_BETTER:
            raise EmorecError(
                f"the held-out accuracy {accuracy:.1%} is not clearly better "
                f"than the majority class's {majority:.1%}; see {self._logs}"
            )

    def export(self):
        with self._stage("export") as say:
            self._run(
                "export",
                f"--model_dir={self._folder / 'model'}",
                f"--output_dir={self._base_path()}",
                # No other batch size is asked for, and a server starts sooner.
                "--warmup_batch_sizes=1",
            )
            say(str(self._base_path() / "1"))

    @contextlib.contextmanager
    def serve(self):
        """Runs the server for the last stage; gives its address."""
        from serving.client.emotion_client import EmotionClient
        from serving.server import external

        port = external.free_port()
        with (
            open(self._logs / "serve.log", "w") as log,
            self._stage("serve") as say,
        ):
            server = None
            try:
                with signals.held():
                    server = subprocess.Popen(
                        self._command(
                            "serve",
                            f"--port={port}",
                            "--model_name=emotion",
                            f"--model_base_path={self._base_path().resolve()}",
                        ),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                address = f"127.0.0.1:{port}"
                with EmotionClient(address, model_name="emotion") as client:
                    self._wait_ready(client, server)
                kind = (
                    "tensorflow_model_server"
                    if shutil.which("tensorflow_model_server")
                    else "embedded server"
                )
                say(f"{kind}, gRPC on {address}")
            except BaseException:
                if server is not None:
                    external.stop(server)
                raise
        try:
            yield address
        finally:
            external.stop(server)

    def _wait_ready(self, client, server):
        """Waits for the server, or fails as soon as it has ended."""
        ends = time.monotonic() + _READY_S
        while True:
            try:
                return client.wait_ready(1.0)
            except ServerError as e:
                log = self._logs / "serve.log"
                if server.poll() is not None:
                    raise EmorecError(
                        f"`emorec serve` ended with code {server.returncode}: "
                        f"{_last_line(log)} (log: {log})"
                    ) from e
                if time.monotonic() > ends:
                    raise

    def predict(self, address, video) -> pathlib.Path:
        report = self._folder / "report" / "report.html"
        results = self._folder / "report" / "results.jsonl"
        with self._stage("predict") as say:
            video = video or self._held_out()
            self._run(
                "predict",
                video,
                f"--server={address}",
                "--model_name=emotion",
                f"--output={results}",
                f"--report={report}",
            )
            lines = results.read_text(encoding="utf-8").splitlines()
            say(f"{video}, {len(lines)} clips through gRPC")
        for line in map(json.loads, lines):
            print("      " + _result(line))
        return report

    def announce(self):
        """Says once more what a reader of the result must know."""
        print("the labels are those of a generated sanity set, not emotions")
        options.announce_random(
            self._json("model/model.json")["random_weights"]
        )

    def _held_out(self) -> str:
        """A video of the test split."""
        import csv

        path = self._folder / "sample" / "manifest.csv"
        with open(path, newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                if row["split"] == "test":
                    return str(path.parent / row["video"])
        raise EmorecError(f"{path}: no row of the test split")

    def _base_path(self):
        return self._folder / "serving" / "emotion"

    def _json(self, name) -> dict:
        return json.loads((self._folder / name).read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def _stage(self, title):
        """Prints the stage's line: while it runs on a terminal, then whole."""
        self._number += 1
        head = f"[{self._number}/{STAGES}] {title:<10} "
        terminal = sys.stdout.isatty()
        if terminal:
            print(f"{head} ...", end="\r", flush=True)
        started = time.monotonic()
        said = []
        try:
            yield said.append
        except BaseException:
            if terminal:
                print(flush=True)  # The error comes below the stage's line.
            raise
        seconds = time.monotonic() - started
        print(f"{head} {seconds:5.1f} s  {said[0]}", flush=True)

    def _command(self, command, *args) -> list[str]:
        return [sys.executable, "-m", "emorec", command, *map(str, args)]

    def _run(self, command, *args):
        """Runs one emorec command; its output goes to a log."""
        path = self._logs / f"{command}.log"
        with open(path, "w") as log:
            done = subprocess.run(
                self._command(command, *args),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            raise EmorecError(
                f"`emorec {command}` failed with code {done.returncode}: "
                f"{_last_line(path)} (log: {path})"
            )


def _last_line(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _result(value: dict) -> str:
    if "error" in value:
        return value["error"]
    where = f"{value['start']:.1f}-{value['end']:.1f} s"
    if "label" not in value:
        return f"{where}: {value['message']}"
    share = value["probabilities"][value["label"]]
    return (
        f"{where}, person {value['track']}: {value['label']} ({share:.1%}), "
        f"a face in {value['frames_with_face']} of {value['frames']} frames"
    )
