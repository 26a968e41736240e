"""The parts of ServableValidator: which clips, and what is a difference."""

import numpy as np
import pytest
import tensorflow as tf
from testing import tfx_artifacts

from tfx_pipeline import servable_judges, servable_requests

# How answers are compared.


@pytest.mark.parametrize(
    "found, message",
    [
        (None, "gives no `p`"),
        ([[0.5]], "`p` has the shape [1, 1], not [1, 2]"),
        ([[0.502, 0.498]], "`p` differs by 0.002, 0.001 is allowed"),
        ([[np.nan, 0.5]], "`p` is not finite"),
        ([[0.5, np.inf]], "`p` is not finite"),
    ],
)
def test_a_difference_is_refused(found, message):
    wanted = np.array([[0.5, 0.5]], np.float32)
    found = found and np.array(found, np.float32)
    with pytest.raises(servable_judges.Refusal) as caught:
        servable_judges._difference("p", found, wanted, 1e-3)
    assert str(caught.value) == message


def test_a_small_difference_is_told():
    wanted = np.array([100.0, 1.0], np.float32)
    found = wanted + np.array([0.0, 0.0625], np.float32)
    # Of 100, a thousandth is 0.1.
    assert servable_judges._difference("x", found, wanted, 1e-3) == 0.0625
    words = np.array([b"a"], object)
    assert servable_judges._difference("w", words, words, 0) is None
    with pytest.raises(servable_judges.Refusal, match="`w` is not the same"):
        servable_judges._difference("w", words, np.array([b"b"], object), 0)


# Which clips are sent.


def clip(id_, frames):
    feature = {
        "clip/id": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[id_.encode()])
        ),
        "frame/time": tf.train.Feature(
            float_list=tf.train.FloatList(
                value=[0.1 * i for i in range(frames)]
            )
        ),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=feature)
    ).SerializeToString()


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"max_clips": 1}, ["b"]),
        ({"max_clips": 2}, ["b", "a"]),
        ({"max_clips": 3}, ["b", "d", "a"]),
        ({"max_clips": 8}, ["b", "d", "e", "a"]),
        ({"max_clips": 8, "split": "train"}, ["t"]),
    ],
)
def test_clips_with_a_face_come_first(tmp_path, given, expected):
    made = [clip("a", 0), clip("b", 2), clip("c", 0), clip("d", 1)]
    examples = tfx_artifacts.examples(
        tmp_path / "examples",
        {
            "train": [[clip("t", 1)]],
            "validation": [[]],
            "test": [made, [clip("e", 3)]],
        },
    )
    given = {"split": "", **given}
    samples = servable_requests.gather(examples, None, None, **given)
    assert samples.features == ()
    assert samples.expected is None
    found = [tf.train.Example.FromString(f) for f in samples.frames]
    assert expected == [
        e.features.feature["clip/id"].bytes_list.value[0].decode()
        for e in found
    ]
