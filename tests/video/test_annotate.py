"""Annotated videos: they play, stand upright, and show what was found."""

import dataclasses
import os
import re
import types

import av
import numpy as np
import pytest

from emorec import predict
from emorec.config import Config
from emorec.errors import EmorecError, VideoError
from emorec.labels import LabelSet
from emorec.results import Answer, Result
from emorec.video import annotate, drawing
from emorec.video.clip import Clip
from emorec.video.curves import curves
from emorec.video.faces import FaceDetector

LABELS = LabelSet("auto", ("calm", "glücklich", "上"))
CONFIG = Config()
GREY = 100


def write_video(path, width=320, height=240, frames=16, fps=16):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", fps, {"crf": "10"})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        image = np.full((height, width, 3), GREY, np.uint8)
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return str(path)


def result(box, *, frames=8, track=0, size=(320, 240), step=(0, 0), best=1):
    """A person whose box moves by `step` pixels a frame of 1/8 s."""
    moves = np.arange(frames)[:, None] * np.array(step * 2)
    clip = Clip(
        track=track,
        window=0,
        start=0.0,
        end=frames / 8,
        times=np.arange(frames, dtype=np.float32) / 8,
        boxes=(np.array(box) + moves).astype(np.float32),
        face=(b"",) * frames,
        context=(b"",) * frames,
        frames_total=frames,
        frame_size=size,
    )
    probabilities = np.full(3, 0.1, np.float32)
    probabilities[best] = 0.8
    return Result("a.mp4", clip, Answer(probabilities, None), LABELS)


