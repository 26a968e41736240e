"""emorec predict: the emotion of every person in videos.

  emorec predict clip.mp4 --model_dir=model --output=results.jsonl

Writes JSON Lines: one object per person and clip. A video without a face
gives one object that says so, one that cannot be read gives its error.
"""

import contextlib
import json
import os
import sys

from absl import flags

from emorec.cli import options
from emorec.errors import EmorecError, UsageError

FLAGS = flags.FlagValues()
_BACKEND = options.define_backend(FLAGS)
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
_QUIET = options.define_quiet(FLAGS)


def main(args: list[str]) -> int:
    if not args:
        raise UsageError("needs one video or more: emorec predict VIDEO...")
    options.one_of(_BACKEND, *options.BACKENDS)
    target, page = _check_outputs(args)
    backend = options.make_backend(_BACKEND)
    # Without --output, standard output holds JSON Lines and nothing else.
    aside = sys.stdout if _OUTPUT.value else sys.stderr
    options.announce_notes(backend.description, aside)

    from emorec import predict
    from emorec.evaluation import clip_report
    from emorec.video.faces import FaceDetector

    # The one runtime that the user may have, for the detector too.
    engine = backend.engine() if _BACKEND["onnx"].value else None
    detector = FaceDetector(backend.config.detector, engine)
    bar = options.progress_bar("predict", "videos", _QUIET.value)
    report = clip_report.ClipReport(backend.description)
    failed = 0
    with _Output(_OUTPUT.value, target) as output:
        for number, video in enumerate(args):
            for result in predict.predict_videos(
                [video], backend, detector, people=_PEOPLE.value
            ):
                output.write(result.to_dict())
                if _REPORT.value:
                    report.add(result)
                if result.error is not None:
                    failed += 1
                    print(f"emorec predict: {result.error}", file=sys.stderr)
                elif _OUTPUT.value and not _QUIET.value:
                    print(_line(result), flush=True)
                if result.warning is not None:
                    failed += 1
                    print(f"emorec predict: {result.warning}", file=sys.stderr)
            bar(number + 1, len(args))
    if page:
        report.write(page)
        print(_REPORT.value, file=aside)
    if failed and len(args) > 1:
        print(
            f"emorec predict: {failed} of {len(args)} videos could not be "
            "read, or not to their end; each is marked in the output",
            file=sys.stderr,
        )
    return 1 if failed == len(args) else 0


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
