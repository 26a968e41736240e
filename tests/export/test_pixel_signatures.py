"""The signatures `frames`, `video` and `classify` of an export."""

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    prediction_service_pb2_grpc,
)
from testing import videos

from emorec import local_backend, predict
from emorec.data import keys, records
from emorec.export import made_up, network
from emorec.training import bundle as bundles
from emorec.training import graphs
from emorec.video import faces, reader
from emorec.video.clip import encode_jpeg
from serving.server.saved_model import LoadedModel
from serving.server.server import ModelServer

ANSWERS = ("probabilities", "logits", "attention")


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture(scope="module")
def model(base_path):
    model = LoadedModel(str(base_path / "1"))
    yield model
    model.close()


@pytest.fixture(scope="module")
def examples(prepared) -> list[tf.train.Example]:
    return list(records.read(prepared.files("test")[0]))


def run(model, signature, inputs, outputs=None):
    outputs = outputs or sorted(model.signatures[signature].outputs)
    return model.run(signature, inputs, outputs)


def same(a, b, keys=ANSWERS, atol=1e-6):
    for key in keys:
        np.testing.assert_allclose(a[key], b[key], atol=atol, rtol=1e-5)


def pixels(jpegs):
    """Decodes JPEGs [B][T] of one size."""
    images = [[records.decode(j).numpy() for j in row] for row in jpegs]
    longest = max(map(len, images))
    made = np.full((len(images), longest, *images[0][0].shape), 77, np.uint8)
    for row, values in zip(made, images, strict=True):
        row[: len(values)] = values
    return made


def as_frames(streams):
    counts = [len(row) for row in streams["face"]]
    mask = np.arange(max(counts))[None] < np.array(counts)[:, None]
    return {**{k: pixels(v) for k, v in streams.items()}, "mask": mask}


def as_jpegs(streams):
    longest = max(map(len, streams["face"]))
    return {k: made_up.padded(v, longest) for k, v in streams.items()}


def test_frames_answer_as_their_jpegs_do(model, examples):
    crops = {
        s: [list(records.many(e, keys.jpeg_key(s))) for e in examples]
        for s in ("face", "context")
    }
    # One clip; several of unequal lengths; more than a chunk.
    for rows in (
        lambda v: [v[0][:1]],
        lambda v: [v[0][:4], v[1][:2], v[2][:6]],
        lambda v: [v[0] * 6, v[1] * 6],
    ):
        streams = {k: rows(v) for k, v in crops.items()}
        answer = run(model, "frames", as_frames(streams))
        same(answer, run(model, "jpegs", as_jpegs(streams)))
        assert answer["probabilities"].max() > 0
    assert sum(map(len, streams["face"])) > network.CHUNK_FRAMES


def test_frames_of_any_size_are_resized_as_jpegs_are(model):
    rng = np.random.default_rng(3)

    def crop(height, width):
        small = rng.integers(0, 255, (6, 6, 3), np.uint8)
        return encode_jpeg(cv2.resize(small, (width, height)), 95)

    streams = {
        "face": [[crop(48, 48), crop(48, 48)], [crop(48, 48)]],
        "context": [[crop(300, 400), crop(300, 400)], [crop(300, 400)]],
    }
    same(
        run(model, "frames", as_frames(streams)),
        run(model, "jpegs", as_jpegs(streams)),
    )


def test_frames_without_a_clip(model, bundle):
    for mask in (np.zeros((2, 3), bool), np.zeros((1, 0), bool)):
        crops = np.ones((*mask.shape, 4, 4, 3), np.uint8)
        answer = run(
            model, "frames", {"face": crops, "context": crops, "mask": mask}
        )
        assert answer["probabilities"].shape == (len(mask), len(bundle.labels))
        assert not answer["probabilities"].any()


