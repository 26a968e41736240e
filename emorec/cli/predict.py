"""emorec predict: the emotion of every person in videos.

  emorec predict clip.mp4 --model_dir=model --output=results.jsonl
  emorec predict clips/ 's3://bucket/*.mp4' --onnx=onnx --output=results.csv
  emorec predict lecture.mp4 --model_dir=model --every=10,5 --report=page.html
  emorec predict 0 --preset=face-average --duration=30

A video is a file, a folder (with its subfolders), a pattern in quotes, an
s3://, gs://, http:// or https:// address, a camera's number, or a stream:
rtsp://, rtmp://, srt://, udp://, rtp://, tcp://, or live:https://... for one
over HTTP. Remote files are copied to a temporary one first.

Results: one a person and window; for a person in several windows, or with
--every, one more for the whole video. A video without a face gives one that
says so, one that cannot be read gives its error.

Exit codes: 0 done; 1 no video could be read, or another error; 2 a wrong flag
or argument; 130 interrupted by Ctrl-C, 143 by SIGTERM. With --output, what was
finished is kept then, and --resume goes on with it. Ctrl-C ends a camera or a
stream, and the results so far are written as if it had ended by itself.
"""

import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Iterator

from absl import flags

from emorec.cli import options
from emorec.errors import UsageError

FLAGS = flags.FlagValues()
_BACKEND = options.define_backend(FLAGS, bfloat16=True, preset=True)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Where the results go, by its ending: .jsonl (with each frame's box), .csv "
    "or .parquet; without it they are printed as JSON Lines.",
    flag_values=FLAGS,
)
_RESUME = flags.DEFINE_bool(
    "resume",
    False,
    "Go on with what a stopped run of the same command has left beside "
    "--output.",
    flag_values=FLAGS,
)
_REPORT = flags.DEFINE_string(
    "report",
    None,
    "Write an HTML report with pictures to this file.",
    flag_values=FLAGS,
)
_ANNOTATE = flags.DEFINE_string(
    "annotate",
    None,
    "Write each video anew with boxes, person numbers, labels and small bars: "
    "an .mp4 file, or a folder for several videos.",
    flag_values=FLAGS,
)
_PLOT = flags.DEFINE_string(
    "plot",
    None,
    "Draw each video's timeline: a .png or .svg file, or a folder for several "
    "videos.",
    flag_values=FLAGS,
)
_SMOOTH = flags.DEFINE_float(
    "smooth",
    None,
    "Seconds by which the curves of --plot and --report are smoothed, which "
    "they say. Results never are.",
    lower_bound=0,
    flag_values=FLAGS,
)
_BLUR_FACES = flags.DEFINE_bool(
    "blur_faces",
    False,
    "Blur all faces in what --annotate and --report show.",
    flag_values=FLAGS,
)
_NO_THUMBNAILS = flags.DEFINE_bool(
    "no_thumbnails",
    False,
    "Show no pictures in the report.",
    flag_values=FLAGS,
)
_PEOPLE = flags.DEFINE_enum(
    "people",
    "all",
    ["all", "main"],
    "Every person, or the one seen most in each window.",
    flag_values=FLAGS,
)
_FPS = flags.DEFINE_float(
    "fps",
    None,
    "Frames analysed per second; by default as the model's config says.",
    lower_bound=0.01,
    upper_bound=240,
    flag_values=FLAGS,
)
_EVERY = flags.DEFINE_string(
    "every",
    None,
    "WINDOW or WINDOW,STRIDE in seconds: an answer a window, and one for the "
    "whole video; by default windows as the model's config says.",
    flag_values=FLAGS,
)
_DURATION = flags.DEFINE_float(
    "duration",
    None,
    "Seconds of a camera or stream that are read; by default until it ends or "
    "Ctrl-C.",
    lower_bound=0.1,
    flag_values=FLAGS,
)
_MAX_DOWNLOAD_MB = flags.DEFINE_integer(
    "max_download_mb",
    4096,
    "Largest remote video that is copied, in MB of 2^20 bytes.",
    lower_bound=1,
    flag_values=FLAGS,
)
_UNCERTAIN_BELOW = flags.DEFINE_float(
    "uncertain_below",
    None,
    "A result of less confidence is marked as uncertain; by default as the "
    "model says, else .5.",
    lower_bound=0,
    upper_bound=1,
    flag_values=FLAGS,
)
_DETECT_EVERY = flags.DEFINE_integer(
    "detect_every",
    None,
    "Search every N-th analysed frame for faces as a whole, and the others "
    "only near those that it shows; by default as the model's config says.",
    lower_bound=1,
    upper_bound=64,
    flag_values=FLAGS,
)
_WORKERS = flags.DEFINE_integer(
    "workers",
    0,
    "Processes that share the cores, one video at a time each. 0: one for "
    "each core, if each gets 16 videos and 1.5 GB of memory, else one that "
    "uses all cores. Each loads the model.",
    lower_bound=0,
    upper_bound=256,
    flag_values=FLAGS,
)
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    if not args:
        raise UsageError("needs one video or more: emorec predict VIDEO...")
    options.kind_of_backend(_BACKEND)
    from emorec import predict_sources
    from emorec.cli import predict_files, predict_run

    cutting = _cutting()
    videos = predict_sources.expand(args)
    live = predict_files.live_ones(videos)
    wanted = predict_files.Wanted(
        videos,
        output=_OUTPUT.value,
        report=_REPORT.value,
        annotate=_ANNOTATE.value,
        plot=_PLOT.value,
        resume=_RESUME.value,
        smooth=_SMOOTH.value,
        blur=_BLUR_FACES.value,
        thumbnails=not _NO_THUMBNAILS.value,
    )
    # Without --output, standard output holds JSON Lines and nothing else.
    aside = sys.stdout if _OUTPUT.value else sys.stderr
    sources = predict_sources.Sources(
        _MAX_DOWNLOAD_MB.value << 20,
        _DURATION.value,
        threading.Event() if live else None,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ctrl_c_ends(sources.stop))
        start = _start(videos, cutting, sources, stack)
        options.announce_notes(start.description, aside)
        failed = predict_run.run(
            start, wanted, sources, quiet=_QUIET.value, aside=aside
        )
    if failed and len(videos) > 1:
        print(
            f"emorec predict: {failed} of {len(videos)} videos could not be "
            "read, or not to their end; each is marked in the output",
            file=sys.stderr,
        )
    return 1 if failed == len(videos) else 0


