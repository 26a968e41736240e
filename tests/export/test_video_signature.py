"""Whole frames to streams in a graph, against the clip builder's."""

import dataclasses
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from testing import whole_frames
from testing.whole_frames import encoded, padded, padded_times

from emorec.config import Config
from emorec.data import manifest
from emorec.export import proof, signatures
from emorec.export.graph_session import GraphSession
from emorec.export.video_signature import VideoStreams
from emorec.features import encoder
from emorec.features.encoders import Encoders
from emorec.training import bundle as bundles
from emorec.video.faces import FaceDetector

CONFIG = Config().override(["video.max_pixels=2100000"])
STEPS = 8
OUTPUTS = {"face", "context", "boxes", "found"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`VideoStreams` in a SavedModel."""
    folder = tmp_path_factory.mktemp("video") / "1"
    steps = (None, None)
    module = tf.Module()
    module.video = tf.function(
        VideoStreams(CONFIG),
        input_signature=[
            tf.TensorSpec(steps, tf.string, "frames"),
            tf.TensorSpec(steps, tf.float32, "times"),
        ],
    )
    tf.saved_model.save(module, str(folder), {"video": module.video})
    return folder


@pytest.fixture(scope="module")
def served(saved):
    """The SavedModel in a TF1 session: inputs to outputs."""
    with GraphSession(saved) as session:
        yield lambda frames, times: session.run(
            "video", {"frames": frames, "times": times}
        )


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(CONFIG.detector)


@pytest.fixture(scope="module")
def people(sample_set) -> list[list[np.ndarray]]:
    """Six frames of each of three persons."""
    rows = manifest.read(str(sample_set)).rows
    by_identity = {row.identity: row.path for row in rows}
    videos = [by_identity[name] for name in sorted(by_identity)][:3]
    return [
        [whole_frames.decoded(j) for j in _sampled(video)] for video in videos
    ]


def _sampled(video):
    return whole_frames.of_video(video, CONFIG, 6)[0]


def stretched(frames, count) -> list[np.ndarray]:
    return list(itertools.islice(itertools.cycle(frames), count))


@pytest.fixture(scope="module")
def videos(people) -> dict[str, tuple[list[bytes], np.ndarray]]:
    """JPEGs and times of videos in which this and that happens."""
    a, b, c = people
    empty = cv2.GaussianBlur(a[0], (0, 0), 25)
    small = cv2.resize(b[0], (192, 108), interpolation=cv2.INTER_AREA)
    corner = empty.copy()
    corner[:108, :192] = small
    shots = {
        "one": a,
        # Wider than `detector.input_width`, so that it is reduced.
        "three": [np.hstack(f) for f in zip(a, b, c)],
        "nobody": [empty] * 4,
        "leaves": [a[0], a[1], a[2], empty, empty, a[3], a[4]],
        "passes": [*b[:5], empty, corner, corner],
        "short": c[:2],
        "single": c[:1],
    }
    return {
        name: (
            [encoded(f) for f in frames],
            np.arange(len(frames), dtype=np.float32) / 8,
        )
        for name, frames in shots.items()
    }


def rows_of(answer) -> list[dict]:
    assert set(answer) == OUTPUTS
    return [
        {name: value[i] for name, value in answer.items()}
        for i in range(len(answer["found"]))
    ]


def ask(served, videos, length=STEPS) -> list[dict]:
    """Returns the answer's rows for some videos in one batch."""
    jpegs, times = zip(*videos)
    return rows_of(served(padded(jpegs, length), padded_times(times, length)))


FOUND = {
    "one": 6,
    "three": 6,
    "nobody": 0,
    "leaves": 5,
    "passes": 5,
    "short": 2,
    "single": 1,
}


@pytest.mark.parametrize("name", FOUND)
def test_gives_what_the_clip_builder_gives(served, detector, videos, name):
    jpegs, times = videos[name]
    (row,) = ask(served, [(jpegs, times)])
    clip = whole_frames.main_clip(detector, CONFIG, jpegs, times)
    assert clip.frames_with_face == FOUND[name]
    iou, pixels = whole_frames.compare(clip, row, times)
    assert iou >= 0.999 and pixels == 0


def test_shapes_and_types(served, videos):
    (row,) = ask(served, [videos["leaves"]])
    assert row["boxes"].shape == (STEPS, 4) and row["boxes"].dtype == np.float32
    assert row["found"].tolist() == [
        *[True] * 3,
        *[False] * 2,
        True,
        True,
        False,
    ]
    for stream in ("face", "context"):
        assert [bool(j) for j in row[stream]] == [True] * 5 + [False] * 3
        size = CONFIG.clip.crop_size
        assert whole_frames.decoded(row[stream][0]).shape == (size, size, 3)


def test_a_video_without_a_face_has_nothing(served, videos):
    (row,) = ask(served, [videos["nobody"]])
    assert not any(row["face"]) and not any(row["context"])
    assert not row["boxes"].any() and not row["found"].any()


def test_a_row_does_not_depend_on_its_batch(served, videos):
    names = ["three", "nobody", "leaves"]
    together = ask(served, [videos[n] for n in names], length=STEPS + 3)
    for name, row in zip(names, together):
        (alone,) = ask(served, [videos[name]])
        for output, value in alone.items():
            np.testing.assert_array_equal(row[output][:STEPS], value)
            assert not row[output][STEPS:].any()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0), (2, 3)])
