"""What each signature refuses, as a model server runs it.

A server's session holds no request against a signature's shapes, so that the
graph has to.
"""

import numpy as np
import pytest
import tensorflow as tf

from emorec.data import keys, records
from emorec.export import limits
from emorec.training import bundle as bundles
from serving.client.emotion_client import EmotionClient
from serving.client.errors import BadRequest
from serving.server.saved_model import LoadedModel
from serving.server.server import ModelServer

STEPS = 3


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture(scope="module")
def model(base_path):
    model = LoadedModel(str(base_path / "1"))
    yield model
    model.close()


@pytest.fixture(scope="module")
def example(prepared) -> tf.train.Example:
    """A record of frames."""
    return next(iter(records.read(prepared.files("test")[0])))


@pytest.fixture(scope="module")
def good(bundle, example) -> dict[str, dict[str, np.ndarray]]:
    """A request to each signature that is answered."""
    shape = (2, STEPS)
    mask = np.array([[True] * STEPS, [True, False, False]])
    features = {
        name: np.ones((*shape, *bundle.encoders.shapes[name]), np.float32)
        for name in bundle.inputs
    }
    described = tf.train.Example.FromString(example.SerializeToString())
    count = records.one(example, keys.FRAMES_WITH_FACE)
    for name in bundle.inputs:
        size = count * int(np.prod(bundle.encoders.shapes[name]))
        value = described.features.feature[keys.feature_key(name)].float_list
        value.value.extend([0.5] * size)
    jpegs = {}
    for stream in bundle.streams:
        face = records.many(example, keys.jpeg_key(stream))
        jpegs[stream] = np.array([face[:STEPS], [face[0], b"", b""]], object)
    frames = strings(example, example)
    return {
        "features": {**features, "mask": mask},
        "frames": {
            **{s: np.full((*shape, 5, 7, 3), 9, np.uint8) for s in jpegs},
            "mask": mask,
        },
        "jpegs": jpegs,
        "serving_default": {"examples": frames},
        "classify": {"inputs": frames},
        "feature_examples": {"examples": strings(described, described)},
        "describe": {"query": np.array([b""], object)},
    }


def strings(*examples):
    return np.array([e.SerializeToString() for e in examples], object)


def refused(model, signature, inputs, rule):
    """Runs a request; the rule must be the first that is said."""
    outputs = sorted(model.signatures[signature].outputs)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        model.run(signature, inputs, outputs)
    assert str(caught.value).startswith(f"assertion failed: [{rule}]")


def test_the_good_requests_are_answered(model, good):
    for signature, inputs in good.items():
        outputs = sorted(model.signatures[signature].outputs)
        answer = model.run(signature, inputs, outputs)
        assert len(answer[outputs[0]]) == len(next(iter(inputs.values())))


FLAT = np.array([b"x"], object)


@pytest.mark.parametrize(
    "signature, name, value, shape",
    [
        ("features", "face_features", np.ones((2, 3), "f"), "B, T, 128"),
        ("features", "face_features", np.ones((2, 3, 64), "f"), "B, T, 128"),
        (
            "features",
            "context_features",
            np.ones((2, 3, 512, 1), "f"),
            "B, T, 512",
        ),
        ("features", "mask", np.ones(2, bool), "B, T"),
        ("features", "mask", np.ones((2, 3, 1), bool), "B, T"),
        ("frames", "face", np.ones((2, 3, 5, 7), "u1"), "B, T, h, w, 3"),
        ("frames", "context", np.ones((2, 3, 5, 7, 1), "u1"), "B, T, h, w, 3"),
        ("frames", "mask", np.array(True), "B, T"),
        ("jpegs", "face", FLAT, "B, T"),
        ("jpegs", "context", FLAT[None, None], "B, T"),
        ("serving_default", "examples", FLAT[None], "B"),
        ("classify", "inputs", np.array(b"x", object), "B"),
        ("feature_examples", "examples", FLAT[None], "B"),
        ("describe", "query", FLAT[None], "B"),
    ],
)
def test_inputs_of_another_shape(model, good, signature, name, value, shape):
    refused(
        model,
        signature,
        {**good[signature], name: value},
        f"`{name}` must have the shape [{shape}]",
    )


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row, step", [(0, 1), (1, 2)], ids=["step", "padding"])
def test_features_that_are_no_numbers(model, good, wrong, row, step):
    for name in ("face_features", "context_features"):
        values = good["features"][name].copy()
        values[row, step, 3] = wrong
        refused(
            model,
            "features",
            {**good["features"], name: values},
            f"`{name}` must hold finite numbers",
        )