@contextlib.contextmanager
def _ctrl_c_ends(stop: threading.Event | None) -> Iterator[None]:
    """Lets the first Ctrl-C set `stop`; the next one is as ever."""
    main_thread = threading.current_thread() is threading.main_thread()
    if stop is None or not main_thread:
        yield
        return

    def end(*_):
        stop.set()
        signal.signal(signal.SIGINT, before)
        print("ending; Ctrl-C again breaks off", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cutting():
    from emorec import predict_cuts

    every = _EVERY.value
    return predict_cuts.Cutting(
        _PEOPLE.value,
        _FPS.value,
        None if every is None else predict_cuts.Windows.parse(every),
    )


def _start(videos: list[str], cutting, sources, stack: contextlib.ExitStack):
    """Loads the model; returns a `predict_run.Start`.

    Args:
        videos: The videos.
        cutting: How they are cut.
        sources: How they are opened.
        stack: Ends the workers, if there are any.
    """
    from emorec.cli import predict_run
    from emorec.data import processes

    workers = _WORKERS.value or processes.default_workers(len(videos))
    # What is live must be answered here, while it comes.
    workers = 1 if sources.stop else min(workers, len(videos))
    if workers == 1:
        backend, detector = _make()
        return predict_run.here(
            backend,
            detector,
            cutting,
            sources,
            threshold=_UNCERTAIN_BELOW.value,
        )

    from emorec import predict_workers
    from emorec.evaluation import clip_report

    names = (*_BACKEND, "detect_every")
    given = [FLAGS[n].serialize() for n in names if FLAGS[n].value is not None]
    job = predict_workers.Job(
        functools.partial(_make_in_worker, given, processes.share(workers)),
        workers,
        cutting=cutting,
        threshold=_UNCERTAIN_BELOW.value,
        sources=sources,
        pictures=clip_report.MAX_CLIPS if _REPORT.value else 0,
    )
    pool = stack.enter_context(predict_workers.Workers(job))
    return predict_run.apart(
        pool,
        _with_detect_every,
        cutting,
        threshold=_UNCERTAIN_BELOW.value,
        engine=_engine,
    )


def _make_in_worker(given: list[str], threads: int):
    FLAGS(["emorec predict", *given])
    return _make(threads)


def _make(threads: int | None = None):
    """Returns the backend that the flags ask for, and a detector for it.

    Args:
        threads: Of each network of ONNX; by default one for each core.
    """
    from emorec.video.faces import FaceDetector

    if _BACKEND["onnx"].value:
        from emorec.onnx_backend import OnnxBackend

        backend = OnnxBackend(_BACKEND["onnx"].value, threads)
    else:
        backend = options.make_backend(_BACKEND)
    backend.config = _with_detect_every(backend.config)
    return backend, FaceDetector(backend.config.detector, backend.engine())


def _engine():
    """Returns the networks of a face detector, without a whole model."""
    # The runtime of ONNX may be the only one that the user has.
    if _BACKEND["onnx"].value:
        from emorec.onnx_backend import OnnxBackend

        return OnnxBackend(_BACKEND["onnx"].value).engine()
    from emorec.features import detector

    return detector.engine()


def _with_detect_every(config):
    """Returns a config of how clips are cut, and of nothing else."""
    if not _DETECT_EVERY.value:
        return config
    return config.override([f"detector.detect_every={_DETECT_EVERY.value}"])
