"""Clips: windows, people, crops, and bounded memory."""

import dataclasses
import tracemalloc

import cv2
import numpy as np
import pytest
import skimage.data

from emorec.config import Config
from emorec.errors import UsageError
from emorec.video import follow
from emorec.video.clip import Clip, ClipBuilder, context_crop, encode_jpeg
from emorec.video.faces import Detections, FaceDetector
from emorec.video.reader import Frame

FPS = 8.0
CONFIG = Config().override(
    ["clip.crop_size=32", "detector.batch_frames=4", "detector.detect_every=1"]
)
LEFT, RIGHT = (4, 4, 20, 24), (40, 4, 64, 30)


class Scripted:
    """A detector that finds the boxes that its script has for a frame.

    A frame's number is its first pixel.
    """

    def __init__(self, script, score=lambda i: 1.0):
        self._script = script
        self._score = score
        self.batches = []

    def detect(self, images):
        self.batches.append(len(images))
        return [self._found(int(i[0, 0, 0])) for i in images]

    def _found(self, number):
        boxes = np.array(self._script(number), np.float32).reshape(-1, 4)
        scores = np.full(len(boxes), self._score(number), np.float32)
        return Detections(boxes, scores)


def frames_of(count, *, skipped=(), origin=0.0, size=(80, 48)):
    """Yields frames 0 to count - 1, one a cell, but for `skipped` ones."""
    width, height = size
    for cell in range(count):
        if cell in skipped:
            continue
        image = np.full((height, width, 3), cell, np.uint8)
        yield Frame(cell, cell, origin + cell / FPS, image)


def build(
    script,
    frames,
    window=8,
    people="all",
    origin=0.0,
    config=CONFIG,
    score=lambda i: 1.0,
):
    builder = ClipBuilder(
        Scripted(script, score),
        config,
        fps=FPS,
        window_frames=window,
        people=people,
        origin=origin,
    )
    return list(builder.build(frames))


def overview(found):
    return [(c.track, c.window, c.frames_with_face) for c in found]


def test_one_person_in_windows():
    found = build(lambda i: [LEFT], frames_of(20, origin=2.0), origin=2.0)
    assert overview(found) == [(0, 0, 8), (0, 1, 8), (0, 2, 4)]
    assert [(c.start, c.end) for c in found] == [(2, 3), (3, 4), (4, 4.5)]
    assert [c.frames_total for c in found] == [8, 8, 4]
    for c in found:
        assert c.frame_size == (80, 48)
        assert c.times.dtype == c.boxes.dtype == np.float32
        assert len(c.face) == len(c.context) == len(c.times) == len(c.boxes)
        np.testing.assert_array_equal(c.boxes, [LEFT] * len(c.times))
    times = np.concatenate([c.times for c in found])
    np.testing.assert_allclose(times, 2 + np.arange(20) / FPS)


def test_what_shows_a_clip_shows_no_crops():
    clip = Clip(
        *(0, 0, 0.0, 1.0, np.zeros(1), np.zeros((1, 4))),
        *((b"face",), (b"context",), 1, (4, 4)),
    )
    assert "b'" not in repr(clip)


def test_a_clip_is_never_longer_than_its_window():
    found = build(lambda i: [LEFT, RIGHT], frames_of(50), window=7)
    assert max(c.frames_with_face for c in found) == 7
    assert sum(c.frames_with_face for c in found) == 100


def test_faceless_frames_are_in_neither_stream():
    found = build(lambda i: [LEFT] if i % 3 else [], frames_of(8))
    (c,) = found
    assert c.frames_total == 8 and c.frames_with_face == 5
    np.testing.assert_allclose(c.times, np.array([1, 2, 4, 5, 7]) / FPS)
    # Pixels of just those frames, in both streams.
    for stream in (c.face, c.context):
        shown = [decode(data)[0, 0, 0] for data in stream]
        np.testing.assert_allclose(shown, [1, 2, 4, 5, 7], atol=1)