@pytest.mark.parametrize("signature", ["features", "frames"])
def test_masks_that_do_not_fit(model, good, signature):
    inputs = good[signature]
    other = sorted(set(inputs) - {"mask"})
    for mask, rule in (
        (np.ones((2, STEPS + 1), bool), "equal batch sizes and lengths"),
        (np.ones((1, STEPS), bool), "equal batch sizes and lengths"),
        (np.array([[True, False, True]] * 2), "a prefix mask"),
    ):
        outputs = ["probabilities"]
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            model.run(signature, {**inputs, "mask": mask}, outputs)
        text = str(caught.value)
        assert text.startswith("assertion failed: [`mask` ")
        assert rule in text
    # One stream of another count of frames.
    for name in other:
        refused(
            model,
            signature,
            {**inputs, name: inputs[name][:, :1]},
            f"`mask` and `{name}` must have equal batch sizes and lengths",
        )


@pytest.mark.parametrize("steps", [limits.MAX_STEPS + 1, 10_000])
def test_too_many_steps(model, bundle, example, steps):
    rule = f"must have at most {limits.MAX_STEPS} steps"
    mask = np.zeros((1, steps), bool)
    wide = {
        name: np.zeros((1, steps, *bundle.encoders.shapes[name]), np.float32)
        for name in bundle.inputs
    }
    refused(model, "features", {**wide, "mask": mask}, f"`mask` {rule}")
    pixels = {s: np.ones((1, steps, 1, 1, 3), "u1") for s in bundle.streams}
    refused(model, "frames", {**pixels, "mask": mask}, f"`mask` {rule}")
    empty = np.full((1, steps), b"", object)
    refused(
        model, "jpegs", dict.fromkeys(bundle.streams, empty), f"`face` {rule}"
    )
    # Records are sampled more densely.
    most = limits.MAX_STEPS * bundle.config.data.train_phases
    example = tf.train.Example.FromString(example.SerializeToString())
    times = example.features.feature[keys.FRAME_TIME].float_list.value
    times.extend(np.arange(most + 1))
    refused(
        model,
        "serving_default",
        {"examples": strings(example)},
        f"`{keys.FRAME_TIME}` must have at most {most} steps",
    )


def test_as_many_steps_as_are_allowed():
    limits.steps(tf.zeros((1, limits.MAX_STEPS)), "x")
    with pytest.raises(tf.errors.InvalidArgumentError, match="`x` must have"):
        limits.steps(tf.zeros((1, limits.MAX_STEPS + 1)), "x")


def test_pictures_without_pixels(model, good):
    inputs = good["frames"]
    refused(
        model,
        "frames",
        {**inputs, "context": inputs["context"][:, :, :0]},
        f"`context` must hold pictures of 1 to {records.MAX_JPEG_PIXELS} "
        "pixels",
    )


