"""Faces followed between key frames, against every frame searched."""

import dataclasses

import numpy as np
import pytest
import skimage.data

from emorec.config import DetectorConfig, VideoConfig
from emorec.video import follow
from emorec.video.faces import Detections, FaceDetector
from emorec.video.follow import Follower
from emorec.video.reader import Frame, read_frames
from emorec.video.tracks import match

LEFT, RIGHT = (4, 4, 20, 24), (40, 4, 64, 30)
EVERY_4TH = DetectorConfig(batch_frames=4, detect_every=4)


class Scripted:
    """A detector that finds what its script has for a frame's number.

    The number is the frame's first pixel. Near a frame's boxes it finds what
    `moved` makes of it and them, which scores what `score` says of the frame;
    or, where that is None, it would rather search all of it.
    """

    def __init__(self, script, score=lambda i: 1.0, moved=lambda i, box: box):
        self._script = script
        self._score = score
        self._moved = moved
        self.batches = []
        self.searched = []

    def detect(self, images):
        numbers = [int(i[0, 0, 0]) for i in images]
        self.batches.append(len(images))
        self.searched += numbers
        boxes = [np.float32(self._script(i)).reshape(-1, 4) for i in numbers]
        return [Detections(b, np.ones(len(b), np.float32)) for b in boxes]

    def detect_near(self, images, near):
        found = []
        for image, boxes in zip(images, near, strict=True):
            i = int(image[0, 0, 0])
            moved = [self._moved(i, box) for box in boxes]
            scores = [self._score(i)] * len(boxes)
            found.append(
                None
                if None in scores
                else Detections(np.float32(moved), np.float32(scores))
            )
        return found


class Counting:
    """The real detector, and how many frames it searched."""

    def __init__(self, detector):
        self._detector = detector
        self.searched = 0
        self.detect_near = detector.detect_near

    def detect(self, images):
        self.searched += len(images)
        return self._detector.detect(images)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(DetectorConfig())


def plain(numbers, brightness=lambda cell: 0):
    """Yields flat frames of these cells."""
    for index, cell in enumerate(numbers):
        image = np.full((48, 80, 3), brightness(cell), np.uint8)
        image[0, 0] = cell
        yield Frame(index, cell, cell / 8, image)


def followed(detector, frames, config=EVERY_4TH):
    """Returns the boxes of each frame, as lists, by its cell."""
    pairs = Follower(detector, config).follow(frames)
    return {frame.cell: found.boxes.tolist() for frame, found in pairs}


def wide(x) -> list[float]:
    return [x, 4.0, x + 16, 24.0]


def test_one_searches_every_frame_in_batches():
    scripted = Scripted(lambda i: [LEFT])
    config = dataclasses.replace(EVERY_4TH, detect_every=1)
    found = followed(scripted, plain(range(10)), config)
    assert list(found) == scripted.searched == list(range(10))
    assert scripted.batches == [4, 4, 2]


def test_between_key_frames_a_box_moves_in_a_straight_line():
    # Cells 0, 4 and 8, and the last frame; the box goes 1 to the right.
    scripted = Scripted(lambda i: [wide(i)])
    found = followed(scripted, plain(range(12)))
    assert scripted.searched == [0, 4, 8, 11]
    assert found == {i: [wide(i)] for i in range(12)}


def test_nobody_is_found_where_key_frames_show_nobody():
    scripted = Scripted(lambda i: [])
    found = followed(scripted, plain(range(10)))
    assert scripted.searched == [0, 4, 8, 9]
    assert found == {i: [] for i in range(10)}


def test_the_line_runs_by_cells_and_missing_ones_move_the_key_frames():
    cells = [0, 1, 3, 5, 7, 9, 10, 18, 19]
    scripted = Scripted(lambda i: [wide(i / 2)])
    found = followed(scripted, plain(cells))
    for i in cells:
        np.testing.assert_allclose(found[i], [wide(i / 2)], rtol=1e-6)
    # The first of cells 0-3, 4-7, 8-11 and 16-19, and the last frame.
    assert scripted.searched == [0, 5, 9, 18, 19]


