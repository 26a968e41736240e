"""The parts of ServableValidator: which clips, and what is a difference."""

import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from testing import tfx_artifacts, toy_model

from emorec.errors import EmorecError, ModelError, RecordError
from serving.client.emotion_client import EmotionClient
from serving.server.server import ModelServer
from tfx_pipeline import (
    candidates,
    servable_judges,
    servable_requests,
    servable_server,
)

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


@pytest.mark.parametrize("suffix", [".gz", ".tfrecord", "-00000-of-00001"])
def test_records_below_a_folder_with_any_name(tmp_path, suffix):
    # A glob would take it for a pattern.
    root = tmp_path / "run [2] *"
    parts = [[b"1", b"2"], [b"3"]]
    tfx_artifacts.examples(root, {"eval": parts}, suffix=suffix)
    split = root / "Split-eval"
    (split / "folder").mkdir()
    assert list(candidates.records(str(split))) == [b"1", b"2", b"3"]
    assert list(candidates.records(str(root / "Split-none"))) == []
    last = split / f"eval-00001{suffix}"
    last.write_bytes(b"no records, neither plain nor gzip")
    with pytest.raises(RecordError, match="eval-00001.*not a readable TFRec"):
        list(candidates.records(str(split)))


def test_a_description_that_cannot_be_read_says_nothing(tmp_path):
    path = tmp_path / "assets" / "emorec.json"
    path.mkdir(parents=True)
    with pytest.raises(EmorecError, match="emorec.json: cannot be") as caught:
        candidates.description(str(tmp_path))
    assert not isinstance(caught.value, ModelError)
    path.rmdir()
    path.write_text("{")
    with pytest.raises(ModelError, match="not the description of a model"):
        candidates.description(str(tmp_path))


# The server.


def test_a_binary_is_chosen_without_tensorflow():
    code = (
        "import sys\n"
        "from emorec.errors import UsageError\n"
        "from tfx_pipeline import servable_server\n"
        "assert servable_server.binary_of('embedded') is None\n"
        "servable_server.binary_of('auto')\n"
        "try:\n"
        "    servable_server.binary_of('/no/server')\n"
        "except UsageError as e:\n"
        "    print(e)\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "'/no/server', which is no file that can be run" in done.stdout


def test_a_model_that_a_server_has_given_up_is_told(tmp_path):
    toy_model.save(tmp_path / "base" / "1", ("a", "b"))
    deadline = servable_server.Deadline(60)
    with ModelServer(
        str(tmp_path / "base"), "candidate", port=0, poll_s=0.05
    ) as server:
        address = f"127.0.0.1:{server.port}"
        with EmotionClient(address, model_name="candidate") as client:
            servable_server._check_loads(client)
            damaged = tmp_path / "damaged"
            damaged.mkdir()
            (damaged / "saved_model.pb").write_bytes(b"no graph")
            damaged.rename(tmp_path / "base" / "2")
            while len(client.status()) < 2 or any(
                s.state == "LOADING" for s in client.status()
            ):
                deadline.left()
                time.sleep(0.05)
            with pytest.raises(ModelError, match="does not load the model: "):
                servable_server._check_loads(client)
    with EmotionClient(address, timeout_s=0.5) as client:
        # Nobody answers: nothing is known.
        servable_server._check_loads(client)
