"""The Python interface: a model, and what one asks of it.

    from emorec import EmotionRecognizer

    recognizer = EmotionRecognizer.load("model")
    results = recognizer.predict("clip.mp4")
    results.whole[0].label
    results.to_pandas()
    results.plot("timeline.png")

All ways in (a file, a stream, frames, faces that are cut out) lead to the same
clips and the same backend as `emorec predict`, and to the same results.
"""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence

from emorec import frame_input, load_backend, predict, predict_sources
from emorec.answers import Calibration, notes_of
from emorec.errors import UsageError, VideoError
from emorec.evaluation import smoothing
from emorec.predict_cuts import Cutting
from emorec.results import Result, Results
from emorec.video import live
from emorec.video.clip import Clip
from emorec.whole_video import with_wholes

# Crops that a list of results holds, two minutes of eight people: a film's
# would be some GB.
PICTURE_BYTES = 256 << 20
# How results name what came as arrays.
FRAMES, FACES, STREAM = "frames", "faces", "stream"


class EmotionRecognizer:
    """Recognises emotions in videos, streams, frames and faces.

    It may be used from several threads: each call that finds faces takes a
    detector of its own, and keeps it until its results end.

    Args:
        backend: An `emorec.predict.Backend`; `load` makes one.
        threshold: Answers of less confidence are `uncertain`, 0 to 1; by
            default as the model's calibration says, else
            `emorec.results.UNCERTAIN_BELOW`.

    Attributes:
        backend: The same.
        calibration: How confidence is told (`emorec.results.Calibration`).
        notes: What must be said beside the answers, a line each: that there
            is no trained model, say, or that weights are random.
    """

    def __init__(self, backend, *, threshold: float | None = None):
        self.backend = backend
        self.calibration = Calibration.of(backend.description, threshold)
        self.notes = notes_of(backend.description)
        self._made: list = []  # All detectors.
        self._detectors: list = []  # Those that nobody uses now.

    @classmethod
    def load(
        cls,
        path_or_preset: str | os.PathLike,
        *,
        kind: str | None = None,
        threads: int | None = None,
        bfloat16: str | None = None,
        threshold: float | None = None,
    ) -> "EmotionRecognizer":
        """Loads a model.

        Args:
            path_or_preset: A model folder of `emorec train`, a SavedModel (a
                version folder, or a base path: its newest version), an ONNX
                directory, or `"face-average"`, the preset that needs no
                trained model: the mean of the published face classifier's
                answers to single frames.
            kind: One of `load_backend.KINDS`; by default it is looked for.
            threads: Of each network of ONNX; by default one for each core.
            bfloat16: Of a model folder, in place of its `features.bfloat16`.
            threshold: See the class.

        Raises:
            EmorecError: There is no model, it is damaged, its weights are not
                found, or what runs it is not installed.
        """
        backend = load_backend.load(
            path_or_preset, kind=kind, threads=threads, bfloat16=bfloat16
        )
        return cls(backend, threshold=threshold)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of probabilities."""
        return self.backend.labels.names

    @property
    def config(self):
        """The `emorec.config.Config` that decides how clips are cut."""
        return self.backend.config

    def __repr__(self) -> str:
        system = self.backend.description.get("system")
        sure = "calibrated" if self.calibration.temperature else "uncalibrated"
        notes = "".join(f"\n  note: {n}" for n in self.notes)
        return (
            f"EmotionRecognizer({system}, {sure}, labels: "
            f"{', '.join(self.labels)}){notes}"
        )

    def predict(
        self,
        video: str | os.PathLike,
        *,
        fps: float | None = None,
        every=None,
        people: str = "all",
        smooth: float | None = None,
        duration: float | None = None,
    ) -> Results:
        """Returns the results of one video.

        Args:
            video: A file, the address of a remote one, or a live source
                (`emorec.predict_sources`). Of a long one, the results that
                come after `PICTURE_BYTES` of crops have none.
            fps: Frames analysed a second; by default the model's own.
            every: Seconds of a window, or (window, stride) in seconds, for an
                answer a window; by default windows of `clip.clip_frames`
                frames, one after the other.
            people: `all`, or `main` for the one seen most in each window.
            smooth: Seconds by which the results' curves are smoothed
                (`emorec.evaluation.smoothing`); answers never are.
            duration: Seconds of a live source that are read; it needs them.

        Returns:
            A result a person and window; then, where a person has several
            windows, one over the whole video (`Results.whole`).

        Raises:
            VideoError: The video cannot be read at all. Of one that is
                damaged the last result has a `warning`.
            UsageError: An argument makes no sense.
        """
        smoothing.check(smooth or 0)
        video = os.fspath(video)
        if duration is None and live.is_live(video):
            raise UsageError(
                f"{predict_sources.name_of(video)}: is live and may never "
                "end; give a `duration` in seconds, or call `stream`"
            )
        found = self._stream_video(video, fps, every, people, duration)
        return self._results(found, smooth)

    def predict_many(
        self,
        videos: str | os.PathLike | Iterable[str | os.PathLike],
        *,
        fps: float | None = None,
        every=None,
        people: str = "all",
        smooth: float | None = None,
    ) -> Iterator[Results]:
        """Yields the results of several videos, one `Results` each, in order.

        The next videos are decoded meanwhile. One that cannot be read gives
        `Results` whose last one has an `error`.

        Args:
            videos: Files, addresses of remote ones, folders and patterns; of
                a folder all videos in it and below it.
            fps: See `predict`.
            every: The same.
            people: The same.
            smooth: The same.
        """
        smoothing.check(smooth or 0)
        if isinstance(videos, str | os.PathLike):
            videos = [videos]
        paths = predict_sources.expand([os.fspath(v) for v in videos])
        done = [0.0]
        found = self._videos(paths, fps, every, people, progress=done.append)
        # Told before the first result of the next video, and not by names:
        # the same video may be asked for twice.
        with contextlib.closing(found):
            for _, part in itertools.groupby(found, lambda _: int(done[-1])):
                yield self._results(part, smooth)

    def stream(
        self,
        source: str | os.PathLike | Iterable,
        *,
        fps: float | None = None,
        every=None,
        people: str = "all",
        duration: float | None = None,
    ) -> Iterator[Result]:
        """Yields results while the frames come.

        A window is answered when it is complete and the next one that shares
        no frame with it is too: only then is it known whether somebody who
        entered late stays. Memory is bounded by two windows.

        Args:
            source: A file, a camera's number ("0") or a live address
                (`emorec.predict_sources`); or frames, uint8 [H, W, 3] RGB
                each with `fps`, or pairs of seconds and frame.
            fps: Of a source by name, frames analysed a second. Of frames, how
                many there are a second; the model's own rate is analysed.
            every: See `predict`.
            people: The same.
            duration: Seconds of a live source that are read; by default all.

        Raises:
            VideoError: The source cannot be read, or not to its end.
            UsageError: An argument, a frame or a time makes no sense.
        """
        if isinstance(source, str | os.PathLike):
            yield from self._stream_video(
                os.fspath(source), fps, every, people, duration
            )
            return
        pairs = frame_input.timed(source, None, fps)
        yield from self._stream_frames(
            pairs, every, people, STREAM, is_live=True
        )

    def predict_frames(
        self,
        frames: Iterable,
        *,
        times: Sequence[float] | None = None,
        fps: float | None = None,
        every=None,
        people: str = "all",
        smooth: float | None = None,
    ) -> Results:
        """Returns the results of frames that are in memory.

        Args:
            frames: uint8 RGB, [T, H, W, 3] or T times [H, W, 3], all of one
                size.
            times: Seconds of each frame, not decreasing.
            fps: Frames per second, where there are no times. The model's own
                rate is analysed, as of a file.
            every: See `predict`.
            people: The same.
            smooth: The same.

        Raises:
            UsageError: There are neither times nor fps, or a frame or a time
                is not what it must be.
        """
        smoothing.check(smooth or 0)
        if times is None and fps is None:
            raise UsageError(
                "frames need their `times` in seconds, or their `fps`"
            )
        pairs = frame_input.timed(frames, times, fps)
        found = self._stream_frames(pairs, every, people, FRAMES)
        return self._results(found, smooth)

    def predict_faces(
        self,
        faces: Sequence,
        *,
        context: Sequence | None = None,
        times: Sequence[float] | None = None,
        smooth: float | None = None,
    ) -> Results:
        """Returns the results of one person's faces that are cut out already.

        They should be cut as emorec does: the square around the face, its
        border `clip.face_margin`. A crop that is not square is made so by
        repeating its border.

        Args:
            faces: uint8 RGB, [T, h, w, 3] or T times [h, w, 3].
            context: The frames that they are from, uint8 RGB [T, H, W, 3] or
                T times [H, W, 3]: their middle square is read. A model that
                reads no surroundings needs none.
            times: Seconds of each face; by default `video.fps` of the
                model's config a second.
            smooth: See `predict`.

        Raises:
            UsageError: A picture or a time is not what it must be, or the
                model reads the surroundings and there are none.
        """
        smoothing.check(smooth or 0)
        streams = self.backend.description.get("streams", ())
        if context is None and "context" in streams:
            raise UsageError(
                "this model reads the surroundings too: give `context`, the "
                "frame of each face"
            )
        clips = frame_input.face_clips(faces, context, times, self.config)
        found = list(self._answered(clips, FACES))
        frames = sum(r.frames for r in found)
        return self._results(with_wholes(found, lambda: frames), smooth)

    def _results(self, found: Iterable[Result], smooth) -> Results:
        return Results(_bounded(found), smooth, self.notes)

    def _stream_video(self, video, *how) -> Iterator[Result]:
        with contextlib.closing(self._videos([video], *how)) as found:
            for result in found:
                if result.error is not None:
                    raise VideoError(result.error)
                yield result

    def _videos(
        self,
        videos,
        fps,
        every,
        people,
        duration=None,
        progress=lambda done: None,
    ) -> Iterator[Result]:
        """Yields what `emorec.predict` gives."""
        with self._detector() as detector:
            found = predict.predict_videos(
                videos,
                self.backend,
                detector,
                people=people,
                fps=fps,
                every=frame_input.windows_of(every),
                threshold=self.calibration.threshold,
                sources=predict_sources.Sources(duration=duration),
                progress=progress,
            )
            # Closed first: its threads use the detector.
            with contextlib.closing(found):
                yield from found

    def _stream_frames(
        self, pairs, every, people, name, is_live=False
    ) -> Iterator[Result]:
        """Yields the results of (seconds, frame) pairs."""
        cutting = Cutting(people, every=frame_input.windows_of(every))
        with self._detector() as detector:
            builder = cutting.builder(detector, self.config, is_live=is_live)
            frames = frame_input.sampled(pairs, cutting.rate(self.config))
            clips = builder.build(frames)
            yield from with_wholes(
                self._answered(clips, name),
                lambda: builder.frames_total,
                always=cutting.every is not None,
                main=people == "main",
            )

    def _answered(self, clips: Iterable[Clip], name) -> Iterator[Result]:
        """Answers each clip as it comes."""
        for clip in clips:
            answer = None
            if clip.frames_with_face:
                (answer,) = self.backend.predict([clip])
            yield Result(
                name,
                clip,
                answer,
                self.backend.labels,
                calibration=self.calibration,
            )

    @contextlib.contextmanager
    def _detector(self):
        """Lends a face detector that nobody else uses."""
        try:
            # One step, so that two threads never get the same.
            detector = self._detectors.pop()
        except IndexError:
            detector = self._new_detector()
            # Kept hold of while it is lent: where a stream that nobody went
            # on with is collected as part of a cycle, a detector that it
            # alone held would come back without its threads.
            self._made.append(detector)
        try:
            yield detector
        finally:
            self._detectors.append(detector)

    def _new_detector(self):
        from emorec.video.faces import FaceDetector

        # ONNX Runtime may be the only one that is installed.
        return FaceDetector(self.config.detector, self.backend.engine())


def _bounded(found: Iterable[Result]) -> Iterator[Result]:
    """Leaves the crops out of what comes after `PICTURE_BYTES` of them."""
    held = 0
    for result in found:
        held += result.picture_bytes
        yield result if held <= PICTURE_BYTES else result.without_pictures()