def test_who_comes_and_goes_is_there_in_just_his_frames():
    def script(i):
        return [LEFT, RIGHT] if 18 <= i < 29 else [LEFT]

    scripted = Scripted(script)
    found = followed(scripted, plain(range(48)))
    assert {i: len(b) for i, b in found.items()} == {
        i: len(script(i)) for i in range(48)
    }
    # Searched: key frames, and those from 12 to 24 and from 24 to 36, the
    # steps with the change and beside them.
    assert sorted(scripted.searched) == sorted(
        {*range(0, 48, 4), 47, *range(12, 37)}
    )


def test_a_low_score_searches_the_frame():
    scripted = Scripted(
        lambda i: [LEFT] if i != 6 else [],
        lambda i: 0.94 if i == 6 else 0.96,
    )
    found = followed(scripted, plain(range(9)))
    assert sorted(scripted.searched) == [0, 4, 6, 8]
    assert found == {i: [] if i == 6 else [list(LEFT)] for i in range(9)}


def test_a_frame_that_is_mostly_boxes_is_searched():
    scripted = Scripted(lambda i: [LEFT], lambda i: None if i == 6 else 1.0)
    found = followed(scripted, plain(range(9)))
    assert sorted(scripted.searched) == [0, 4, 6, 8]
    assert found == {i: [list(LEFT)] for i in range(9)}


def test_boxes_that_run_into_each_other_search_the_frame():
    scripted = Scripted(
        lambda i: [LEFT] if i == 2 else [LEFT, RIGHT],
        moved=lambda i, box: np.float32(LEFT if i == 2 else box),
    )
    found = followed(scripted, plain(range(9)))
    assert sorted(scripted.searched) == [0, 2, 4, 8]
    assert [len(found[i]) for i in range(9)] == [2, 2, 1, *[2] * 6]


