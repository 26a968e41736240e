"""A prediction from its first result to its last file."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator

import emorec
from emorec import predict, predict_workers
from emorec.cli import predict_output
from emorec.cli.predict_files import Wanted, live_ones
from emorec.cli.predict_pictures import Pictures
from emorec.cli.predict_progress import Progress
from emorec.config import Config
from emorec.evaluation import clip_report
from emorec.labels import LabelSet
from emorec.predict_cuts import Cutting
from emorec.predict_sources import Sources
from emorec.results import Calibration, Result
from emorec.video.container import shown

Told = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Start:
    """A model that is ready.

    Attributes:
        description: What it is.
        config: How clips are cut.
        labels: Its labels.
        cutting: How clips are cut otherwise.
        calibration: How confidence is told.
        predict: `(videos, progress, ended)` to results; see
            `predict_workers.Workers.predict`.
        engine: Makes the networks of another `FaceDetector`.
    """

    description: dict
    config: Config
    labels: LabelSet
    cutting: Cutting
    calibration: Calibration
    predict: Callable[[list[str], Told, Told], Iterator[Result]]
    engine: Callable


def here(
    backend, detector, cutting: Cutting, sources: Sources, threshold
) -> Start:
    """Answers in this process."""
    # Before the videos are read.
    cutting.frames(backend.config)

    def start(videos, progress, ended):
        def tell(done):
            progress(done)
            ended(int(done))

        return predict.predict_videos(
            videos,
            backend,
            detector,
            people=cutting.people,
            fps=cutting.fps,
            every=cutting.every,
            threshold=threshold,
            sources=sources,
            progress=tell,
        )

    return Start(
        backend.description,
        backend.config,
        backend.labels,
        cutting,
        Calibration.of(backend.description, threshold),
        start,
        backend.engine,
    )


def apart(
    pool: predict_workers.Workers,
    with_flags: Callable[[Config], Config],
    cutting: Cutting,
    threshold,
    engine: Callable,
) -> Start:
    """Answers in worker processes; `engine` as in `Start`."""
    description = pool.description()
    config, labels = predict.parse_description(description)
    config = with_flags(config)
    cutting.frames(config)
    return Start(
        description,
        config,
        labels,
        cutting,
        Calibration.of(description, threshold),
        pool.predict,
        engine,
    )


def run(
    start: Start, wanted: Wanted, sources: Sources, *, quiet: bool, aside
) -> int:
    """Predicts and writes.

    Args:
        start: The model.
        wanted: What to write.
        sources: How videos are opened.
        quiet: Whether no line and no progress is shown.
        aside: Where to talk.

    Returns:
        How many videos could not be read, or not to their end.
    """
    _announce(start, aside)
    output, earlier = _output(start, wanted, aside)
    report = None
    if wanted.report:
        report = clip_report.ClipReport(
            start.description,
            thumbnails=wanted.thumbnails,
            blur=wanted.blur,
            detector=functools.partial(_another_detector, start),
            smooth=wanted.smooth,
        )
        for result in earlier.results:
            report.add(result)
    with contextlib.ExitStack() as stack:
        stack.enter_context(output)
        # Results that are printed there would break a bar on a terminal.
        hidden = quiet or (not wanted.output and sys.stdout.isatty())
        progress = stack.enter_context(
            Progress(len(wanted.videos), hidden, earlier.done)
        )
        pictures = Pictures(
            wanted,
            earlier.done,
            config=start.config,
            sources=sources,
            detector=functools.partial(_another_detector, start),
            tell=progress.drawing,
        )
        writer = _Writer(wanted, output, report, pictures, progress, quiet)
        failed = writer.write(start, earlier)
    if report:
        report.write(wanted.report_target)
        print(wanted.report, file=aside)
    return failed


def _another_detector(start: Start):
    from emorec.video.faces import FaceDetector

    return FaceDetector(start.config.detector, start.engine())


def _announce(start: Start, aside) -> None:
    """Says where clips are cut unlike those that the model is made for."""
    config, cutting = start.config, start.cutting
    rate = cutting.rate(config)
    if rate != config.video.fps:
        print(
            f"note: the model is made for {config.video.fps:g} frames a "
            f"second; at {rate:g} its answers may be less good",
            file=aside,
        )
    frames, _ = cutting.frames(config)
    if frames > config.clip.clip_frames:
        print(
            f"note: the model is made for clips of {config.clip.clip_frames} "
            f"frames at most; with windows of {frames} its answers may be "
            "less good",
            file=aside,
        )


def _output(start: Start, wanted: Wanted, aside):
    """Returns where results go, and what an earlier run has left of them."""
    if not wanted.output:
        return predict_output.Printed(), predict_output.Earlier()
    output = predict_output.Output(
        wanted.output,
        wanted.output_target,
        wanted.videos,
        predict_output.settings_hash(
            emorec.__version__,
            start.description,
            start.config.to_dict(),
            str(start.cutting),
            str(start.calibration),
            wanted.names(),
        ),
        clip_report.MAX_CLIPS if wanted.report else None,
        wanted.thumbnails,
    )
    if not wanted.resume:
        left = output.left_over()
        if left:
            print(
                f"note: a stopped run has left {left}; --resume goes on with "
                "it",
                file=aside,
            )
        return output, predict_output.Earlier()
    earlier = output.resume(start.labels, start.calibration)
    if earlier is None:
        print("note: nothing is there to resume; all is done anew", file=aside)
        return output, predict_output.Earlier()
    print(
        f"resumed: {earlier.done} of {len(wanted.videos)} videos were done",
        file=aside,
    )
    return output, earlier


class _Writer:
    """Takes each result to where it belongs."""

    def __init__(self, wanted, output, report, pictures, progress, quiet):
        self._wanted = wanted
        self._output = output
        self._report = report
        self._pictures = pictures
        self._progress = progress
        self._quiet = quiet
        self._live = set(live_ones(wanted.videos))
        self._bad = False  # The current video.
        self._failed = self._closed = 0

    def write(self, start: Start, earlier) -> int:
        """Writes all results; returns how many videos failed."""
        self._failed = earlier.failed
        self._closed = before = earlier.done
        if before == len(self._wanted.videos):
            return self._failed
        results = start.predict(
            self._wanted.videos[before:],
            lambda done: self._progress.update(before + done),
            # Before the next result is waited for: it may never come.
            lambda ended: self._end_videos(before + ended),
        )
        # Closed first, or its threads would outlive an error.
        with contextlib.closing(results):
            for result in results:
                self._add(result)
        return self._failed

    def _add(self, result: Result):
        self._output.write(result)
        self._pictures.add(result)
        if self._report:
            self._report.add(result)
        if result.error is not None:
            self._fail(result.error)
        elif self._wanted.output and not self._quiet:
            self._progress.line(_line(result), sys.stdout)
        if result.warning is not None:
            # Of what is live, frames were dropped.
            live = self._wanted.videos[self._closed] in self._live
            self._fail(result.warning, bad=not live)

    def _fail(self, why: str, bad: bool = True):
        self._bad |= bad
        self._progress.line(f"emorec predict: {why}", sys.stderr)

    def _end_videos(self, ended: int):
        while self._closed < ended:
            why = self._pictures.end_video()
            if why:
                self._fail(why)
            self._output.end_video(self._bad)
            self._failed += self._bad
            self._bad = False
            self._closed += 1


def _line(result: Result) -> str:
    where = f"{shown(result.video)}  {result.start:.1f}-{result.end:.1f} s"
    if result.answer is None:
        return f"{where}  no face found in {result.frames} frames"
    unsure = " (uncertain)" if result.uncertain else ""
    of = "whole video, " if result.whole else ""
    return (
        f"{where}  {of}person {result.track}: {result.label} "
        f"{result.confidence:.2f}{unsure}  "
        f"(face in {result.frames_with_face} of {result.frames} frames)"
    )