def test_everybody_or_the_main_person():
    def script(i):
        # The one on the right is larger, but leaves after the first window.
        return [LEFT, RIGHT] if i < 8 else [LEFT]

    everybody = build(script, frames_of(16))
    assert overview(everybody) == [(0, 0, 8), (1, 0, 8), (0, 1, 8)]
    main = build(script, frames_of(16), people="main")
    # People are numbered as they are given out.
    assert overview(main) == [(0, 0, 8), (1, 1, 8)]
    np.testing.assert_array_equal(main[0].boxes[0], RIGHT)


def test_the_main_person_covers_most_over_the_window():
    def script(i):
        # Larger for 3 frames, against 8: 3 x 624 < 8 x 320 pixels.
        return [LEFT, RIGHT] if i < 3 else [LEFT]

    (c,) = build(script, frames_of(8), people="main")
    assert c.track == 0


def test_a_wrong_choice_of_people():
    with pytest.raises(UsageError) as e:
        ClipBuilder(None, CONFIG, fps=8, window_frames=8, people="most")
    assert str(e.value) == "`people` must be all or main. Received: 'most'"


@pytest.mark.parametrize("shown, kept", [(2, False), (3, True)])
def test_a_short_track_is_no_person(shown, kept):
    found = build(
        lambda i: [LEFT, RIGHT] if i < shown else [LEFT], frames_of(16)
    )
    assert ((1, 0, shown) in overview(found)) == kept


def test_who_enters_late_in_a_window_is_kept_if_he_stays():
    found = build(lambda i: [LEFT] if i >= 7 else [], frames_of(16))
    assert overview(found) == [(0, 0, 1), (0, 1, 8)]
    passing = build(lambda i: [LEFT] if i in (7, 8) else [], frames_of(30))
    assert overview(passing) == [(-1, 0, 0)]


@pytest.mark.parametrize("count", [1, 2])
def test_a_video_shorter_than_min_frames_keeps_its_people(count):
    found = build(lambda i: [LEFT], frames_of(count))
    assert overview(found) == [(0, 0, count)]
    # But nobody who is in less than all of it.
    assert overview(build(lambda i: [LEFT] if i else [], frames_of(2))) == [
        (-1, 0, 0)
    ]


@pytest.mark.parametrize(
    "sure, kept", [(0, True), (9, True), (15, True), (16, False), (99, False)]
)
def test_a_track_needs_one_sure_face(sure, kept):
    """By the end of the next window, when the first one is given out."""
    found = build(
        lambda i: [LEFT],
        frames_of(24),
        score=lambda i: 0.96 if i == sure else 0.94,
    )
    assert ((0, 0, 8) in overview(found)) == kept
    if sure == 99:
        assert overview(found) == [(-1, 0, 0)]


def test_false_faces_take_no_number():
    found = build(
        lambda i: [LEFT, RIGHT] if i < 12 else [RIGHT],
        frames_of(16),
        config=CONFIG.override(["tracks.min_frames=13"]),
    )
    assert overview(found) == [(0, 0, 8), (0, 1, 8)]
    np.testing.assert_array_equal(found[0].boxes[0], RIGHT)


def test_a_video_without_a_face_is_one_empty_clip():
    (c,) = build(lambda i: [], frames_of(20, origin=5.0), origin=5.0)
    assert (c.track, c.window, c.frames_total) == (-1, 0, 20)
    assert (c.start, c.end) == (5.0, 7.5)
    assert c.face == c.context == () and c.frames_with_face == 0
    assert c.times.shape == (0,) and c.boxes.shape == (0, 4)
    assert c.frame_size == (80, 48)


def test_windows_without_anybody_give_no_clip():
    found = build(lambda i: [LEFT] if i < 8 or i >= 24 else [], frames_of(32))
    # Away for longer than max_gap_s: another track.
    assert overview(found) == [(0, 0, 8), (1, 3, 8)]


