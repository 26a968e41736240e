"""emorec pipeline COMMAND: the TFX pipeline, from videos to a pushed model."""

import sys

from emorec.cli import app

COMMANDS = {
    "run": "run the pipeline on this machine",
    "status": "runs, pushed versions and what the served model is made of",
    "rollback": "push an earlier blessed version again",
    "compile": "write the pipeline for Kubeflow or Vertex",
    "schema": "write the schema for labels of your own",
}


def main(args: list[str]) -> int:
    """Runs `emorec pipeline COMMAND ...`; returns the exit code."""
    if args and args[0] in COMMANDS:
        name = f"pipeline {args[0]}"
        return app.run(f"pipeline_{args[0]}", args[1:], name)
    if args and args[0] in ("--help", "-h", "help"):
        app.say(_usage())
        return 0
    what = f"unknown command {args[0]!r}" if args else "no command given"
    print(
        f"emorec pipeline: {what}; there is {', '.join(COMMANDS)}; see emorec "
        "pipeline --help",
        file=sys.stderr,
    )
    return 2


def _usage() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            __doc__,
            "",
            *(f"  {k:<{width}}  {v}" for k, v in COMMANDS.items()),
            "",
            "each takes --help",
        ]
    )
