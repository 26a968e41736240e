"""Faces of sampled frames, searched in some and followed through the others.

With `detector.detect_every` = k above 1, only key frames are searched by the
whole detector: the first frame of every k sampling cells, both frames beside
a scene cut, and the video's last. Where two key frames show the same faces,
each face's box is drawn in a straight line from one to the other and
corrected in the frames between by the detector's last network alone
(`FaceDetector.refine`). Where somebody came or went, the frames between, and
those up to the key frames on either side, are searched in full; so is a frame
in which a followed face scores little, or runs into another. So nobody is
carried on into a frame that he has left; what is missed are faces that show
only between two key frames.

A frame's faces depend on the frames around it, two key frames ahead and back,
and on neither the batches nor where they begin.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from emorec.config import DetectorConfig
from emorec.video import candidates
from emorec.video.faces import NMS_ONET, Detections
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


@dataclasses.dataclass
class _Place:
    """A frame on its way.

    Attributes:
        frame: The frame.
        search: Whether it is to be searched; its faces are not followed.
        key: Whether it is a key frame.
        cut: Whether a scene begins with it.
        found: Its faces, once known.
        pairs: Of a key frame: which face of the key frame before is which of
            its own; None where somebody came or went.
        paired: Whether `pairs` is known.
    """

    frame: Frame
    search: bool = False
    key: bool = False
    cut: bool = False
    found: Detections | None = None
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
        return self.search and not self.known


class Follower:
    """Gives each sampled frame its faces.

    Args:
        detector: `emorec.video.faces.FaceDetector`, or another object with
            its `detect` and, where `detect_every` is above 1, `refine`.
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

        Reads ahead until `batch_frames` frames are there to be searched, by
        about as many key frames.
        """
        if self._config.detect_every == 1:
            yield from self._search_all(frames)
            return
        row: list[_Place] = []
        for place in self._marked(frames):
            row.append(place)
            while self._enough(row):
                self._search(row, self._config.batch_frames)
                self._settle(row, ended=False)
                yield from _take_done(row)
        if row:
            row[-1].make_key()
        while not all(place.known for place in row):
            self._search(row, 1)
            self._settle(row, ended=True)
        yield from ((p.frame, p.found) for p in row)

    def _search_all(self, frames):
        frames = iter(frames)
        while batch := list(
            itertools.islice(frames, self._config.batch_frames)
        ):
            found = self._detector.detect([f.image for f in batch])
            yield from zip(batch, found, strict=True)

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
        height, width = row[0].frame.image.shape[:2]
        full = len(row) * height * width >= WAITING_PIXELS
        return waiting >= self._config.batch_frames or (full and waiting > 0)

    def _search(self, row: list[_Place], batch: int):
        """Searches places that wait for it, the first ones, by whole batches.

        One frame takes as long as 2.5 in a batch of 8.
        """
        waiting = [place for place in row if place.waits]
        waiting = waiting[: len(waiting) // batch * batch or None]
        found = self._detector.detect([p.frame.image for p in waiting])
        for place, faces in zip(waiting, found, strict=True):
            place.found = faces

    def _settle(self, row: list[_Place], ended: bool):
        """Follows the faces between key frames wherever enough is known.

        Args:
            row: It begins with a key frame.
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
                if place.known or place.search:
                    continue
                if stays:
                    boxes = _on_the_way(row[a], row[b], place)
                    carried.append((place, boxes))
                else:
                    place.search = True
        self._correct(carried)

    def _correct(self, carried: list[tuple[_Place, np.ndarray]]):
        """Moves carried boxes f32 [N, 4] onto the faces.

        A place where that fails is to be searched.
        """
        for place, boxes in carried:
            if not len(boxes):
                place.found = Detections(
                    np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
                )
        carried = [(place, boxes) for place, boxes in carried if len(boxes)]
        if not carried:
            return
        index = np.repeat(
            np.arange(len(carried), dtype=np.int32),
            [len(boxes) for _, boxes in carried],
        )
        moved, scores = self._detector.refine(
            [place.frame.image for place, _ in carried],
            np.concatenate([boxes for _, boxes in carried]),
            index,
        )
        rows = np.column_stack([index, moved, scores])
        rows = candidates.suppress(rows, NMS_ONET, by_smaller=True)
        for i, (place, boxes) in enumerate(carried):
            mine = rows[rows[:, 0] == i, 1:].astype(np.float32)
            sure = mine[:, 4] >= self._config.follow_score
            if len(mine) < len(boxes) or not sure.all():
                place.search = True
            else:
                place.found = Detections(mine[:, :4], mine[:, 4])


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
