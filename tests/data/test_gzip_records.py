"""Records in gzip, for which a file's name asks."""

import gzip
import struct

import numpy as np
import pytest
from testing import features

from emorec.config import Config
from emorec.data import input_pipeline, keys, records
from emorec.errors import RecordError
from emorec.features import extract

CLIPS = features.clips_of("c", [0, 1, 2, 0, 1])
_TRAILER = 8  # CRC-32 and size, of 4 bytes each.


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "x.tfrecord.gz"
    records.write(path, (clip.example() for clip in CLIPS))
    return path


def ids(found) -> list[str]:
    return [records.one(record, keys.CLIP_ID) for record in found]


def borders(data: bytes) -> list[int]:
    """Where each record of a TFRecord file ends."""
    ends, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        at += length + 16
        ends.append(at)
    return ends


def test_the_content_is_that_of_a_plain_file(shard, tmp_path):
    plain = features.write(tmp_path / "x.tfrecord", CLIPS)
    with open(plain, "rb") as f:
        content = f.read()
    assert gzip.decompress(shard.read_bytes()) == content
    assert list(records.read(shard)) == list(records.read(plain))
    assert ids(records.read(shard)) == [clip.id for clip in CLIPS]
    # The temporary file has another suffix; it is gone.
    assert {p.name for p in tmp_path.iterdir()} == {
        "x.tfrecord",
        "x.tfrecord.gz",
    }


def test_no_records_are_a_whole_file_too(tmp_path):
    path = tmp_path / "x.tfrecord.gz"
    assert records.write(path, []) == 0
    assert gzip.decompress(path.read_bytes()) == b""
    assert list(records.read(path)) == []


def fault(path) -> str:
    with pytest.raises(RecordError) as e:
        list(records.read(path))
    message = str(e.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-_TRAILER],
        lambda data: data[: len(data) // 2],
        lambda data: data[:5],
        lambda data: b"",
        lambda data: data + b"\0" * 5,
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
        gzip.decompress,
        lambda data: gzip.compress(b"video,label\na.mp4,sad\n" * 9),
    ],
    ids="byte trailer half header empty tail flipped plain csv".split(),
)
def test_a_damaged_file_is_named(shard, damage):
    shard.write_bytes(damage(shard.read_bytes()))
    message = fault(shard)
    assert message.startswith(f"{shard}: not a readable TFRecord file (")
    assert message.endswith(
        "); delete it and run the command that wrote it again"
    )


def test_a_file_cut_anywhere_is_found(shard):
    whole = shard.read_bytes()
    for length in range(len(whole) - 40, len(whole)):
        shard.write_bytes(whole[:length])
        fault(shard)


def test_a_file_cut_where_a_record_ends_is_found(shard):
    """TensorFlow reads such a file without a complaint."""
    content = gzip.decompress(shard.read_bytes())
    assert len(borders(content)) == len(CLIPS)
    for end in [0, *borders(content)[:-1]]:
        # Not compressed: then a file can be cut at any of its bytes.
        stored = gzip.compress(content, compresslevel=0)
        shard.write_bytes(stored[: stored.index(content[:64]) + end])
        found = list(records.open_files([shard]).as_numpy_iterator())
        assert len(found) < len(CLIPS)
        assert "truncated record" in fault(shard)


def test_files_of_both_kinds_are_read_in_order(shard, tmp_path):
    plain = features.write(tmp_path / "y.tfrecord", CLIPS[:2])
    data = records.open_files([plain, shard, shard, plain])
    found = [clip.example() for clip in [*CLIPS[:2], *CLIPS * 2, *CLIPS[:2]]]
    assert list(data.as_numpy_iterator()) == [
        example.SerializeToString() for example in found
    ]


def test_training_sees_the_same_batches(shard, tmp_path):
    plain = features.write(tmp_path / "x.tfrecord", CLIPS)
    config = Config().override(["train.batch_size=2"])
    first, second = (
        list(
            input_pipeline.training_epoch(
                features.sources([path]), config, 0, 0
            ).as_numpy_iterator()
        )
        for path in (plain, str(shard))
    )
    assert len(first) == 3
    for (ours, labels), (theirs, other) in zip(first, second, strict=True):
        np.testing.assert_array_equal(labels, other)
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name])


def test_features_are_read_from_gzip_and_written_to_it(
    prepared, encoders, tmp_path
):
    (source,) = prepared.files("test")
    zipped = tmp_path / "frames.tfrecord.gz"
    records.write(zipped, list(records.read(source))[:2])
    inputs, config = ["face_probabilities"], Config()
    only = encoders.only(inputs)
    found = []
    for name in ("a.tfrecord", "a.tfrecord.gz"):
        path = tmp_path / name
        assert extract.extract_shard(zipped, path, only, inputs, config) == 2
        found.append(list(records.read(path)))
    assert found[0] == found[1]
    assert len(gzip.decompress(path.read_bytes())) == (
        (tmp_path / "a.tfrecord").stat().st_size
    )