def test_empty_requests(served, shape):
    answer = served(np.full(shape, b"", object), np.zeros(shape, np.float32))
    assert answer["boxes"].shape == (*shape, 4)
    for name in ("face", "context", "found"):
        assert answer[name].shape == shape and not answer[name].any()


def test_a_stream_that_nobody_reads_is_not_cut():
    streams = VideoStreams(CONFIG, ["face"])
    answer = streams(tf.fill([1, 2], ""), tf.zeros([1, 2]))
    assert set(answer) == OUTPUTS - {"context"}


def test_more_frames_than_a_chunk(served, detector, people):
    count = 2 * CONFIG.detector.batch_frames + 3
    frames = [encoded(f) for f in stretched(people[0] + people[1], count)]
    times = np.arange(count, dtype=np.float32) / 8
    (row,) = ask(served, [(frames, times)], length=count)
    clip = whole_frames.main_clip(detector, CONFIG, frames, times)
    iou, pixels = whole_frames.compare(clip, row, times)
    assert row["found"].sum() > CONFIG.detector.batch_frames
    assert iou >= 0.999 and pixels <= 8


def test_grey_images_have_faces_too(served, people):
    grey = cv2.cvtColor(people[0][0], cv2.COLOR_RGB2GRAY)
    _, jpeg = cv2.imencode(".jpg", grey)
    (row,) = ask(served, [([jpeg.tobytes()], np.zeros(1, np.float32))])
    assert row["found"].tolist() == [True] + [False] * (STEPS - 1)


def changed(jpegs, at, value) -> list[bytes]:
    return [*jpegs[:at], value, *jpegs[at + 1 :]]


