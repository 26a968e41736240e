"""The face detector on ONNX Runtime against the one on TensorFlow."""

import numpy as np
import onnxruntime
import pytest
import skimage.data
import tensorflow as tf

from emorec.config import DetectorConfig, VideoConfig
from emorec.export import names, onnx_convert, onnx_parts
from emorec.video import onnx_engine, reader, tracks
from emorec.video.engine import MEAN_PIXEL
from emorec.video.faces import FaceDetector
from emorec.video.mtcnn_nets import MtcnnNets
from emorec.video.onnx_engine import OnnxEngine

# No reduction of the frames and a deep pyramid; the rest is the default.
DEEP = DetectorConfig(input_width=0, min_face_size=20)


@pytest.fixture(scope="module")
def ours():
    return FaceDetector(DEEP)


@pytest.fixture(scope="module")
def theirs(ours):
    made = onnx_parts.net_parts(MtcnnNets())
    return FaceDetector(
        DEEP,
        OnnxEngine(
            *(
                onnxruntime.InferenceSession(
                    onnx_convert.convert(made[name], name).SerializeToString()
                )
                for name in names.ONNX_NETS
            )
        ),
    )


def both(ours, theirs, frames, config=DEEP) -> tuple[int, float]:
    """Compares two detectors; returns the faces and the least overlap."""
    count, least = 0, 1.0
    for a, b in zip(
        FaceDetector(config, ours.engine).detect(frames),
        FaceDetector(config, theirs.engine).detect(frames),
        strict=True,
    ):
        assert len(a) == len(b)
        count += len(a)
        # Each with its own partner: the order of the scores is the same too.
        overlap = np.diag(tracks.iou_matrix(a.boxes, b.boxes))
        least = min(least, overlap.min(initial=1))
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-3)
        assert b.boxes.dtype == b.scores.dtype == np.float32
    return count, least


def test_the_networks_agree(ours, theirs):
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 61, 47, 3))
    pixels = pixels.astype(np.float32)
    for threshold in (-1.0, 50.0):
        a = ours.engine.pnet(pixels, threshold)
        b = theirs.engine.pnet(pixels, threshold)
        assert len(a[0]) == len(b[0])
        assert (len(a[0]) > 0) == (threshold < 0)
        for x, y in zip(a, b, strict=True):
            assert x.shape == y.shape and x.dtype == y.dtype
            np.testing.assert_allclose(x, y, atol=2e-5)
    for name, size in (("rnet", 24), ("onet", 48)):
        crops = pixels[:, :size, :size]
        crops = np.pad(
            crops, [(0, 0), (0, 0), (0, size - crops.shape[2]), (0, 0)]
        )
        for x, y in zip(
            getattr(ours.engine, name)(crops),
            getattr(theirs.engine, name)(crops),
            strict=True,
        ):
            assert x.shape == y.shape
            np.testing.assert_allclose(x, y, atol=2e-5)


def corners_of(rng, count):
    """Boxes within the frame, over its borders, beside it and around it."""
    low = rng.uniform(-1.2, 1.2, (count, 2))
    return np.concatenate([low, low + rng.uniform(0, 2, (count, 1))], 1).astype(
        np.float32
    )


@pytest.mark.parametrize("size", [24, 48])
@pytest.mark.parametrize("shape", [(37, 64), (1, 5), (90, 13)])
def test_crops_are_those_of_tensorflow(monkeypatch, size, shape):
    rng = np.random.default_rng(0)
    frames = rng.uniform(0, 255, (3, *shape, 3)).astype(np.float32)
    corners = corners_of(rng, 30)
    # The whole frame, a point, and its last row and column.
    corners[:3] = [[0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]]
    index = rng.integers(0, 3, 30).astype(np.int32)
    expected = tf.image.crop_and_resize(
        frames, corners, index, [size, size], extrapolation_value=MEAN_PIXEL
    ).numpy()
    outside = (expected == MEAN_PIXEL).mean()
    assert 0.1 < outside < 0.9
    for chunk in (7, 30, 256):
        monkeypatch.setattr(onnx_engine, "CHUNK", chunk)
        found = onnx_engine.crop_and_resize(frames, corners, index, size)
        assert found.dtype == np.float32
        # Bit for bit where this was written; other builds may fuse a
        # multiplication and an addition.
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert ((found == MEAN_PIXEL) == (expected == MEAN_PIXEL)).all()


def test_no_crops():
    frames = np.zeros((1, 9, 9, 3), np.float32)
    none = np.zeros((0, 4), np.float32)
    found = onnx_engine.crop_and_resize(frames, none, np.zeros(0, np.int32), 24)
    assert found.shape == (0, 24, 24, 3)


def test_photographs_have_the_same_boxes(ours, theirs):
    image = skimage.data.astronaut()
    frames = [np.roll(image, 31 * i, axis=i % 2) for i in range(5)]
    frames[2] = np.zeros_like(image)
    count, least = both(ours, theirs, frames)
    assert count >= 4
    assert least > 0.99
    count, least = both(ours, theirs, frames, DetectorConfig())
    assert count >= 4
    assert least > 0.99


@pytest.mark.parametrize("shape", [(17, 400), (12, 12), (11, 500), (1, 1)])
def test_frames_without_a_face(theirs, shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for found in theirs.detect([noise, noise]):
        assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)


def compare_videos(ours, theirs, paths, most):
    count, least = 0, 1.0
    for path in paths:
        with reader.read_frames(str(path), VideoConfig(fps=2)) as frames:
            images = [f.image for _, f in zip(range(most), frames)]
        found, overlap = both(ours, theirs, images, DetectorConfig())
        count += found
        least = min(least, overlap)
    return count, least


def test_sample_videos_have_the_same_boxes(ours, theirs, sample_set):
    videos = sorted(sample_set.parent.rglob("*.mp4"))[::8]
    count, least = compare_videos(ours, theirs, videos, 2)
    assert count == 2 * len(videos)
    assert least > 0.99


@pytest.mark.real
def test_real_videos_have_the_same_boxes(ours, theirs, test_data):
    videos = sorted((test_data / "clips" / "labelled").glob("*.mp4"))
    count, least = compare_videos(ours, theirs, videos, 2)
    assert count >= 28
    assert least > 0.99


@pytest.mark.real
@pytest.mark.long
def test_every_real_video_has_the_same_boxes(ours, theirs, test_data):
    videos = sorted((test_data / "clips").glob("*/*.[ma][pov][4iv]"))
    count, least = compare_videos(ours, theirs, videos, 24)
    assert len(videos) == 34
    assert count > 300
    assert least > 0.99
