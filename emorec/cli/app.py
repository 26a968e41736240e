"""What all commands share: parsing, help, errors and exit codes.

Exit codes: 0 done; 1 an error that the message explains; 2 a wrong flag or
argument; 130 interrupted by Ctrl-C; 143 ended by SIGTERM. In a batch a bad
video is listed in the output and does not change the code, as long as another
one worked.
"""

import contextlib
import errno
import importlib
import io
import math
import os
import signal
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator

from absl import app, flags, logging

from emorec.errors import EmorecError, UsageError

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
# GNU timeout sends SIGTERM to the process and then to its group: one of the
# two must not break off the cleaning up after the other.
_SAME_SIGNAL_S = 5.0
# What a full disk, a file limit or a folder of somebody else says. Any other
# OSError is a fault of ours and keeps its traceback.
_USERS_ERRNOS = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
)
# Flags that absl adds and no user of a command needs to read about.
_HIDDEN = {"flagfile", "undefok"}


# What the base install leaves out, and how to get it.
_EXTRAS = {
    **dict.fromkeys(
        ("tensorflow", "keras", "h5py", "tqdm", "jinja2"),
        "install emorec[tf]",
    ),
    **dict.fromkeys(
        ("av", "cv2", "mtcnn", "joblib", "lz4"), "install emorec[video]"
    ),
    **dict.fromkeys(
        ("tensorflow_serving", "prometheus_client", "yaml"),
        "install emorec[serving]",
    ),
    "onnxruntime": "install emorec[onnx-runtime]",
    "skimage": "install emorec[sample]",
    "matplotlib": "install emorec[charts]",
    "openpyxl": "install emorec[xlsx]",
    **dict.fromkeys(("pandas", "pyarrow"), "install emorec[tables]"),
    "gradio": "install emorec[ui]",
    "kfp": "install emorec[kfp]",
    **dict.fromkeys(
        (
            "apache_beam",
            "keras_tuner",
            "ml_metadata",
            "tensorflow_data_validation",
            "tensorflow_metadata",
            "tensorflow_model_analysis",
            "tfx",
            "tfx_bsl",
        ),
        "install the versions of requirements.lock",
    ),
}


# Keras' own backends. Without TensorFlow only networks are looked at.
_BACKENDS = ("tensorflow", "jax")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: whatever cleans up after Ctrl-C does so here as well."""


def run(command: str, args: list[str], name: str | None = None) -> int:
    """Runs one command as an absl app; returns its exit code.

    Args:
        command: The module of `emorec.cli`.
        args: What follows it on the command line.
        name: What it is called in messages; by default as its module.
    """
    _print_everything()
    module = importlib.import_module(f"emorec.cli.{command}")
    name = f"emorec {name or command}"
    if any(a in ("--help", "-h", "-help", "--helpfull") for a in args):
        say(_usage(name, module))
        return 0

    def parse(argv):
        # absl wants its own flags parsed too; ours live with the command, so
        # that two commands can be imported in one process. A second call in
        # one process must not see the first one's values.
        flags.FLAGS(argv[:1])
        for key in module.FLAGS:
            module.FLAGS[key].unparse()
        return module.FLAGS(argv)

    def parsed(argv):
        try:
            return parse(argv)
        except flags.Error as e:
            _fail(name, f"{_one_line(e)}; see {name} --help")
            sys.exit(2)

    def main(argv):
        return _guarded(name, module, argv[1:])

    try:
        app.run(main, argv=[name, *args], flags_parser=parsed)
    except SystemExit as e:
        return e.code or 0
    return 0


def _guarded(name, module, args) -> int:
    _quiet_libraries()
    _use_keras_3()
    try:
        _check_backend()
        with _terminable():
            return module.main(args) or 0
    except EmorecError as e:
        _fail(name, str(e))
        return e.exit_code
    except ModuleNotFoundError as e:
        if e.name is None or e.name.split(".")[0] not in _EXTRAS:
            raise
        package = e.name.split(".")[0]
        _fail(name, f"needs {package}; {_EXTRAS[package]}")
        return 1
    except Terminated:
        _fail(name, "terminated; what was finished is kept")
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        _fail(name, "interrupted; what was finished is kept")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        _drop_stdout()
        return 1
    except OSError as e:
        if e.errno not in _USERS_ERRNOS:
            raise
        _fail(
            name,
            f"{e.filename or 'the output'}: {e.strerror}; free some space, or "
            "choose a place that you may write to",
        )
        return 1


def _use_keras_3():
    """Undoes what TFX leaves in the environment of the processes it starts.

    The package mtcnn takes its layers from tf.keras, which with this variable
    is the package tf_keras, or nothing where that is not installed.
    """
    os.environ.pop("TF_USE_LEGACY_KERAS", None)


def _check_backend():
    """Refuses a backend before Keras raises an error of its own."""
    backend = os.environ.get("KERAS_BACKEND", "")
    if backend and backend not in _BACKENDS:
        raise UsageError(
            "$KERAS_BACKEND must be tensorflow, or jax for the networks "
            f"alone. Received: {backend!r}"
        )


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM raise `Terminated`, which runs what `finally` holds.

    Only where it would end the process as it is: a handler of the program
    that calls us stays, and so does that of an outer command.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return
    last = -math.inf

    def terminate(*_):
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > _SAME_SIGNAL_S:
            raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def say(text: str) -> None:
    """Prints a text whose reader may go away before its end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _drop_stdout()


def _fail(name, message):
    """Prints the one line of an error, after what was printed before it."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_stdout()
    print(f"{name}: {message}", file=sys.stderr)


def _drop_stdout():
    """Lets the rest of the output go, or Python complains of it at exit."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _one_line(error) -> str:
    return " ".join(str(error).split())


def _quiet_libraries():
    """Keeps the libraries' own chatter off the user's terminal.

    In the command's process only, before TensorFlow is imported; a user's
    own setting is respected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.set_verbosity(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        # Worker processes start with this, not with the filter above.
        os.environ.setdefault("PYTHONWARNINGS", "ignore")


def _print_everything():
    """Lets a terminal of few letters show any name, escaped."""
    for stream in (sys.stdout, sys.stderr):
        # Not where a program that calls us has put something else there.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _usage(name, module) -> str:
    lines = [(module.__doc__ or "").strip(), "", f"flags of {name}:"]
    for key in sorted(module.FLAGS):
        flag = module.FLAGS[key]
        if key in _HIDDEN:
            continue
        default = ""
        if flag.default not in (None, [], False, ""):
            default = f" (default: {flag.default_as_str or flag.default})"
        form = f"--[no]{key}" if flag.boolean else f"--{key}"
        lines.append(f"  {form}")
        lines += textwrap.wrap(
            f"{flag.help}{default}",
            72,
            initial_indent="      ",
            subsequent_indent="      ",
        )
    lines.append("  --flagfile")
    lines.append("      Read flags from this file, one a line.")
    return "\n".join(lines)