@pytest.mark.parametrize("stream", ["face", "context"])
def test_jpegs_that_are_none_or_cut_short(model, good, example, stream, capfd):
    whole = good["jpegs"][stream][0, 1]
    key = keys.jpeg_key(stream)
    for wrong, rule in (
        (b"no picture", "must hold JPEG images or empty strings"),
        (b"\xff\xd8", "must hold JPEG images or empty strings"),
        (whole[: len(whole) // 2], "must hold whole JPEG images"),
        (whole[:-2], "must hold whole JPEG images"),
    ):
        if "whole" in rule:
            rule += ": one is cut short"
        values = good["jpegs"][stream].copy()
        values[0, 1] = wrong
        refused(
            model,
            "jpegs",
            {**good["jpegs"], stream: values},
            f"`{stream}` {rule}",
        )
        record = tf.train.Example.FromString(example.SerializeToString())
        record.features.feature[key].bytes_list.value[2] = wrong
        for signature, name in (
            ("serving_default", "examples"),
            ("classify", "inputs"),
        ):
            refused(
                model,
                signature,
                {name: strings(example, record)},
                f"`{key}` {rule}",
            )
    assert "JPEG" not in capfd.readouterr().err, "libjpeg was asked"


def test_bytes_behind_a_jpeg_are_no_fault(model, good):
    inputs = dict(good["jpegs"])
    answers = [model.run("jpegs", inputs, ["logits"])["logits"]]
    inputs["face"] = inputs["face"].copy()
    inputs["face"][0, 1] += b"\0" * 200
    answers.append(model.run("jpegs", inputs, ["logits"])["logits"])
    np.testing.assert_array_equal(*answers)


def test_damage_that_only_the_decoder_sees(model, good):
    """The node's name tells the input and the rule then."""
    for stream, values in good["jpegs"].items():
        values = values.copy()
        values[0, 1] = b"\xff\xd8\xff" + b"\0" * 99 + b"\xff\xd9"
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            model.run("jpegs", {**good["jpegs"], stream: values}, ["logits"])
        assert f"{stream}_must_hold_whole_JPEG_images" in str(caught.value)


@pytest.mark.parametrize(
    "key, signature, what",
    [
        (keys.FACE_JPEG, "serving_default", "images"),
        (keys.CONTEXT_JPEG, "serving_default", "images"),
        (keys.FRAME_TIME, "serving_default", "finite times"),
        (keys.FRAME_TIME, "feature_examples", "finite times"),
        (keys.FACE_FEATURES, "feature_examples", "steps of finite numbers"),
    ],
)
def test_records_of_another_count_of_frames(model, good, key, signature, what):
    rule = f"`{key}` must hold `frames/with_face` {what}"
    (data,) = good[signature]["examples"][:1]
    whole = tf.train.Example.FromString(data)
    values = list(records.many(whole, key))
    step = 128 if key == keys.FACE_FEATURES else 1
    for changed in (values[:-step], values + values[:step], []):
        record = tf.train.Example.FromString(data)
        held = record.features.feature[key]
        held = getattr(held, held.WhichOneof("kind"))
        del held.value[:]
        held.value.extend(changed)
        # Alone, and where a longer record leaves room.
        for rows in ((record,), (record, whole)):
            refused(model, signature, {"examples": strings(*rows)}, rule)
    for count in (-1, 2**32 + len(values)):
        record = tf.train.Example.FromString(data)
        held = record.features.feature[keys.FRAMES_WITH_FACE].int64_list
        held.value[0] = count
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="must hold `frames/with_face`"
        ):
            model.run(signature, {"examples": strings(record)}, ["logits"])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_records_with_numbers_that_are_none(model, good, wrong):
    for key, signature, rule in (
        (keys.FRAME_TIME, "serving_default", "`frames/with_face` finite times"),
        (
            keys.CONTEXT_FEATURES,
            "feature_examples",
            "`frames/with_face` steps of finite numbers",
        ),
        (keys.CLIP_START, "serving_default", "finite numbers"),
    ):
        record = tf.train.Example.FromString(good[signature]["examples"][0])
        record.features.feature[key].float_list.value[0] = wrong
        refused(
            model,
            signature,
            {"examples": strings(record)},
            f"`{key}` must hold {rule}",
        )


@pytest.mark.long
def test_a_client_is_told_the_rule(base_path, good, capfd):
    """The same over gRPC: the rule first, no node of a loop."""
    features = dict(good["features"])
    features["face_features"] = features["face_features"] * np.nan
    jpegs = {**good["jpegs"], "face": good["jpegs"]["face"].copy()}
    jpegs["face"][0, 1] = b"x"
    with (
        ModelServer(str(base_path), "emotion", port=0) as server,
        EmotionClient(f"127.0.0.1:{server.port}", "emotion", 60.0) as client,
    ):
        client.wait_ready(60)
        for signature, inputs, rule in (
            ("features", features, "`face_features` must hold finite numbers"),
            ("jpegs", jpegs, "`face` must hold JPEG images"),
        ):
            with pytest.raises(BadRequest) as caught:
                client.predict(signature, inputs)
            wanted = f"INVALID_ARGUMENT: assertion failed: [{rule}"
            assert wanted in str(caught.value)
            assert "while" not in str(caught.value)
            # The server lives.
            client.predict(signature, good[signature])
    assert "JPEG" not in capfd.readouterr().err