@pytest.mark.long
def test_a_server_classifies(base_path, bundle, examples):
    """The API's Classify, as a client of TensorFlow Serving calls it."""
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "emotion"
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.extend(examples[:2])
    with (
        ModelServer(str(base_path), "emotion", port=0) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Classify(request, timeout=120, wait_for_ready=True)
    served = tf.saved_model.load(str(base_path / "1"))
    wanted = served.signatures["serving_default"](
        examples=tf.constant(made_up.serialized(examples[:2]))
    )
    rows = response.result.classifications
    assert [[c.label for c in row.classes] for row in rows] == [
        list(bundle.labels.names)
    ] * 2
    np.testing.assert_allclose(
        [[c.score for c in row.classes] for row in rows],
        wanted["probabilities"].numpy(),
        atol=1e-6,
    )


def test_video_answers_as_predict_does(model, bundle, sample_set, tmp_path):
    """On the same pixels: a JPEG's, which a lossless video brings back."""
    config = bundle.config
    source = sorted(sample_set.parent.rglob("*.mp4"))[0]
    with reader.read_frames(str(source), config.video) as frames:
        jpegs = [encode_jpeg(f.image, 95) for f in frames]
    shown = [records.decode(j).numpy() for j in jpegs]
    height, width, _ = shown[0].shape
    lossless = videos.write_video(
        tmp_path / "lossless.mkv",
        fps=config.video.fps,
        size=(width, height),
        codec="ffv1",
        pix_fmt="bgr0",
        pictures=shown,
    )
    (wanted,) = predict.predict_video(
        str(lossless),
        local_backend.LocalBackend(graphs.of(bundle).with_bfloat16("none")),
        faces.FaceDetector(config.detector),
        people="main",
    )
    times = np.arange(len(jpegs), dtype=np.float32) / config.video.fps
    answer = run(
        model,
        "video",
        {"frames": made_up.padded([jpegs], len(jpegs)), "times": times[None]},
    )
    found = answer["mask"][0]
    assert found.sum() >= 3
    np.testing.assert_allclose(times[found], wanted.clip.times, atol=2e-3)
    np.testing.assert_allclose(
        answer["boxes"][0, found], wanted.clip.boxes, atol=0.01
    )
    assert not answer["boxes"][0, ~found].any()
    np.testing.assert_allclose(
        answer["probabilities"][0], wanted.answer.probabilities, atol=1e-3
    )


def test_video_without_a_face(model, bundle):
    frames, times = made_up.whole_frames(["...", ""], 4, bundle.config)
    answer = run(model, "video", {"frames": frames, "times": times})
    assert answer["mask"].tolist() == [[False] * 4] * 2
    assert not answer["boxes"].any()
    assert not answer["probabilities"].any()
    assert np.isfinite(answer["logits"]).all()


def test_padding_of_a_video_changes_nothing(model, bundle):
    frames, times = made_up.whole_frames(["F.FF"], 7, bundle.config)
    short = {"frames": frames[:, :4], "times": times[:, :4]}
    answers = [
        run(model, "video", inputs)
        for inputs in (short, {"frames": frames, "times": times})
    ]
    same(*answers, keys=("probabilities", "logits"))
    assert answers[1]["mask"].tolist() == [
        [True, False, True, True, False, False, False]
    ]
    np.testing.assert_allclose(
        answers[0]["boxes"], answers[1]["boxes"][:, :4], atol=1e-4
    )


@pytest.mark.parametrize(
    "change, rule",
    [
        (
            {"frames": np.array([[b"x", b""]], object)},
            "`frames` must hold JPEG images or empty strings",
        ),
        (
            {"frames": np.array([b"x"], object)},
            "`frames` must have the shape [B, T]",
        ),
        (
            {"times": np.zeros((1, 3), np.float32)},
            "`frames` and `times` must have equal batch sizes and lengths",
        ),
    ],
)
def test_videos_that_are_refused(model, bundle, change, rule):
    frames, times = made_up.whole_frames(["FF"], 2, bundle.config)
    inputs = {"frames": frames, "times": times, **change}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        run(model, "video", inputs)
    assert str(caught.value).startswith(f"assertion failed: [{rule}]")
