"""emorec ui: a web page that analyses videos, for use without a terminal.

  emorec ui --model_dir=model
  emorec ui --preset=face-average
  emorec ui --onnx=onnx_folder --port=7860 --max_seconds=120

Serves one page on loopback until Ctrl-C: drop a video, see the annotated
video, the probabilities over time and the attention map, download tables and
the report. A visitor's files are removed when the page is closed.
"""

import contextlib
import importlib.util
import threading

from absl import flags

from emorec.cli import options
from emorec.errors import EmorecError

FLAGS = flags.FlagValues()
_BACKEND = options.define_backend(FLAGS, bfloat16=True, preset=True)
_HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen on. Whoever can reach it can have videos analysed; the "
    "page has no passwords and no TLS.",
    flag_values=FLAGS,
)
_PORT = flags.DEFINE_integer(
    "port",
    7860,
    "Port; 0 takes a free one.",
    lower_bound=0,
    upper_bound=65535,
    flag_values=FLAGS,
)
_MEGABYTES = flags.DEFINE_float(
    "max_upload_mb",
    500.0,
    "Largest video that is taken, in 10^6 bytes.",
    lower_bound=0.001,
    upper_bound=65536.0,
    flag_values=FLAGS,
)
_SECONDS = flags.DEFINE_float(
    "max_seconds",
    300.0,
    "Longest video that is taken, in seconds.",
    lower_bound=0.1,
    upper_bound=14400.0,
    flag_values=FLAGS,
)


def main(args: list[str]) -> int:
    options.no_arguments(args)
    options.kind_of_backend(_BACKEND)
    _need_gradio()
    from emorec.ui import analysis, server

    backend, detector = _make()
    options.announce_notes(backend.description)
    limits = analysis.Limits(_MEGABYTES.value, _SECONDS.value)
    analyst = analysis.Analyst(backend, detector, limits)
    with server.serve(analyst, host=_HOST.value, port=_PORT.value) as served:
        if _HOST.value not in server.LOOPBACK:
            print(
                f"WARNING: {_HOST.value} may be reached from other machines: "
                "whoever reaches this page can use it",
                flush=True,
            )
        print(f"{served.url}   (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    print("stopped; all files of the page are removed", flush=True)
    return 0


def _need_gradio():
    """Fails before the model is loaded, which takes long."""
    if importlib.util.find_spec("gradio") is None:
        raise EmorecError("the page needs gradio; install emorec[ui]")


def _make():
    """Returns the backend that the flags ask for, and a detector for it."""
    from emorec.video.faces import FaceDetector

    backend = options.make_backend(_BACKEND)
    return backend, FaceDetector(backend.config.detector, backend.engine())
