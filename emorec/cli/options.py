"""Flags and small steps that several commands share."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from absl import flags

from emorec import config_check
from emorec.cli import server_flags
from emorec.errors import EmorecError, UsageError

# Where a model is; a command takes exactly one of them, or a preset.
BACKENDS = ("model_dir", "saved_model", "onnx", "server")


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


def define_backend(
    values: flags.FlagValues, *, bfloat16: bool = False, preset: bool = False
) -> dict[str, flags.FlagHolder]:
    """The flags of `BACKENDS`, of which exactly one is needed, and more.

    Args:
        values: The command's flags.
        bfloat16: Whether there is `--bfloat16`, for a command whose answers
            need not be those of an exported model to the last digits.
        preset: Whether there is `--preset`, for a command that needs no
            model of the user's own.
    """
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
        "onnx": flags.DEFINE_string(
            "onnx",
            None,
            "An ONNX directory of `emorec export --format onnx`; needs "
            "onnxruntime and no TensorFlow.",
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
    if preset:
        holders["preset"] = _define_preset(values)
    if bfloat16:
        holders["bfloat16"] = _define_bfloat16(values)
    return {**holders, **server_flags.define(values)}


def _define_preset(values):
    from emorec import preset_models

    told = (f"{name} ({what})" for name, what in preset_models.PRESETS.items())
    return flags.DEFINE_enum(
        "preset",
        None,
        list(preset_models.PRESETS),
        f"What answers without a model of your own: {', '.join(told)}.",
        flag_values=values,
    )


def _define_bfloat16(values):
    holder = flags.DEFINE_enum(
        "bfloat16",
        None,
        list(config_check.CHOICES["features.bfloat16"]),
        "Which encoders of --model_dir compute in bfloat16, where the CPU has "
        "it; by default as the model's config says, which is that of the "
        "context. With none the answers are those of an exported model.",
        flag_values=values,
    )
    flags.register_multi_flags_validator(
        ["bfloat16", "model_dir"],
        lambda given: not given["bfloat16"] or given["model_dir"],
        "--bfloat16 belongs to --model_dir; an exported model computes as it "
        "was exported",
        flag_values=values,
    )
    return holder


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


def kind_of_backend(holders: dict[str, flags.FlagHolder]) -> str:
    """Returns the one of `BACKENDS`, or `preset`, that is given."""
    preset = ("preset",) if "preset" in holders else ()
    return one_of(holders, *BACKENDS, *preset)


def make_backend(holders: dict[str, flags.FlagHolder]):
    """Builds the backend that the flags ask for (`emorec.predict.Backend`)."""
    kind = kind_of_backend(holders)
    if kind == "server":
        from emorec.cli.server_backend import ServerBackend

        return ServerBackend(
            holders["server"].value,
            holders["model_name"].value,
            holders["timeout"].value,
            **server_flags.security(holders),
        )
    if kind == "onnx":
        from emorec.onnx_backend import OnnxBackend

        return OnnxBackend(holders["onnx"].value)
    from emorec.features import detector, lean_tensorflow, sessions
    from emorec.training import graphs

    is_kept = kind == "model_dir" and graphs.is_kept(holders[kind].value)
    if is_kept and detector.is_kept():
        sessions.load()
    else:
        lean_tensorflow.load()
    if kind == "preset":
        from emorec import preset_models

        return preset_models.load(holders["preset"].value)
    if kind == "saved_model":
        from emorec import saved_model_backend

        return saved_model_backend.SavedModelBackend(holders[kind].value)
    from emorec import local_backend

    return local_backend.LocalBackend(_load_graphs(holders))


def _load_graphs(holders):
    """Reads the model folder, and settles what of it is in bfloat16."""
    from emorec.features import sessions
    from emorec.training import graphs

    made = graphs.load(holders["model_dir"].value)
    wanted = holders["bfloat16"].value if "bfloat16" in holders else "none"
    if wanted is not None:
        made = made.with_bfloat16(wanted)
    asked = wanted == "context" or made.config.features.bfloat16 == "all"
    if asked and not sessions.has_bfloat16():
        print(
            "note: this CPU has no bfloat16 (avx512_bf16, amx_bf16): the "
            "encoders stay in float32",
            file=sys.stderr,
            flush=True,
        )
    return made


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


def announce_notes(description: dict, file: TextIO | None = None):
    """Says what belongs to a model's answers; see `Bundle.describe`."""
    announce_random(description["random_weights"], file)
    for note in description["info"].get("notes", []):
        print(f"note: {note}", file=file or sys.stdout, flush=True)


def check_output(path: str | None) -> str | None:
    """Fails before the work where the result could not be written.

    Args:
        path: The file that the user named; None or "" is none.

    Returns:
        The file that is to be written: for a link, what it leads to.

    Raises:
        EmorecError: The folder is absent or not to be written to, or the
            path is a pipe or a device, whose place a file would take.
    """
    if not path:
        return None
    # Asked of the path, not of the target: a pipe under /dev/stdout has none.
    is_special = os.path.exists(path) and not os.path.isfile(path)
    if is_special and not os.path.isdir(path):
        raise EmorecError(
            f"{path}: is not a plain file, which alone are replaced; choose "
            "a file, or leave --output away to print the results"
        )
    target = os.path.realpath(path)
    # Still a link: one of a circle.
    is_file = not os.path.isdir(target) and not os.path.islink(target)
    if not is_file or not os.access(os.path.dirname(target), os.W_OK):
        raise EmorecError(
            f"{path}: cannot be written there; choose a file in a folder "
            "that exists and is yours"
        )
    return target


@contextlib.contextmanager
def output_dir(path: str) -> Iterator[None]:
    """Makes the folder of the results, before the work that fills it.

    After an error of the work, a folder that it left empty goes again.

    Raises:
        EmorecError: It cannot be made, or not be written to.
    """
    is_new = not os.path.lexists(path)
    try:
        os.makedirs(path, exist_ok=True)
        # Tried, as os.access does not tell root of a full or read-only disk.
        tempfile.TemporaryFile(dir=path).close()
    except OSError as e:
        raise EmorecError(
            f"{path}: cannot be written ({e.strerror}); choose another "
            "--output_dir"
        ) from e
    try:
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                os.rmdir(path)
        raise
