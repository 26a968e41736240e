"""The files that a prediction is to write, checked before the work."""

import os
import tempfile
from collections.abc import Sequence

from emorec.cli import options
from emorec.data import paths, result_files
from emorec.errors import EmorecError, UsageError
from emorec.predict_sources import name_of
from emorec.video import addresses

VIDEO_ENDINGS = (".mp4",)
PLOT_ENDINGS = (".png", ".svg")


def live_ones(videos: Sequence[str]) -> list[str]:
    """Returns the cameras and streams among the videos."""
    return [video for video in videos if addresses.is_live(video)]


class Wanted:
    """What a user wants to have written, and how.

    Attributes:
        videos: All videos.
        output: The file of results as it was named, or None to print them.
        output_target: The file that it leads to, links followed.
        report: The page as it was named, or None.
        report_target: The file that it leads to.
        annotate: `Targets` of annotated videos, or None.
        plot: `Targets` of timelines, or None.
        resume: Whether to go on with a stopped run.
        smooth: Seconds by which curves over time are smoothed, or None.
        blur: Whether faces are hidden in pictures.
        thumbnails: Whether the report shows pictures.

    Raises:
        UsageError: They do not fit each other or the videos.
        EmorecError: One cannot be written, or what writes it is absent.
    """

    def __init__(
        self,
        videos: Sequence[str],
        *,
        output: str | None = None,
        report: str | None = None,
        annotate: str | None = None,
        plot: str | None = None,
        resume: bool = False,
        smooth: float | None = None,
        blur: bool = False,
        thumbnails: bool = True,
    ):
        self.videos = videos
        self.output, self.report = output, report
        self.resume, self.smooth = resume, smooth
        self.blur, self.thumbnails = blur, thumbnails
        self.output_target, self.report_target = self._lines()
        self.annotate = self.plot = None
        if annotate:
            _refuse_live("annotate", videos)
            self.annotate = Targets("annotate", annotate, VIDEO_ENDINGS, videos)
        if plot:
            from emorec.evaluation import timeline

            timeline.require()
            self.plot = Targets("plot", plot, PLOT_ENDINGS, videos)
        if smooth is not None and not (plot or report):
            raise UsageError("`--smooth` belongs to --plot and --report")
        if resume and not output:
            raise UsageError("`--resume` belongs to --output")

    def names(self) -> list:
        """Returns what of it a resumed run must have in common."""
        return [
            self.output_target,
            bool(self.report),
            self.annotate and self.annotate.paths,
            self.plot and self.plot.paths,
            self.smooth,
            self.blur,
            self.thumbnails,
        ]

    def _lines(self) -> tuple[str | None, str | None]:
        """Returns the files that `--output` and `--report` lead to."""
        given = (self.output, self.report)
        targets = tuple(options.check_output(path) for path in given)
        for path, target in zip(given, targets):
            if target and target in map(os.path.realpath, self.videos):
                raise UsageError(
                    f"{path}: is one of the videos, which are never "
                    "overwritten; choose another file"
                )
        for flag, target in zip(("output", "report"), targets):
            if target:
                _try_folder(flag, os.path.dirname(target), target)
        if targets[0] and targets[0] == targets[1]:
            raise UsageError(
                "`--output` and `--report` must differ. Received: "
                f"{self.output} twice"
            )
        if self.output:
            result_files.ending_of(self.output)
        return targets


class Targets:
    """The files that one flag asks for, one a video.

    Attributes:
        paths: The file of each video.

    Args:
        flag: The flag's name.
        path: A file, for one video alone, or a folder, which is made.
        endings: A file's; the first is that of a folder's files.
        videos: All videos.

    Raises:
        UsageError: There are several videos for one file, or a video would
            be overwritten.
        EmorecError: It cannot be written.
    """

    def __init__(
        self,
        flag: str,
        path: str,
        endings: Sequence[str],
        videos: Sequence[str],
    ):
        ending = os.path.splitext(path)[1].lower()
        if ending in endings and not os.path.isdir(path):
            if len(videos) > 1:
                raise UsageError(
                    f"`--{flag}` must be a folder where there are several "
                    f"videos. Received: {path} for {len(videos)} videos"
                )
            self.paths = [path]
        else:
            if ending and not os.path.isdir(path):
                raise UsageError(
                    f"`--{flag}` must be a folder, or a file that ends in "
                    f"{' or '.join(endings)}. Received: {path}"
                )
            self.paths = _in_folder(path, endings[0], videos)
        mine = {os.path.realpath(p) for p in self.paths}
        for video in videos:
            if os.path.realpath(video) in mine:
                raise UsageError(
                    f"`--{flag}`: {video} is one of the videos, which are "
                    "never overwritten; choose another place"
                )
        _try_folder(flag, os.path.dirname(self.paths[0]) or ".", path)

    def __getitem__(self, number: int) -> str:
        """Returns the file of a video."""
        return self.paths[number]

    def __len__(self) -> int:
        return len(self.paths)


def _in_folder(folder: str, ending: str, videos) -> list[str]:
    """Names a file for each video by its own name, equal ones numbered."""
    used: set[str] = set()
    made = []
    for video in videos:
        base = paths.name(name_of(video).partition("?")[0]) or "video"
        stem = os.path.splitext(base)[0]
        name, number = f"{stem}{ending}", 1
        while name.lower() in used:
            number += 1
            name = f"{stem}-{number}{ending}"
        used.add(name.lower())
        made.append(os.path.join(folder, name))
    return made


def _try_folder(flag: str, folder: str, path: str):
    try:
        if folder == path.rstrip("/"):
            os.makedirs(folder, exist_ok=True)
        # Tried, as os.access does not tell root of a full or read-only disk.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        raise EmorecError(
            f"{path}: cannot be written ({e.strerror}); choose another --{flag}"
        ) from e


def _refuse_live(flag: str, videos: Sequence[str]) -> None:
    """Refuses what cannot be read a second time."""
    for video in live_ones(videos):
        raise UsageError(
            f"`--{flag}` reads a video again, which a camera or stream cannot "
            f"be; save it to a file first. Received: {name_of(video)}"
        )