def test_cells_without_a_frame():
    """A video slower than fps, or with a hole of whole windows."""
    found = build(
        lambda i: [LEFT], frames_of(48, skipped={1, 5, *range(8, 30)})
    )
    assert [(c.window, c.frames_total, c.start) for c in found] == [
        (0, 6, 0.0),
        (3, 2, 3.0),
        (4, 8, 4.0),
        (5, 8, 5.0),
    ]
    assert [c.track for c in found] == [0, 1, 1, 1]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_any_batch_size_gives_the_same_clips(batch):
    def script(i):
        return [(i, 4, i + 16, 24), RIGHT][: 1 + (i % 5 < 3)]

    config = dataclasses.replace(
        CONFIG,
        detector=dataclasses.replace(CONFIG.detector, batch_frames=batch),
    )
    ours = build(script, frames_of(30), config=config)
    theirs = build(script, frames_of(30))
    assert overview(ours) == overview(theirs) and len(ours) > 6
    for a, b in zip(ours, theirs, strict=True):
        assert a.face == b.face and a.context == b.context
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_frames_reach_the_detector_in_batches():
    detector = Scripted(lambda i: [])
    builder = ClipBuilder(detector, CONFIG, fps=FPS, window_frames=8)
    assert len(list(builder.build(frames_of(10)))) == 1
    assert detector.batches == [4, 4, 2]
    assert builder.frames_total == 10


def test_a_window_comes_when_the_next_is_complete():
    read = []

    def watched():
        for frame in frames_of(40):
            read.append(frame.cell)
            yield frame

    builder = ClipBuilder(
        Scripted(lambda i: [LEFT]), CONFIG, fps=FPS, window_frames=8
    )
    for number, c in enumerate(builder.build(watched())):
        assert c.window == number
        # Two windows, the batch with the first frame of the third, and those
        # that are searched meanwhile.
        assert len(read) <= (number + 2) * 8 + 4 * (1 + follow.SEARCHES)


def peak_of(count) -> int:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 80, 3), np.uint8)

    def frames():
        for cell in range(count):
            image = noise.copy()
            image[0, 0] = 0
            yield Frame(cell, cell, cell / FPS, image)

    builder = ClipBuilder(
        Scripted(lambda i: [LEFT, RIGHT]), CONFIG, fps=FPS, window_frames=8
    )
    tracemalloc.start()
    for _ in builder.build(frames()):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_video():
    short, long = peak_of(32), peak_of(320)
    assert long < 1.3 * short
    # One frame more is two faces and a context: 8 windows would show.
    assert short > 30_000


def decode(data) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return image[..., ::-1]


def test_crops_are_jpegs_of_the_configs_size_and_quality():
    (c,) = build(lambda i: [LEFT], frames_of(3))
    for data in (*c.face, *c.context):
        assert decode(data).shape == (32, 32, 3)
    image = context_crop(next(frames_of(1)).image, 32)
    assert c.context[0] == encode_jpeg(image, 95)


@pytest.mark.parametrize("every", [1, 3])
def test_with_the_real_detector(every):
    """A face that moves before a still scene, gone for the last frames."""
    photograph = skimage.data.astronaut()
    images = [
        photograph[20 + 2 * i : 276 + 2 * i, 90 - 4 * i : 346 - 4 * i]
        for i in range(9)
    ] + [photograph[256:512, 256:512]] * 3
    frames = [
        Frame(i, i, i / FPS, np.ascontiguousarray(image))
        for i, image in enumerate(images)
    ]
    config = CONFIG.override([f"detector.detect_every={every}"])
    detector = FaceDetector(config.detector)
    builder = ClipBuilder(detector, config, fps=FPS, window_frames=6)
    found = list(builder.build(frames))
    assert overview(found) == [(0, 0, 6), (0, 1, 3)]
    assert found[1].frames_total == 6
    boxes = np.concatenate([c.boxes for c in found])
    # The window moved 4 pixels left and 2 down a frame; the face the other
    # way.
    steps = np.diff(boxes, axis=0).mean(0)
    np.testing.assert_allclose(steps, [4, -2, 4, -2], atol=0.7)
    crop = decode(found[0].face[0])
    x0, y0, x1, y1 = boxes[0].astype(int)
    assert (x1 - x0) > 60 and np.std(crop) > 20
    wanted = cv2.resize(images[0][y0:y1, x0:x1], (32, 32))
    assert np.corrcoef(crop.ravel(), wanted.ravel())[0, 1] > 0.6
