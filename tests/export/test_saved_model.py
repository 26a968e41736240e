"""The exported SavedModel: its answers and its refusals."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from emorec.data import keys, records
from emorec.export import network, signatures
from emorec.training import bundle as bundles

SIGNATURES = {
    "serving_default",
    "feature_examples",
    "features",
    "frames",
    "jpegs",
    "video",
    "classify",
    "describe",
}
ERRORS = (tf.errors.InvalidArgumentError, tf.errors.UnknownError)


@pytest.fixture(scope="module")
def bundle(model_dir):
    return bundles.load(model_dir, use_cudnn=False)


@pytest.fixture(scope="module")
def served(base_path):
    return tf.saved_model.load(str(base_path / "1")).signatures


@dataclasses.dataclass(frozen=True)
class Streams:
    """The two streams of one clip."""

    face: list
    context: list
    record: bytes


@pytest.fixture(scope="module")
def real(prepared) -> list[Streams]:
    """The clips of the test split, 6 frames each."""
    return [
        Streams(
            list(records.many(e, keys.FACE_JPEG)),
            list(records.many(e, keys.CONTEXT_JPEG)),
            e.SerializeToString(),
        )
        for shard in prepared.files("test")
        for e in records.read(shard)
    ]


def cut(clips, lengths) -> list[Streams]:
    """Clips of the given lengths; a long one repeats its frames."""
    made = []
    for clip, n in zip(clips, lengths):
        times = -(-n // len(clip.face))
        made.append(
            Streams((clip.face * times)[:n], (clip.context * times)[:n], b"")
        )
    return made


def padded(rows, length=None) -> np.ndarray:
    length = length or max(map(len, rows))
    return np.array([[*r, *[b""] * (length - len(r))] for r in rows], object)


def encoded(bundle, clips):
    """The features of clips as the model in this process gets them."""
    counts = np.array([len(c.face) for c in clips])
    mask = np.arange(counts.max())[None] < counts[:, None]
    values = {"mask": mask}
    for stream in ("face", "context"):
        encoder = getattr(bundle.encoders, stream)
        array = np.zeros(
            (*mask.shape, *encoder.outputs["features"]), np.float32
        )
        for row, clip in enumerate(clips):
            for step, jpeg in enumerate(getattr(clip, stream)):
                # One frame at a time: nothing in common with the graph's way.
                image = records.decode_jpeg(
                    tf.constant(jpeg), bundle.config.clip.crop_size
                )
                array[row, step] = encoder.encode(image.numpy()[None])[0]
        values[f"{stream}_features"] = array
    return values


def expected(bundle, features):
    outputs = bundle.model(features, training=False)
    return {
        "probabilities": tf.nn.softmax(outputs["logits"]).numpy(),
        "logits": outputs["logits"].numpy(),
        "attention": outputs["attention"].numpy(),
    }


def compare(answer, wanted, rows=slice(None)):
    for key, value in wanted.items():
        np.testing.assert_allclose(
            answer[key].numpy()[rows], value[rows], atol=1e-5, rtol=1e-5
        )


def test_the_signatures_and_their_inputs(served, bundle):
    assert set(served) == SIGNATURES
    for name, signature in signatures.build(bundle).items():
        _, inputs = served[name].structured_input_signature
        assert set(inputs) == {s.name for s in signature.inputs}
        for spec in signature.inputs:
            assert inputs[spec.name].dtype == spec.dtype
            assert inputs[spec.name].shape.as_list() == spec.shape.as_list()


@pytest.mark.parametrize(
    "lengths",
    [(1,), (6,), (32,), (1, 6, 3), (32, 2, 31, 5)],
    ids=lambda v: "-".join(map(str, v)),
)
def test_jpegs_and_features_answer_as_the_model_does(
    served, bundle, real, lengths
):
    # 32 + 2 + 31 + 5 frames are more than CHUNK_FRAMES: two rounds of it.
    clips = cut(real, lengths)
    features = encoded(bundle, clips)
    wanted = expected(bundle, features)
    compare(
        served["features"](**{k: tf.constant(v) for k, v in features.items()}),
        wanted,
    )
    answer = served["jpegs"](
        face=tf.constant(padded([c.face for c in clips])),
        context=tf.constant(padded([c.context for c in clips])),
    )
    compare(answer, wanted)
    np.testing.assert_allclose(answer["probabilities"].numpy().sum(1), 1, 1e-5)
    names = [n.encode() for n in bundle.labels.names]
    assert answer["labels"].numpy().tolist() == [names] * len(lengths)
    longest = max(lengths)
    assert answer["attention"].shape == (len(lengths), longest, longest)


def test_records_answer_as_their_jpegs_do(served, bundle, real):
    assert sum(len(c.face) for c in real) < network.CHUNK_FRAMES
    wanted = expected(bundle, encoded(bundle, real))
    for rows in (slice(0, 1), slice(0, 3), slice(None)):
        answer = served["serving_default"](
            examples=tf.constant([c.record for c in real[rows]])
        )
        compare(answer, {k: v[rows] for k, v in wanted.items()})


def test_records_of_features_answer_as_records_of_frames(served, bundle, real):
    features = encoded(bundle, real)
    made = []
    for row, clip in enumerate(real):
        example = tf.train.Example.FromString(clip.record)
        for key, name in (
            (keys.FACE_FEATURES, "face_features"),
            (keys.CONTEXT_FEATURES, "context_features"),
        ):
            values = features[name][row, : len(clip.face)]
            example.features.feature[key].float_list.value.extend(
                values.reshape(-1)
            )
        for key in (keys.FACE_JPEG, keys.CONTEXT_JPEG):
            del example.features.feature[key]
        made.append(example.SerializeToString())
    compare(
        served["feature_examples"](examples=tf.constant(made)),
        expected(bundle, features),
    )


def test_features_of_another_encoder_are_refused(served, bundle, real):
    """They have the right shape and mean nothing."""
    features = encoded(bundle, real[:1])
    example = tf.train.Example.FromString(real[0].record)
    feature = example.features.feature
    for name in bundle.inputs:
        feature[keys.feature_key(name)].float_list.value.extend(
            features[name].reshape(-1)
        )
    for stream, encoder in bundle.encoders.items():
        feature[keys.encoder_key(stream)].bytes_list.value.append(
            encoder.hash.encode()
        )
    served["feature_examples"](examples=[example.SerializeToString()])
    for stream, encoder in bundle.encoders.items():
        other = tf.train.Example.FromString(example.SerializeToString())
        value = other.features.feature[keys.encoder_key(stream)].bytes_list
        value.value[0] = b"0123456789abcdef"
        refused(
            served["feature_examples"],
            f"`{stream}/encoder` must be {encoder.hash}: these features are "
            "of another encoder",
            examples=[other.SerializeToString()],
        )


def test_padding_changes_nothing(served, real):
    clips = cut(real, (5, 2))
    answers = [
        served["jpegs"](
            face=tf.constant(padded([c.face for c in clips], length)),
            context=tf.constant(padded([c.context for c in clips], length)),
        )["logits"].numpy()
        for length in (5, 11)
    ]
    np.testing.assert_allclose(*answers, atol=1e-6)


def test_a_clip_without_a_frame_has_probabilities_0(served, bundle, real):
    clips = cut(real, (3, 0, 4))
    wanted = expected(bundle, encoded(bundle, clips))
    face = padded([c.face for c in clips])
    context = padded([c.context for c in clips])
    answer = served["jpegs"](
        face=tf.constant(face), context=tf.constant(context)
    )
    assert (answer["probabilities"].numpy()[1] == 0).all()
    assert (answer["attention"].numpy()[1] == 0).all()
    assert np.isfinite(answer["logits"].numpy()).all()
    compare(answer, wanted, rows=[0, 2])
    # The same where the whole request has no frame, and no step either.
    for length in (3, 0):
        answer = served["jpegs"](
            face=tf.fill((2, length), ""), context=tf.fill((2, length), "")
        )
        assert (answer["probabilities"].numpy() == 0).all()
        assert answer["probabilities"].shape == (2, len(bundle.labels))
    example = tf.train.Example.FromString(real[0].record)
    for key in (
        keys.FACE_JPEG,
        keys.CONTEXT_JPEG,
        keys.FRAME_TIME,
        keys.FRAME_BOX,
    ):
        example.features.feature[key].Clear()
    example.features.feature[keys.FRAMES_WITH_FACE].int64_list.value[0] = 0
    empty = example.SerializeToString()
    answer = served["serving_default"](examples=tf.constant([empty]))
    assert (answer["probabilities"].numpy() == 0).all()
    answer = served["serving_default"](
        examples=tf.constant([real[0].record, empty])
    )
    assert (answer["probabilities"].numpy()[1] == 0).all()
    assert answer["probabilities"].numpy()[0].sum() == pytest.approx(1, 1e-5)


def test_describe_gives_a_row_for_each_query(served, bundle):
    rows = served["describe"](query=tf.constant([b"", b"x"]))["config"].numpy()
    assert [json.loads(r) for r in rows] == [bundle.describe()] * 2


def refused(function, message, **inputs):
    with pytest.raises(ERRORS) as caught:
        function(**{k: tf.constant(v) for k, v in inputs.items()})
    assert message in str(caught.value)


HOLES = "`mask` must be a prefix mask: True n times, then False"


@pytest.mark.parametrize(
    "mask",
    [
        [[True, False, True]],
        [[False, True, True]],
        [[True, True, True], [False, False, True]],
    ],
)
def test_a_mask_with_holes_is_refused(served, bundle, mask):
    shape = np.shape(mask)
    refused(
        served["features"],
        HOLES,
        mask=mask,
        **{
            name: np.zeros((*shape, *bundle.encoders.shapes[name]), np.float32)
            for name in bundle.inputs
        },
    )


def test_features_of_unequal_lengths_are_refused(served, bundle):
    dims = {"face": 128, "context": 512}
    for stream, steps, rows in (("face", 2, 1), ("context", 3, 2)):
        sizes = {"face": (1, 3), "context": (1, 3), stream: (rows, steps)}
        refused(
            served["features"],
            f"`mask` and `{stream}_features` must have equal batch sizes and "
            "lengths",
            mask=[[True, True, True]],
            **{
                f"{k}_features": np.zeros((*sizes[k], d), np.float32)
                for k, d in dims.items()
            },
        )


def test_bad_jpegs_are_refused(served, real):
    a, b = real[0].face[0], real[0].context[0]
    jpegs = served["jpegs"]
    refused(
        jpegs,
        "`face` must hold its frames first, then empty strings as padding",
        face=[[a, b"", a]],
        context=[[b, b"", b]],
    )
    refused(
        jpegs,
        "`face` and `context` must have frames at the same steps",
        face=[[a, a]],
        context=[[b, b""]],
    )
    refused(
        jpegs,
        "`face` and `context` must have equal batch sizes and lengths",
        face=[[a, a]],
        context=[[b]],
    )
    refused(jpegs, "", face=[[a[: len(a) // 3]]], context=[[b]])


def test_a_record_without_its_keys_is_refused(served, real):
    refused(served["serving_default"], keys.CLIP_START, examples=[b""])
    refused(served["serving_default"], "parse", examples=[b"no record"])
