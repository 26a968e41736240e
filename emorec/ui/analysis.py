"""One video to all that the page shows of it, within limits."""

import contextlib
import dataclasses
import pathlib
import threading

from emorec import predict
from emorec.errors import EmorecError, VideoError
from emorec.results import Result, Results
from emorec.ui import files, view
from emorec.ui.jobs import Job, Outcome
from emorec.video import blur, reader

# Windows whose pictures are kept and shown; 60 s of one person at 8 frames a
# second are 15, of some 1 MB each.
MAX_PICTURED = 60
# Shares of the bar: most of the time goes into finding faces.
_FOUND, _DRAWN = 0.75, 0.95
# A stated duration may be a little less than the last frame's time.
_SLACK_S = 2.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a video may be.

    Attributes:
        megabytes: Largest upload, in 10^6 bytes.
        seconds: Longest video.
    """

    megabytes: float = 500
    seconds: float = 300


@dataclasses.dataclass(frozen=True)
class Options:
    """What the visitor chose.

    Attributes:
        people: `all` or `main`.
        blur: Whether faces are hidden in all that is shown.
        pictures: Whether pictures of the video lie beside the attention map
            and in the report.
        window: Seconds of each answer, a new one every half of it; None
            leaves it to the model.
    """

    people: str = "all"
    blur: bool = False
    pictures: bool = True
    window: float | None = None


class Analyst:
    """Analyses videos, one at a time.

    Args:
        backend: An `emorec.predict.Backend`.
        detector: A `FaceDetector` made with `backend.config.detector`.
        limits: What a video may be.
    """

    def __init__(self, backend, detector, limits: Limits):
        self.backend = backend
        self.limits = limits
        self._detector = detector
        self._busy = threading.Lock()

    def check(self, path: pathlib.Path) -> reader.VideoInfo:
        """Looks at a video before it is analysed.

        Raises:
            VideoError: It cannot be read, or is over a limit.
        """
        with _named(path):
            size = path.stat().st_size
            if size > self.limits.megabytes * 1e6:
                raise VideoError(
                    f"{path}: {size / 1e6:.0f} MB are over this page's "
                    f"{self.limits.megabytes:g} MB; cut it, or start the page "
                    "with a larger --max_upload_mb"
                )
            info = reader.probe(path, self.backend.config.video)
            if (info.duration or 0) > self.limits.seconds:
                raise VideoError(self._too_long(path, info.duration))
            return info

    def job(
        self, path: pathlib.Path, folder: pathlib.Path, options: Options
    ) -> Job:
        """Returns the job of one video, which has not begun.

        Args:
            path: The video.
            folder: Where its files are written to; is there.
            options: What the visitor chose.
        """

        def work(job):
            job.tell("Waiting for another video", 0)
            while not self._busy.acquire(timeout=0.1):
                job.tell("Waiting for another video", 0)
            try:
                with _named(path):
                    return self._analyse(path, folder, options, job)
            finally:
                self._busy.release()

        return Job(work)

    def _analyse(self, path, folder, options, job) -> Outcome:
        info = self.check(path)
        job.tell("Looking for faces", 0)
        results = self._predict(path, info, options, job)
        failed = [r.error for r in results if r.error is not None]
        if failed and len(failed) == len(results):
            return Outcome(error=failed[0].replace(str(path), path.name))
        video = files.annotated(
            path,
            folder,
            results,
            self.backend.config,
            options.blur,
            self._detector,
            lambda share: job.tell(
                "Drawing the video", _FOUND + (_DRAWN - _FOUND) * share
            ),
        )
        # The visitor knows the video by its name alone.
        results = Results(_shown(r, path) for r in results)
        pictured = Results(r for r in results if _has_pictures(r))
        job.tell("Writing the report", _DRAWN)
        made = files.tables(folder, path, results)
        made["report"] = files.report(
            folder,
            path,
            self.backend.description,
            results,
            blur=options.blur,
            pictures=options.pictures,
            detector=self._detector,
        )
        job.tell("Writing the report", 0.98)
        return Outcome(
            view=self._view(results, pictured, video, folder, info, options),
            video=video,
            **made,
        )

    def _view(self, results, pictured, video, folder, info, options) -> dict:
        hider = None
        if options.blur:
            detector = self.backend.config.detector
            hider = blur.FaceHider(self._detector, detector)
        pictures = view.Pictures(folder if options.pictures else None, hider)
        # What is stated may be wrong, or absent.
        ends = max((r.end or 0 for r in results), default=0)
        duration = max(info.duration or 0, ends, 0.1)
        config = self.backend.config
        return view.page(results, pictured, video, duration, config, pictures)

    def _predict(self, path, info, options, job):
        """Returns the results.

        After `MAX_PICTURED` windows pictures are dropped as they come, so
        that memory is bounded.
        """
        watched = _Watched(self._detector, job, info, self)
        found, kept = Results(), 0
        answers = predict.predict_videos(
            [str(path)],
            self.backend,
            watched,
            people=options.people,
            **_windows(options),
        )
        with contextlib.closing(answers):
            for result in answers:
                if (result.end or 0) > self.limits.seconds + _SLACK_S:
                    raise VideoError(self._too_long(path, result.end))
                if result.clip is not None and result.answer is not None:
                    kept += 1
                    if kept > MAX_PICTURED:
                        result = result.without_pictures()
                found.append(result)
        return found

    def _too_long(self, path, seconds) -> str:
        return (
            f"{path}: {seconds:.0f} s are over this page's "
            f"{self.limits.seconds:g} s; cut it, or start the page with a "
            "larger --max_seconds"
        )


class _Watched:
    """A detector that tells a job of each frame, and stops with it."""

    def __init__(self, detector, job: Job, info, analyst: Analyst):
        self._detector = detector
        self._job = job
        self._name = info.path
        config = analyst.backend.config
        stated = info.duration or analyst.limits.seconds
        self._steps = max(1, round(stated * config.video.fps))
        # Where faces are followed, only every n-th frame comes here.
        self._each = config.detector.detect_every
        seconds = analyst.limits.seconds + _SLACK_S
        self._most = seconds * config.video.fps
        self._limit = analyst.limits.seconds
        self._done = 0

    def __getattr__(self, name):
        return getattr(self._detector, name)

    def detect(self, frames):
        self._tell()
        found = self._detector.detect(frames)
        self._done += len(frames)
        self._tell()
        # Of a file that states less than it holds, or nothing.
        if self._done > self._most:
            raise VideoError(
                f"{self._name}: goes on after this page's {self._limit:g} s; "
                "cut it, or start the page with a larger --max_seconds"
            )
        return found

    def detect_near(self, frames, near):
        self._tell()
        return self._detector.detect_near(frames, near)

    def _tell(self):
        share = min(1.0, self._done * self._each / self._steps)
        self._job.tell("Looking for faces", _FOUND * share)


def _windows(options: Options) -> dict:
    """Returns what `predict_videos` is told of windows."""
    if options.window is None:
        return {}
    return {"every": predict.Windows(options.window, options.window / 2)}


def _has_pictures(result: Result) -> bool:
    return result.clip is not None and any(result.clip.context)


def _shown(result: Result, path: pathlib.Path) -> Result:
    """Returns a result that names its video as the visitor does."""
    text = result.warning and result.warning.replace(str(path), path.name)
    return dataclasses.replace(result, video=path.name, warning=text)


@contextlib.contextmanager
def _named(path: pathlib.Path):
    """Lets errors name the video as the visitor does, not where it lies."""
    try:
        yield
    except EmorecError as e:
        raise type(e)(str(e).replace(str(path), path.name)) from e
