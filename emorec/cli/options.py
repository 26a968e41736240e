"""Flags and small steps that several commands share."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from absl import flags

from emorec.errors import EmorecError, UsageError


def define_set(values: flags.FlagValues) -> flags.FlagHolder:
    """`--set section.field=value`, for every field of `emorec.config`."""
    return flags.DEFINE_multi_string(
        "set",
        [],
        "Override one field of the config, section.field=value; may be given "
        "several times (README: Config).",
        flag_values=values,
    )


def define_quiet(values: flags.FlagValues) -> flags.FlagHolder:
    """`--quiet`: no progress."""
    return flags.DEFINE_bool(
        "quiet", False, "Show no progress.", flag_values=values
    )


def define_backend(values: flags.FlagValues) -> dict[str, flags.FlagHolder]:
    """`--model_dir`, `--saved_model`, `--server`: exactly one is needed."""
    holders = {
        "model_dir": flags.DEFINE_string(
            "model_dir",
            None,
            "A model folder of `emorec train`.",
            flag_values=values,
        ),
        "saved_model": flags.DEFINE_string(
            "saved_model",
            None,
            "A SavedModel: a version folder, or a base path (its newest "
            "version is taken).",
            flag_values=values,
        ),
        "server": flags.DEFINE_string(
            "server",
            None,
            "HOST:PORT of a model server's gRPC port.",
            flag_values=values,
        ),
        "model_name": flags.DEFINE_string(
            "model_name",
            "emotion",
            "The model's name on the server.",
            flag_values=values,
        ),
        "timeout": flags.DEFINE_float(
            "timeout",
            60.0,
            "Seconds that a request to the server may take.",
            lower_bound=0.01,
            flag_values=values,
        ),
    }
    return holders


def no_arguments(args: list[str]) -> None:
    """Refuses what is not a flag."""
    if args:
        raise UsageError(f"takes flags only. Received: {' '.join(args)}")


def one_of(holders: dict[str, flags.FlagHolder], *names: str) -> str:
    """Returns the one flag among `names` that is given."""
    given = [n for n in names if holders[n].value]
    if len(given) != 1:
        raise UsageError(
            f"give exactly one of {', '.join('--' + n for n in names)}. "
            f"Received: {', '.join('--' + n for n in given) or 'none'}"
        )
    return given[0]


def make_backend(holders: dict[str, flags.FlagHolder]):
    """Builds the backend that the flags ask for (`emorec.predict.Backend`)."""
    kind = one_of(holders, "model_dir", "saved_model", "server")
    if kind == "server":
        from emorec.cli.server_backend import ServerBackend

        return ServerBackend(
            holders["server"].value,
            holders["model_name"].value,
            holders["timeout"].value,
        )
    from emorec import predict

    if kind == "saved_model":
        return predict.SavedModelBackend(holders["saved_model"].value)
    from emorec.training import bundle

    return predict.LocalBackend(bundle.load(holders["model_dir"].value))


def progress_bar(title: str, unit: str, quiet: bool) -> Callable:
    """Returns `update(done, total)` that draws on a terminal and only there."""
    from tqdm import tqdm

    bar = tqdm(
        desc=title,
        unit=f" {unit}",
        disable=True if quiet else None,
        dynamic_ncols=True,
        leave=False,
    )

    def update(done: int, total: int):
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return update


def announce_random(streams: Sequence[str], file: TextIO | None = None):
    """Says on the terminal that an encoder's weights are random.

    Args:
        streams: Whose encoder it is; empty says nothing.
        file: Where to; standard output by default.
    """
    if streams:
        print(
            f"WARNING: the {' and '.join(streams)} encoder has RANDOM frozen "
            "weights: the published ones were not found. Answers say nothing "
            "about emotion.",
            file=file or sys.stdout,
            flush=True,
        )


def check_output(path: str | None) -> None:
    """Fails before the work where the result could not be written.

    Raises:
        EmorecError: The folder is absent or not to be written to.
    """
    if not path:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise EmorecError(
            f"{path}: cannot be written there; choose a file in a folder "
            "that exists and is yours"
        )
