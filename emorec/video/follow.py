"""Faces of sampled frames, searched in some and followed through the others.

With `detector.detect_every` = k above 1, only key frames are searched as a
whole: the first frame of every k sampling cells, both frames beside a scene
cut, and the video's last. Where two key frames show the same faces, the frames
between are searched by the same networks, but only near the places on a
straight line from one key frame's box to the other's
(`FaceDetector.detect_near`). Where somebody came or went, the frames between,
and those up to the key frames on either side, are searched in full; so is a
frame in which not just these faces show near their places, or one of them
scores little. So nobody is carried on into a frame that he has left, and the
boxes are those of a whole search; what is missed are faces that show only
between two key frames.

A frame's faces depend on the frames around it, two key frames ahead and back,
and on neither the batches nor where they begin.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from emorec.config import DetectorConfig
from emorec.video.faces import Detections
from emorec.video.reader import Frame
from emorec.video.tracks import match

# Least overlap of a face in two key frames; .5 searched as many frames.
MIN_IOU = 0.3
# Side of the thumbnails by which scene cuts are found. 8 keeps moving cameras
# apart from cuts better than 4 and 16, and colours better than greys.
THUMBNAIL = 8
# Pixels of the frames of a row above which nothing waits for a whole batch:
# 32 frames of 1080p, 200 MB.
WAITING_PIXELS = 64 << 20
# Pixels of the frames that are searched together: 8 of 1080p, 50 MB.
BATCH_PIXELS = 16 << 20
# Batches that are searched at once: an operation does not fill two cores.
SEARCHES = 2


@dataclasses.dataclass
class _Place:
    """A frame on its way.

    Attributes:
        frame: The frame.
        search: Whether it is to be searched; its faces are not followed.
        key: Whether it is a key frame.
        cut: Whether a scene begins with it.
        found: Its faces, once known.
        asked: Whether a job is at it.
        boxes: Of a frame between two key frames: where its faces should be.
        pairs: Of a key frame: which face of the key frame before is which of
            its own; None where somebody came or went.
        paired: Whether `pairs` is known.
    """

    frame: Frame
    search: bool = False
    key: bool = False
    cut: bool = False
    found: Detections | None = None
    asked: bool = False
    boxes: np.ndarray | None = None
    pairs: list[tuple[int, int]] | None = None
    paired: bool = False

    def make_key(self):
        self.key = self.search = True

    @property
    def known(self) -> bool:
        return self.found is not None

    @property
    def waits(self) -> bool:
        """Whether it has yet to be searched."""
        return self.search and not self.known and not self.asked


class _Jobs:
    """Searches in threads, taken up in the order in which they began.

    So what is asked for next depends on no thread's speed.

    Args:
        threads: They run them.
    """

    def __init__(self, threads: concurrent.futures.Executor):
        self._threads = threads
        self._begun = collections.deque()

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, job, places: list[_Place], batch: int) -> None:
        """Begins jobs on batches of places, which no job may change.

        Args:
            job: Given a list of places, it returns as many detections, or
                None for a place that is to be searched.
            places: What is asked for.
            batch: Most places in one job.
        """
        for i in range(0, len(places), batch):
            part = places[i : i + batch]
            for place in part:
                place.asked = True
            self._begun.append((part, self._threads.submit(job, part)))

    def end_first(self) -> None:
        """Waits for the oldest job and gives the places what it found."""
        part, job = self._begun.popleft()
        for place, found in zip(part, job.result(), strict=True):
            place.asked, place.found = False, found
            place.search |= found is None


class Follower:
    """Gives each sampled frame its faces.

    Args:
        detector: `emorec.video.faces.FaceDetector`, or another object with
            its `detect` and, where `detect_every` is above 1, `detect_near`.
        config: Its `detect_every`, `follow_score`, `scene_cut` and
            `batch_frames`.
    """

    def __init__(self, detector, config: DetectorConfig):
        self._detector = detector
        self._config = config

    def follow(
        self, frames: Iterable[Frame]
    ) -> Iterator[tuple[Frame, Detections]]:
        """Yields the frames of one video, in order, each with its faces.

        Reads ahead by about `SEARCHES` + 1 batches of `batch_frames` frames
        that are searched, or until `WAITING_PIXELS` wait.
        """
        if self._config.detect_every == 1:
            yield from self._search_all(frames)
            return
        with concurrent.futures.ThreadPoolExecutor(SEARCHES) as threads:
            yield from self._search_some(frames, _Jobs(threads))

    def _search_some(self, frames, jobs: "_Jobs"):
        """Searches and follows ahead of the frames that are given out."""
        row: list[_Place] = []
        for place in self._marked(frames):
            row.append(place)
            while self._enough(row):
                self._search(row, self._config.batch_frames, jobs)
            while len(jobs) > SEARCHES or (jobs and _is_full(row)):
                jobs.end_first()
                self._settle(row, jobs, ended=False)
            yield from _take_done(row)
        if row:
            row[-1].make_key()
        while not all(place.known for place in row):
            self._search(row, 1, jobs)
            while jobs:
                jobs.end_first()
            self._settle(row, jobs, ended=True)
        yield from ((p.frame, p.found) for p in row)

    def _search_all(self, frames):
        """Searches batches ahead of the one whose frames are given out."""
        ahead = collections.deque()
        with concurrent.futures.ThreadPoolExecutor(SEARCHES) as threads:
            for batch in self._batches(frames):
                images = [frame.image for frame in batch]
                found = threads.submit(self._detector.detect, images)
                ahead.append((batch, found))
                if len(ahead) > SEARCHES:
                    yield from _found(*ahead.popleft())
            while ahead:
                yield from _found(*ahead.popleft())

    def _batches(self, frames):
        """Yields what is searched together, at least one frame each."""
        frames = iter(frames)
        for first in frames:
            height, width = first.image.shape[:2]
            most = max(1, BATCH_PIXELS // (height * width))
            most = min(most, self._config.batch_frames)
            yield [first, *itertools.islice(frames, most - 1)]

    def _marked(self, frames) -> Iterator[_Place]:
        """Yields places; makes the last one a key frame where a cut follows."""
        step = self._config.detect_every
        before, seen = None, None
        for frame in frames:
            place, shown = _Place(frame), _thumbnail(frame.image)
            if before is None:
                place.paired, place.pairs = True, []
                place.make_key()
            elif np.abs(shown - seen).mean() > self._config.scene_cut:
                place.cut = True
                before.make_key()
                place.make_key()
            elif frame.cell // step != before.frame.cell // step:
                place.make_key()
            before, seen = place, shown
            yield place

    def _enough(self, row: list[_Place]) -> bool:
        """Whether there is a batch to search, or no room to wait for it."""
        waiting = sum(place.waits for place in row)
        return waiting >= self._config.batch_frames or (
            waiting > 0 and _is_full(row)
        )

    def _search(self, row: list[_Place], batch: int, jobs: "_Jobs"):
        """Searches places that wait for it, the first ones, by whole batches.

        One frame takes as long as 2.5 in a batch of 8.
        """
        waiting = [place for place in row if place.waits]
        waiting = waiting[: len(waiting) // batch * batch or None]
        jobs.begin(self._whole, waiting, self._config.batch_frames)

    def _whole(self, places: list[_Place]) -> list[Detections]:
        return self._detector.detect([place.frame.image for place in places])

    def _settle(self, row: list[_Place], jobs: "_Jobs", ended: bool):
        """Follows the faces between key frames wherever enough is known.

        Args:
            row: It begins with a key frame.
            jobs: What is being searched.
            ended: Whether no frames come after it.
        """
        keys = [i for i, place in enumerate(row) if place.key]
        for a, b in itertools.pairwise(keys):
            first, last = row[a], row[b]
            if first.known and last.known and not last.paired:
                last.paired, last.pairs = True, _same_faces(first, last)
        carried = []
        for a, b, c in zip(keys, keys[1:], [*keys[2:], None]):
            around = [row[i] for i in (a, b, c) if i is not None]
            if not all(p.paired for p in around) or (c is None and not ended):
                continue
            stays = all(p.pairs is not None for p in around)
            for place in row[a + 1 : b]:
                if place.known or place.search or place.asked:
                    continue
                if not stays:
                    place.search = True
                    continue
                place.boxes = _on_the_way(row[a], row[b], place)
                if len(place.boxes):
                    carried.append(place)
                else:
                    place.found = Detections(
                        np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
                    )
        jobs.begin(self._near, carried, self._config.batch_frames)

    def _near(self, places: list[_Place]) -> list[Detections | None]:
        """Finds faces again near where they are on their way.

        None where not just these are found.
        """
        near = self._detector.detect_near(
            [place.frame.image for place in places],
            [place.boxes for place in places],
        )
        return [
            found if self._are_these(found, place.boxes) else None
            for place, found in zip(places, near, strict=True)
        ]

    def _are_these(self, found: Detections | None, boxes) -> bool:
        """Whether faces are, for sure, those of boxes."""
        return (
            found is not None
            and len(found) == len(boxes)
            and len(match(found.boxes, boxes, MIN_IOU)) == len(boxes)
            and bool((found.scores >= self._config.follow_score).all())
        )


def _is_full(row: list[_Place]) -> bool:
    """Whether no more frames may wait."""
    height, width = row[0].frame.image.shape[:2]
    return len(row) * height * width >= WAITING_PIXELS


def _found(batch: list[Frame], found) -> Iterator[tuple[Frame, Detections]]:
    yield from zip(batch, found.result(), strict=True)


def _take_done(row: list[_Place]) -> Iterator[tuple[Frame, Detections]]:
    """Takes the first places off a row, up to its first key frame in use."""
    done = 0
    for i, place in enumerate(row):
        if place.key and place.paired:
            done = i
        if not place.known:
            break
    yield from ((p.frame, p.found) for p in row[:done])
    del row[:done]


def _same_faces(a: _Place, b: _Place) -> list[tuple[int, int]] | None:
    """Pairs the faces of two key frames; None where somebody came or went."""
    if b.cut:
        return []  # No frame lies between; others than before are expected.
    if len(a.found) != len(b.found):
        return None
    pairs = match(a.found.boxes, b.found.boxes, MIN_IOU)
    return pairs if len(pairs) == len(a.found) else None


def _on_the_way(a: _Place, b: _Place, place: _Place) -> np.ndarray:
    """Returns the boxes f32 [N, 4] between those of a and b, by the cells."""
    first, last = (
        faces.boxes[[pair[i] for pair in b.pairs]].reshape(-1, 4)
        for i, faces in enumerate((a.found, b.found))
    )
    cells = b.frame.cell - a.frame.cell
    share = np.float32((place.frame.cell - a.frame.cell) / cells)
    return first + (last - first) * share


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns f32 [8, 8, 3] of a frame uint8 [H, W, 3], 0 to 255."""
    # Four pixels in each direction are mean enough, and cost .06 ms at 1080p.
    step = max(1, min(image.shape[:2]) // (4 * THUMBNAIL))
    return cv2.resize(
        np.ascontiguousarray(image[::step, ::step]),
        (THUMBNAIL, THUMBNAIL),
        interpolation=cv2.INTER_AREA,
    ).astype(np.float32)