def frames_of(path):
    with av.open(str(path)) as container:
        return [
            (frame.time, frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


def changed(image):
    """Where a frame of the grey video was drawn on."""
    return np.abs(image.astype(int) - GREY).max(-1) > 30


def drawn(tmp_path, results, **video):
    source = write_video(tmp_path / "a.mp4", **video)
    target = tmp_path / "out.mp4"
    annotate.annotate(source, results, target, config=CONFIG)
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "out.mp4"]
    return frames_of(target)


def test_it_is_what_browsers_play(tmp_path):
    source = write_video(tmp_path / "a.mp4")
    target = tmp_path / "out.mp4"
    told = []
    annotate.annotate(
        source,
        [result((60, 100, 140, 200))],
        target,
        config=CONFIG,
        progress=lambda done, total: told.append((done, total)),
    )
    with av.open(str(target)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (480, 360)
        assert float(stream.duration * stream.time_base) == pytest.approx(
            1, abs=0.1
        )
    # The index comes first: a browser plays before it has all.
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) == 16
    assert told[-1] == (pytest.approx(15 / 16), pytest.approx(1))


def test_every_frame_keeps_its_time_and_has_the_box(tmp_path):
    found = drawn(tmp_path, [result((60, 100, 140, 200))])
    assert [t for t, _ in found] == pytest.approx(np.arange(16) / 16)
    for _, image in found:
        marks = changed(image)
        # The left and the lower edge, at 1.5 times the size.
        assert marks[160:290, 88:93].any(1).all()
        assert marks[298:303, 95:205].any(0).all()
        # Within the box nothing, nor far from it.
        assert not marks[170:290, 100:200].any()
        assert not marks[:, 400:].any()


def test_the_box_lies_between_those_before_and_after(tmp_path):
    found = drawn(tmp_path, [result((40, 60, 80, 110), step=(16, 0))])

    def left_edge(image):
        # Rows of the box, below its panels' reach.
        return int(changed(image)[95:160].all(0).argmax())

    edges = [left_edge(image) for _, image in found[:14]]
    steps = np.diff(edges)
    # Half of 16 pixels a frame, enlarged by 1.5.
    assert np.abs(steps - 12).max() <= 2, edges


def test_a_person_is_shown_only_while_seen(tmp_path):
    gone = result((60, 100, 140, 200), frames=4)
    found = drawn(tmp_path, [gone])
    shown = [bool(changed(image).any()) for _, image in found]
    assert shown == [True] * 8 + [False] * 8


def test_a_video_without_a_face_says_so(tmp_path):
    found = drawn(tmp_path, [])
    marks = changed(found[5][1])
    assert marks[:60, :200].any()
    assert not marks[60:].any()


@pytest.mark.parametrize(
    "size, expected",
    [
        ((1920, 1080), (1920, 1080)),
        ((3840, 2160), (1920, 1080)),
        ((202, 360), (360, 642)),
        ((160, 120), (480, 360)),
        ((1079, 721), (1080, 720)),
        ((5000, 20), (1920, 8)),
        ((2, 2), (360, 360)),
    ],
)
def test_pictures_are_even_and_of_a_size_to_read(size, expected):
    assert annotate.picture_size(*size) == expected


def test_portrait_and_one_frame(tmp_path):
    portrait = result((20, 60, 60, 110), frames=1, size=(90, 160))
    found = drawn(tmp_path, [portrait], width=90, height=160, frames=1)
    assert len(found) == 1
    assert found[0][1].shape == (640, 360, 3)
    assert changed(found[0][1]).any()


def crowd(size):
    return [
        result((x, y, x + 30, y + 36), track=i, size=size)
        for i, (x, y) in enumerate(
            (40 + 120 * (i % 5), 40 + 60 * (i // 5)) for i in range(30)
        )
    ]


def test_thirty_people_have_a_line_or_a_number_each():
    people = crowd((640, 480))
    artist = drawing.Artist(640, 480)
    image = np.full((480, 640, 3), GREY, np.uint8)
    seen = [
        drawing.Seen(r.track, r.clip.boxes[0], None, LABELS) for r in people
    ]
    artist.draw(image, seen)
    marks = changed(image)
    for person in seen:
        x0, y0, x1, y1 = person.box.astype(int)
        assert marks[y0, x0 : x1 + 1].all()
        # Nobody's number covers more than a part of another's face.
        assert marks[y0 + 4 : y1 - 3, x0 + 4 : x1 - 3].mean() < 0.8


def test_no_panel_lies_on_a_face_while_there_is_room_beside_it():
    # Below each other, too near for a line between them.
    tops = ((200, 100), (200, 150), (200, 200))
    people = [
        result((x, y, x + 40, y + 46), track=i, size=(640, 480))
        for i, (x, y) in enumerate(tops)
    ]
    image = np.full((480, 640, 3), GREY, np.uint8)
    drawing.Artist(640, 480).draw(
        image,
        [
            drawing.Seen(p.track, r.clip.boxes[0], p.spans[0], LABELS)
            for p, r in zip(curves(people), people)
        ],
    )
    marks = changed(image)
    for x, y in tops:
        assert not marks[y + 5 : y + 41, x + 5 : x + 35].any()


@pytest.mark.parametrize(
    "name, text",
    [("glücklich", "glucklich"), ("上", "label 2"), ("é\u0301", "e")],
)
def test_letters_that_cannot_be_drawn(name, text):
    assert drawing.plain(name, "label 2") == text


def test_results_of_windows_that_overlap_are_one_path():
    first = result((0, 0, 10, 10), frames=8)
    later = dataclasses.replace(
        first.clip, start=0.5, end=1.5, times=first.clip.times + 0.5
    )
    paths = annotate._paths([first, dataclasses.replace(first, clip=later)])
    np.testing.assert_allclose(paths[0].times, np.arange(12) / 8)
    assert paths[0].boxes.max() == pytest.approx(10 / 240)


def test_a_gap_is_bridged_only_if_short():
    path = annotate._Path(
        np.array([0.0, 0.25, 2.0]),
        np.array([[0, 0, 0.2, 0.2], [0.1, 0, 0.3, 0.2], [0.5, 0, 0.7, 0.2]]),
        0.125,
    )
    np.testing.assert_allclose(path.at(0.125, 0.3), [0.05, 0, 0.25, 0.2])
    np.testing.assert_allclose(path.at(0.3, 0.3), [0.1, 0, 0.3, 0.2])
    assert path.at(1.0, 0.3) is None
    np.testing.assert_allclose(path.at(1.125, 2.0), [0.3, 0, 0.5, 0.2])
    assert path.at(2.2, 0.3) is None


def test_a_video_that_cannot_be_read_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(VideoError, match="cannot be read as a video"):
        annotate.annotate(str(bad), [], tmp_path / "out.mp4", config=CONFIG)
    assert os.listdir(tmp_path) == ["bad.mp4"]


def test_a_folder_that_is_absent_is_named(tmp_path):
    source = write_video(tmp_path / "a.mp4", frames=2)
    target = tmp_path / "no" / "out.mp4"
    message = f"{target}: cannot be written (No such file or directory); free"
    with pytest.raises(EmorecError, match=re.escape(message)):
        annotate.annotate(source, [], target, config=CONFIG)


def test_a_full_disk_leaves_nothing(tmp_path, full_disk):
    source = write_video(tmp_path / "a.mp4")
    target = tmp_path / "out.mp4"
    target.write_text("as it was")
    with full_disk(2000), pytest.raises(EmorecError, match="cannot be written"):
        annotate.annotate(
            source,
            [result((60, 100, 140, 200))],
            target,
            config=CONFIG,
        )
    assert target.read_text() == "as it was"
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "out.mp4"]


def test_hidden_faces_of_a_real_path_are_not_found_again(sample_set, tmp_path):
    video = str(sorted(sample_set.parent.rglob("*.mp4"))[0])
    detector = FaceDetector(CONFIG.detector)
    target = tmp_path / "out.mp4"
    # Of no results: whoever is in the picture is hidden.
    annotate.annotate(
        video, [], target, config=CONFIG, blur=True, detector=detector
    )
    before, after = (
        [image for _, image in frames_of(path)] for path in (video, target)
    )
    assert len(before) == len(after)
    count = sum(len(found) for found in detector.detect(before))
    assert count >= len(before) - 1
    assert sum(len(found) for found in detector.detect(after)) == 0


def test_hidden_frames_come_in_order_and_all(monkeypatch):
    """With batches cut by memory, and frames that no cell begins with."""
    monkeypatch.setattr(annotate, "_MOST_WAIT", 7)

    class Hider:
        searched = 0

        def find(self, images):
            self.searched += len(images)
            return [np.array([[2.0, 2, 6, 6]])] * len(images)

    from emorec.video.reader import Frame

    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (50, 32, 32, 3), np.uint8)
    frames = [Frame(i, i, i / 30, im.copy()) for i, im in enumerate(images)]
    hider = Hider()
    found = list(annotate._hidden(iter(frames), hider, 8.0, {}))
    assert [f.index for f in found] == list(range(50))
    assert 50 / 7 < hider.searched < 30
    for frame, image in zip(found, images):
        assert np.ptp(frame.image[3:5, 3:5].astype(int)) < np.ptp(
            image[3:5, 3:5].astype(int)
        )
        np.testing.assert_array_equal(frame.image[12:], image[12:])


def test_predict_and_annotate_agree(predicted, tmp_path):
    """The real chain: the person's box is drawn where the face is."""
    video, results = predicted
    target = tmp_path / "out.mp4"
    annotate.annotate(video, results, target, config=CONFIG)
    before, after = frames_of(video), frames_of(target)
    assert len(before) == len(after)
    clip = next(r.clip for r in results if r.clip is not None)
    scale = after[0][1].shape[0] / clip.frame_size[1]
    for time, box in zip(clip.times, clip.boxes * scale):
        i = int(np.abs(np.array([t for t, _ in after]) - time).argmin())
        x0, y0, x1, y1 = box.round().astype(int)
        edge = after[i][1][(y0 + y1) // 2, x0 - 2 : x0 + 3].astype(int)
        colour = np.array(drawing.COLOURS[clip.track])
        assert np.abs(edge - colour).max(-1).min() < 60


@pytest.fixture(scope="module")
def predicted(sample_set):
    answer = Answer(np.float32([0.1, 0.8, 0.1]), None)
    backend = types.SimpleNamespace(
        config=CONFIG,
        labels=LABELS,
        description={"info": {}},
        predict=lambda clips: [answer] * len(clips),
        warm_up=lambda: None,
    )
    video = str(sorted(sample_set.parent.rglob("*.mp4"))[0])
    detector = FaceDetector(CONFIG.detector)
    return video, list(predict.predict_videos([video], backend, detector))
