"""What can be looked at: annotated videos and timelines, one a video."""

from collections.abc import Callable

from emorec.cli.predict_files import Wanted
from emorec.errors import VideoError
from emorec.predict_sources import Sources, is_remote, name_of
from emorec.results import Result


class Pictures:
    """Draws each video's pictures once its results are there.

    Args:
        wanted: What is asked for.
        done: Videos that an earlier run has drawn.
        config: The model's; how clips were cut.
        sources: How videos are opened.
        detector: Makes a `FaceDetector`, to hide faces; called at need.
        tell: Called with a video and the share of it that is drawn.
    """

    def __init__(
        self,
        wanted: Wanted,
        done: int,
        *,
        config,
        sources: Sources,
        detector: Callable = lambda: None,
        tell: Callable[[str, float], None] = lambda video, share: None,
    ):
        self._wanted = wanted
        self._number = done
        self._config = config
        self._sources = sources
        self._make = detector
        self._tell = tell
        self._detector = None
        self._results: list[Result] = []

    def add(self, result: Result) -> None:
        """Takes a result of the current video."""
        if self._wanted.annotate or self._wanted.plot:
            self._results.append(result.without_pictures())

    def end_video(self) -> str | None:
        """Draws the current video's pictures.

        Returns:
            Why the video could not be read again, or None.

        Raises:
            EmorecError: A file cannot be written.
        """
        results, self._results = self._results, []
        number = self._number
        self._number += 1
        if not any(r.clip for r in results):
            return None  # It could not be read the first time.
        if self._wanted.plot:
            from emorec.evaluation import timeline

            timeline.plot(
                results, self._wanted.plot[number], smooth=self._wanted.smooth
            )
        if self._wanted.annotate:
            try:
                self._annotate(results, number)
            except VideoError as e:
                return str(e)
        return None

    def _annotate(self, results, number):
        from emorec.video import annotate

        if self._wanted.blur and self._detector is None:
            self._detector = self._make()
        video = self._wanted.videos[number]
        name = name_of(video)

        def progress(done: float, total: float | None):
            self._tell(name, min(done / total, 1) if total else 0)

        # Of a remote one a second copy: to keep all would fill the disk.
        with self._sources.local(video) as path:
            try:
                annotate.annotate(
                    path,
                    results,
                    self._wanted.annotate[number],
                    config=self._config,
                    blur=self._wanted.blur,
                    detector=self._detector,
                    progress=progress,
                )
            except VideoError as e:
                if not is_remote(video):
                    raise
                raise VideoError(str(e).replace(path, name)) from e