REFUSALS = {
    "not a JPEG": (
        lambda j, t: (changed(j, 1, b"GIF89a"), t),
        "`frames` must hold JPEG images or empty strings",
    ),
    "cut short": (
        lambda j, t: (changed(j, 2, j[2][:1000]), t),
        "`frames` must hold whole JPEG images: one is cut short",
    ),
    "damaged": (
        lambda j, t: (changed(j, 2, j[2][:20] + b"\xff\xd9"), t),
        "frames_must_hold_whole_JPEG_images",
    ),
    "a hole": (
        lambda j, t: (changed(j, 1, b""), t),
        "`frames` must hold its frames first, then empty strings as padding",
    ),
    "another size": (
        lambda j, t: (changed(j, 3, encoded(np.zeros((80, 80, 3), "u1"))), t),
        "`frames` must hold images of one size in each row",
    ),
    "too many pixels": (
        lambda j, t: ([encoded(np.zeros((2101, 1000, 3), "u1"))] * 6, t),
        "`frames` must hold images of at most 2100000 pixels",
    ),
    "fewer times": (
        lambda j, t: (j, t[:-1]),
        "`frames` and `times` must have equal batch sizes and lengths",
    ),
    "NaN": (
        lambda j, t: (j, changed(t, 2, np.nan)),
        "`times` must hold finite numbers where `frames` has frames",
    ),
    "infinite": (
        lambda j, t: (j, changed(t, 5, np.inf)),
        "`times` must hold finite numbers where `frames` has frames",
    ),
    "backwards": (
        lambda j, t: (j, changed(t, 3, 0.1)),
        "`times` must not decrease within a row",
    ),
    "too long": (
        lambda j, t: ([*j, *[b""] * 4091], [*t, *[0] * 4091]),
        "`frames` must have at most 4096 steps",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_name_the_input_and_the_rule(served, videos, name):
    change, message = REFUSALS[name]
    jpegs, times = change(*videos["one"])
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        served(np.array([jpegs], object), np.array([times], np.float32))
    assert message in str(raised.value)


def test_a_bad_row_among_good_ones(served, videos):
    jpegs, times = videos["one"]
    bad = [*jpegs[:5], encoded(np.zeros((80, 80, 3), np.uint8))]
    with pytest.raises(tf.errors.InvalidArgumentError, match="of one size"):
        ask(served, [(jpegs, times), (bad, times)])
    # Each row has a size of its own.
    rows = ask(served, [(jpegs, times), videos["three"]])
    assert [r["found"].sum() for r in rows] == [6, 6]


def test_no_op_that_a_server_lacks(saved):
    proof.check_graph(saved)
    data = (saved / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0]
    ops = {
        node.op
        for function in graph.graph_def.library.function
        for node in function.node_def
    }
    assert {"DecodeJpeg", "EncodeJpeg", "Conv2D", "StatelessWhile"} <= ops
    assert not {op for op in ops if "PyFunc" in op}


def of_crops(bundle):
    """Streams of one clip to its probabilities, by the Keras model."""
    assert bundle.config.data_hash() == CONFIG.data_hash()
    graph = tf.function(
        signatures.build(bundle)["jpegs"].function,
        input_signature=[tf.TensorSpec((None, None), tf.string)] * 2,
    )

    def ask(face, context):
        streams = (tf.constant([list(s)], tf.string) for s in (face, context))
        return graph(*streams)["probabilities"].numpy()[0]

    return ask


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture(scope="module")
def probabilities(bundle):
    return of_crops(bundle)


@pytest.fixture(scope="module")
def published(bundle, test_data):
    """The same network behind encoders with their published weights."""
    made = {
        stream: encoder.create(
            getattr(bundle.config.features, f"{stream}_encoder"),
            test_data / "weights",
            download=False,
        )
        for stream in bundle.streams
    }
    return of_crops(dataclasses.replace(bundle, encoders=Encoders(**made)))


def agreement(served, detector, probabilities, jpegs, times):
    """Returns (faces, smallest IoU, largest difference of a probability)."""
    (row,) = ask(served, [(jpegs, times)], length=len(jpegs))
    clip = whole_frames.main_clip(detector, CONFIG, jpegs, times)
    iou, _ = whole_frames.compare(clip, row, times)
    made = probabilities(row["face"], row["context"])
    expected = np.zeros_like(made)
    if clip.frames_with_face:
        expected = probabilities(clip.face, clip.context)
    difference = float(np.abs(made - expected).max())
    return clip.frames_with_face, iou, difference


def test_the_same_probabilities(served, detector, probabilities, videos):
    for name in ("three", "leaves", "nobody"):
        jpegs, times = videos[name]
        faces, iou, difference = agreement(
            served, detector, probabilities, jpegs, times
        )
        assert faces == FOUND[name]
        assert iou >= 0.95
        assert difference <= 1e-3


@pytest.mark.real
@pytest.mark.long
@pytest.mark.parametrize(
    "video, found",
    [
        ("labelled/a_disgust.mp4", 16),
        ("labelled/d_happy.mp4", 16),
        ("labelled/s_fear.mp4", 2),
        ("unlabelled/Megamind.avi", 15),
        ("unlabelled/carphone_distorted.mp4", 13),
        ("unlabelled/mmaction2_test.avi", 15),
        ("unlabelled/facenetpt_video.mp4", 16),
        ("unlabelled/pyfeat_no_face.mp4", 0),
        ("unlabelled/pyfeat_face_noface.mov", 16),
        ("unlabelled/vtest.avi", 0),
    ],
)
def test_real_videos(served, detector, published, test_data, video, found):
    path = test_data / "clips" / video
    jpegs, times = whole_frames.of_video(path, CONFIG, 16)
    faces, iou, difference = agreement(
        served, detector, published, jpegs, times
    )
    assert faces == found
    assert iou >= 0.95
    assert difference <= 1e-3


_GROWTH = """
import resource, sys
import numpy as np, tensorflow as tf
from emorec.config import Config
from emorec.export.video_signature import VideoStreams
graph = tf.function(VideoStreams(Config()), input_signature=[
    tf.TensorSpec((None, None), tf.string),
    tf.TensorSpec((None, None), tf.float32)])
jpeg = open(sys.argv[1], "rb").read()
for count in (24, 24, 240):
    frames = tf.constant([[jpeg] * count])
    found = graph(frames, tf.zeros((1, count)))["found"].numpy()
    assert found.all()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.long
def test_memory_does_not_grow_with_the_frames(people, tmp_path):
    frame = cv2.resize(people[0][0], (1280, 720))
    (tmp_path / "frame.jpg").write_bytes(encoded(frame))
    run = subprocess.run(
        [sys.executable, "-c", _GROWTH, str(tmp_path / "frame.jpg")],
        capture_output=True,
        text=True,
        check=True,
    )
    _, few, many = map(int, run.stdout.split())
    # 216 more frames are 597 MB of pixels; their crops as JPEG are some 10.
    assert many - few < 150
