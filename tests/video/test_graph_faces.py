"""The detector in a graph against `FaceDetector`: the same boxes."""

import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from emorec.config import DetectorConfig
from emorec.video import graph_faces
from emorec.video.faces import Detections, FaceDetector
from emorec.video.graph_faces import GraphDetector

FRAMES = tf.TensorSpec((None, None, None, 3), tf.uint8)


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


def in_graph(config: DetectorConfig):
    """Returns a `detect` of the graph's, for frames of one size."""
    detector = GraphDetector(config)

    @tf.function(input_signature=[FRAMES], autograph=False)
    def graph(frames):
        size = tf.shape(frames)[1:3]
        reduced = tf.map_fn(
            detector.reduced,
            frames,
            fn_output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
        )
        faces = detector.detect(reduced, size)
        return faces.frames, faces.boxes, faces.scores

    graph.get_concrete_function()

    def detect(frames) -> list[Detections]:
        index, boxes, scores = (x.numpy() for x in graph(np.stack(frames)))
        assert index.dtype == np.int32 and boxes.dtype == np.float32
        assert sorted(index) == index.tolist()
        return [
            Detections(boxes[index == i], scores[index == i])
            for i in range(len(frames))
        ]

    return detect


@pytest.fixture(scope="module")
def default():
    config = DetectorConfig(input_width=256, max_faces=2)
    return FaceDetector(config), in_graph(config)


@pytest.fixture(scope="module")
def eager():
    """Much is a candidate, a face or not; they are judged in 7s."""
    config = DetectorConfig(
        input_width=0, min_face_size=20, thresholds=(0.1, 0.05, 0.02)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_faces, "_JUDGED", 7)
        return FaceDetector(config), in_graph(config)


def same(expected: list[Detections], made: list[Detections]) -> int:
    """Compares; returns how many faces there are."""
    assert [len(d) for d in made] == [len(d) for d in expected]
    for a, b in zip(expected, made):
        np.testing.assert_allclose(b.boxes, a.boxes, atol=1e-3)
        np.testing.assert_allclose(b.scores, a.scores, atol=1e-4)
    return sum(map(len, made))


def test_the_same_boxes_on_frames_that_are_reduced(default, astronaut):
    detector, graph = default
    frames = [np.roll(astronaut, 9 * i, axis=i % 2) for i in range(4)]
    frames[2] = np.zeros_like(astronaut)
    made = graph(frames)
    assert same(detector.detect(frames), made) >= 3
    assert len(made[2]) == 0
    assert made[0].scores[0] > 0.99


def test_most_faces_are_counted_frame_by_frame(default, astronaut):
    detector, graph = default
    face = astronaut[40:210, 140:310]
    frames = [np.tile(face, (1, 3, 1)), np.roll(np.tile(face, (1, 3, 1)), 40)]
    assert same(detector.detect(frames), graph(frames)) == 4


def test_many_candidates(eager, astronaut):
    detector, graph = eager
    frames = [astronaut[:200, 100:400], astronaut[200:400, 100:400]]
    assert same(detector.detect(frames), graph(frames)) > 10


@pytest.mark.parametrize("shape", [(11, 200), (12, 12), (1, 1), (40, 19)])
def test_small_frames(eager, shape):
    detector, graph = eager
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*shape, 3), np.uint8)]
    same(detector.detect(frames), graph(frames))


def test_a_frame_does_not_depend_on_its_batch(default, astronaut):
    _, graph = default
    frames = [np.roll(astronaut, 30 * i, axis=1) for i in range(3)]
    alone = [graph([frame])[0] for frame in frames]
    assert same(alone, graph(frames)) >= 2


@pytest.mark.parametrize(
    "size, analysed, batch",
    [
        ((360, 640), (360, 640), 16),
        ((1080, 1920), (360, 640), 16),
        # 101 * 640 / 647 is 99.9; 2.5 goes to the even side, as in Python.
        ((101, 647), (100, 640), 16),
        ((5, 1280), (2, 640), 16),
        ((1, 4000), (1, 640), 16),
        ((4000, 300), (4000, 300), 3),
        ((60_000, 500), (60_000, 500), 1),
    ],
)
def test_sizes_of_frames_and_batches(size, analysed, batch):
    detector = GraphDetector(DetectorConfig())
    made = detector.analysed(tf.constant(size))
    assert tuple(made.numpy()) == analysed
    assert detector.batch_frames(tf.constant(size)) == batch
