"""The `emorec` command.

Imports a command only when it is asked for, so that `emorec --help` answers
at once and needs no TensorFlow.
"""

import sys

import emorec
from emorec.cli import app, pipeline

COMMANDS = {
    "prepare": "videos and a manifest to sharded TFRecords",
    "train": "TFRecords to a trained model",
    "evaluate": "a model's metrics on a split",
    "export": "a model to a SavedModel that a model server can load",
    "serve": "serve SavedModels over gRPC and REST",
    "serving_config": "write and check a model server's files",
    "tune_batching": "measure a model server's best batching parameters",
    "loadtest": "put a model server under load and measure its answers",
    "protoset": "write the protocol for grpcurl and other gRPC tools",
    "predict": "the emotion of every person in a video",
    "ui": "a web page: drop a video, see the answer",
    "train_face": "labelled face images to a face encoder",
    "experiment": "train and measure several systems over several seeds",
    "planted": "run the systems on a made-up task with a known solution",
    "disagreement": "how much raters of emotions disagree (section III-A)",
    "import_mec2017": "CHEAVD 2.0, or clips with a label file, to a manifest",
    "models": "list the systems and their sizes",
    "pipeline": "the TFX pipeline: run, status, rollback, compile, schema",
    "sample": "write the sample set, a sanity set of generated videos",
    "demo": "the main job on the sample set, from videos to an answer",
}


def main(argv: list[str] | None = None) -> int:
    """Runs `emorec COMMAND ...`; returns the exit code."""
    args = sys.argv[1:] if argv is None else argv
    if args and args[0] == "pipeline":
        return pipeline.main(args[1:])
    if args and args[0] in COMMANDS:
        return app.run(args[0], args[1:])
    if args and args[0] in ("--version", "version"):
        app.say(f"emorec {emorec.__version__}")
        return 0
    if args and args[0] in ("--help", "-h", "help"):
        app.say(_usage())
        return 0
    what = f"unknown command {args[0]!r}" if args else "no command given"
    print(
        f"emorec: {what}; there is {', '.join(COMMANDS)}; see emorec --help",
        file=sys.stderr,
    )
    return 2


def _usage() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "emorec: the emotion in a video clip, from the face and its "
            "surroundings.",
            "",
            "usage: emorec COMMAND [flags]     emorec COMMAND --help",
            "",
            *(f"  {k:<{width}}  {v}" for k, v in COMMANDS.items()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
