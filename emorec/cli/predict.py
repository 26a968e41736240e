"""emorec predict: the emotion of every person in videos.

  emorec predict clip.mp4 --model_dir=model --output=results.jsonl
  emorec predict clips/ --model_dir=model --output=results.jsonl

Writes JSON Lines: one object per person and clip. A video without a face
gives one object that says so, one that cannot be read gives its error. Of a
folder, the videos in it and in its subfolders are taken.
"""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator

from absl import flags

from emorec.cli import options
from emorec.errors import EmorecError, UsageError

FLAGS = flags.FlagValues()
_BACKEND = options.define_backend(FLAGS, bfloat16=True)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "The JSON Lines file; without it they are printed.",
    flag_values=FLAGS,
)
_REPORT = flags.DEFINE_string(
    "report",
    None,
    "Write an HTML report with pictures to this file.",
    flag_values=FLAGS,
)
_PEOPLE = flags.DEFINE_enum(
    "people",
    "all",
    ["all", "main"],
    "Every person, or the one seen most in each clip.",
    flag_values=FLAGS,
)
_DETECT_EVERY = flags.DEFINE_integer(
    "detect_every",
    None,
    "Look for new faces in every N-th analysed frame only, and follow those "
    "that are known in between; by default as the model's config says.",
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
    options.one_of(_BACKEND, *options.BACKENDS)
    videos = _videos(args)
    target, page = _check_outputs(videos)
    # Without --output, standard output holds JSON Lines and nothing else.
    aside = sys.stdout if _OUTPUT.value else sys.stderr
    bar = options.progress_bar("predict", "videos", _QUIET.value)
    with contextlib.ExitStack() as stack:
        description, results = _start(
            videos, lambda done: bar(done, len(videos)), stack
        )
        options.announce_notes(description, aside)

        from emorec.evaluation import clip_report

        report = clip_report.ClipReport(description) if page else None
        output = stack.enter_context(_Output(_OUTPUT.value, target))
        # Closed first, or its threads would outlive an error.
        stack.enter_context(contextlib.closing(results))
        failed = _write(results, output, report)
    if report:
        report.write(page)
        print(_REPORT.value, file=aside)
    if failed and len(videos) > 1:
        print(
            f"emorec predict: {failed} of {len(videos)} videos could not be "
            "read, or not to their end; each is marked in the output",
            file=sys.stderr,
        )
    return 1 if failed == len(videos) else 0


def _videos(args: list[str]) -> list[str]:
    """Returns the videos, with those beneath a folder in its place.

    A folder without any stays, to be told of as a video that cannot be read.
    """
    videos = []
    for arg in args:
        videos += (os.path.isdir(arg) and _beneath(arg)) or [arg]
    return videos


def _beneath(folder: str) -> list[str]:
    from emorec.data import video_folder

    return sorted(
        video_folder.beneath(folder, "make it readable or name the videos")
    )


def _start(
    videos: list[str],
    progress: Callable[[int], None],
    stack: contextlib.ExitStack,
) -> tuple[dict, Iterator]:
    """Returns the model's description and the results to come.

    Args:
        videos: The videos.
        progress: Called with the number of those that are done.
        stack: Ends the workers, if there are any.
    """
    from emorec.data import processes

    workers = _WORKERS.value or processes.default_workers(len(videos))
    workers = min(workers, len(videos))
    if workers == 1:
        from emorec import predict

        backend, detector = _make()
        return backend.description, predict.predict_videos(
            videos, backend, detector, people=_PEOPLE.value, progress=progress
        )

    from emorec import predict_workers
    from emorec.evaluation import clip_report

    names = (*_BACKEND, "detect_every")
    given = [FLAGS[n].serialize() for n in names if FLAGS[n].value is not None]
    job = predict_workers.Job(
        functools.partial(_make_in_worker, given, processes.share(workers)),
        workers,
        people=_PEOPLE.value,
        pictures=clip_report.MAX_CLIPS if _REPORT.value else 0,
        tensorflow=not _BACKEND["onnx"].value,
    )
    pool = stack.enter_context(predict_workers.Workers(job))
    return pool.description(), pool.predict(videos, progress)


def _make_in_worker(given: list[str], threads: int):
    FLAGS(["emorec predict", *given])
    return _make(threads)


def _make(threads: int | None = None):
    """Returns the backend that the flags ask for, and a detector for it.

    Args:
        threads: Of each network of ONNX; by default one for each core.
    """
    from emorec.video.faces import FaceDetector

    engine = None
    if _BACKEND["onnx"].value:
        from emorec.onnx_backend import OnnxBackend

        backend = OnnxBackend(_BACKEND["onnx"].value, threads)
        # The one runtime that the user may have, for the detector too.
        engine = backend.engine()
    else:
        backend = options.make_backend(_BACKEND)
    if _DETECT_EVERY.value:
        # Of how clips are cut, and of nothing that the model does.
        backend.config = backend.config.override(
            [f"detector.detect_every={_DETECT_EVERY.value}"]
        )
    return backend, FaceDetector(backend.config.detector, engine)


def _write(results, output, report) -> int:
    """Writes the results; returns how many videos could not be read."""
    failed = 0
    for result in results:
        output.write(result.to_dict())
        if report:
            report.add(result)
        if result.error is not None:
            failed += 1
            print(f"emorec predict: {result.error}", file=sys.stderr)
        elif _OUTPUT.value and not _QUIET.value:
            print(_line(result), flush=True)
        if result.warning is not None:
            failed += 1
            print(f"emorec predict: {result.warning}", file=sys.stderr)
    return failed


def _check_outputs(videos) -> tuple[str | None, str | None]:
    """Fails before the work where a result could not be written.

    Returns:
        The files that `--output` and `--report` lead to, links followed.
    """
    given = (_OUTPUT.value, _REPORT.value)
    targets = tuple(options.check_output(path) for path in given)
    for path, target in zip(given, targets):
        if target and target in map(os.path.realpath, videos):
            raise UsageError(
                f"{path}: is one of the videos, which are never overwritten; "
                "choose another file"
            )
    if targets[0] and targets[0] == targets[1]:
        raise UsageError(
            f"`--output` and `--report` must differ. Received: {given[0]} twice"
        )
    return targets


class _Output:
    """JSON Lines into a file that gets its name when it is complete.

    Args:
        path: The file as the user named it, or None to print.
        target: The file that it leads to.
    """

    def __init__(self, path: str | None, target: str | None):
        self._path = path
        self._target = target
        # With the process's number: two runs may have one output, and what
        # an interrupted one left is not overwritten.
        self._partial = f"{target}.{os.getpid()}.partial"
        self._file = None

    def __enter__(self):
        if self._path:
            self._file = open(self._partial, "w", encoding="utf-8")
        return self

    def write(self, value: dict):
        # A file name that is not UTF-8 holds surrogates; written so, they are
        # JSON's own escapes.
        text = json.dumps(value, ensure_ascii=False)
        line = text.encode(errors="backslashreplace").decode()
        if self._file is None:
            print(line, flush=True)
            return
        try:
            print(line, file=self._file, flush=True)
        except OSError as e:
            raise EmorecError(
                f"{self._path}: cannot be written ({e.strerror}); free some "
                "space or choose another place"
            ) from e

    def __exit__(self, kind, *_):
        if self._file is None:
            return
        # After an error of writing, closing tries once more and fails again.
        with contextlib.suppress(OSError):
            self._file.close()
        if kind is None:
            os.replace(self._partial, self._target)
        elif os.path.getsize(self._partial):
            # Results are kept under a name that says that they are not all.
            print(f"what was finished: {self._partial}", file=sys.stderr)
        else:
            os.unlink(self._partial)


def _line(result) -> str:
    from emorec.video.container import shown

    clip = result.clip
    where = f"{shown(result.video)}  {clip.start:.1f}-{clip.end:.1f} s"
    if result.answer is None:
        return f"{where}  no face found in {clip.frames_total} frames"
    best = float(result.answer.probabilities.max())
    return (
        f"{where}  person {clip.track}: {result.label} {best:.2f}  "
        f"(face in {clip.frames_with_face} of {clip.frames_total} frames)"
    )