def test_a_cut_searches_both_frames_beside_it():
    scripted = Scripted(lambda i: [LEFT] if i < 6 else [RIGHT])
    frames = plain(range(12), lambda cell: 0 if cell < 6 else 40)
    found = followed(scripted, frames)
    assert sorted(scripted.searched) == [0, 4, 5, 6, 8, 11]
    assert found == {
        i: [list(map(float, LEFT if i < 6 else RIGHT))] for i in range(12)
    }


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("pixels", [1, follow.WAITING_PIXELS])
def test_batches_change_nothing(monkeypatch, batch, pixels):
    def script(i):
        return [wide(i / 2), RIGHT][: 1 + (i // 23) % 2]

    def score(i):
        return 0.9 if i % 11 == 5 else 1.0

    expected = followed(Scripted(script, score), plain(range(60)))
    monkeypatch.setattr(follow, "WAITING_PIXELS", pixels)
    config = dataclasses.replace(EVERY_4TH, batch_frames=batch)
    scripted = Scripted(script, score)
    assert followed(scripted, plain(range(60)), config) == expected
    assert len(expected) == 60 > len(set(scripted.searched))
    assert len(scripted.searched) == len(set(scripted.searched))


def test_searches_come_in_whole_batches():
    # What is doubtful waits for the next key frames.
    scripted = Scripted(lambda i: [LEFT], lambda i: 0.9 if i % 8 == 5 else 1.0)
    followed(scripted, plain(range(200)))
    assert set(scripted.batches[:-2]) == {4}
    assert sum(scripted.batches) == 50 + 1 + 25


def test_it_reads_ahead_by_a_batch_of_key_frames():
    read = []

    def watched():
        for frame in plain(range(200)):
            read.append(frame.cell)
            yield frame

    follower = Follower(Scripted(lambda i: [LEFT]), EVERY_4TH)
    for frame, _ in follower.follow(watched()):
        # Batches that are searched or wait, a step that waits for the next
        # one, and that.
        ahead = 4 * (4 * (follow.SEARCHES + 1) + 2) + 1
        assert len(read) <= frame.cell + ahead


def test_no_frames_and_one():
    assert followed(Scripted(lambda i: [LEFT]), plain([])) == {}
    assert followed(Scripted(lambda i: [LEFT]), plain([3])) == {3: [list(LEFT)]}


def panned(count):
    """Yields a photograph of a face through a moving window, then none."""
    photograph = skimage.data.astronaut()
    for i in range(count):
        x, y = 90 - 3 * i, 20 + 2 * i
        image = photograph[y : y + 400, x : x + 400]
        if i >= count - 3:
            image = np.zeros_like(image)
        yield Frame(i, i, i / 8, np.ascontiguousarray(image))


def recall_and_precision(found, expected) -> tuple[float, float]:
    """Counts faces with an overlap of at least .5, of two lists of boxes."""
    hits = sum(len(match(a, b, 0.5)) for a, b in zip(found, expected))
    return (
        hits / sum(map(len, expected)),
        hits / sum(map(len, found)),
    )


def test_the_real_detector_follows_a_face(detector):
    frames = list(panned(24))
    # The best only: some frames have a false face, which is in no other.
    expected = [f.boxes[:1] for f in detector.detect([f.image for f in frames])]
    assert [len(boxes) for boxes in expected] == [1] * 21 + [0] * 3
    counting = Counting(detector)
    pairs = list(Follower(counting, EVERY_4TH).follow(frames))
    found = [faces.boxes for _, faces in pairs]
    assert recall_and_precision(found, expected) == (1, 1)
    assert counting.searched == len({*range(0, 24, 4), 20, 21, 23})
    for boxes, whole in zip(found[:21], expected):
        np.testing.assert_allclose(boxes, whole, atol=0.05)
    for _, faces in pairs:
        assert faces.boxes.dtype == faces.scores.dtype == np.float32
        assert (faces.scores >= 0.8).all()


def joined(*parts):
    """Yields frames of several videos, of the first one's size, as one."""
    cell = 0
    for path, count in parts:
        with read_frames(path, VideoConfig()) as reader:
            for frame, _ in zip(reader, range(count)):
                yield Frame(cell, cell, cell / 8, frame.image)
                cell += 1


@pytest.mark.real
def test_a_cut_between_real_videos(detector, test_data):
    """Another person after 14 frames, at no key frame; nobody for the last."""
    clips = test_data / "clips" / "labelled"
    parts = [(clips / "d_happy.mp4", 14), (clips / "d_disgust.mp4", 9)]
    frames = list(joined(*parts))
    frames += [
        Frame(23 + i, 23 + i, 0.0, np.zeros_like(frames[0].image))
        for i in range(3)
    ]
    expected = [f.boxes for f in detector.detect([f.image for f in frames])]
    assert [len(boxes) for boxes in expected] == [1] * 23 + [0] * 3
    counting = Counting(detector)
    pairs = Follower(counting, EVERY_4TH).follow(frames)
    found = [faces.boxes for _, faces in pairs]
    assert recall_and_precision(found, expected) == (1, 1)
    # Key frames 0, 4, .. 24 and 25, and those beside the cuts.
    assert counting.searched == len({*range(0, 25, 4), 13, 14, 22, 23, 25})


@pytest.mark.real
def test_a_real_video_keeps_its_faces(detector, test_data):
    path = test_data / "clips" / "unlabelled" / "fer_test.mp4"
    with read_frames(path, VideoConfig()) as reader:
        frames = list(reader)
    expected = [f.boxes for f in detector.detect([f.image for f in frames])]
    counting = Counting(detector)
    found = [b.boxes for _, b in Follower(counting, EVERY_4TH).follow(frames)]
    assert recall_and_precision(found, expected) == (1, 1)
    assert counting.searched < len(frames) / 2
    for boxes, whole in zip(found, expected, strict=True):
        np.testing.assert_allclose(boxes, whole, atol=0.05)
