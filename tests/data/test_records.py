"""Records: there and back, written atomically, refused when damaged."""

import os
import signal

import cv2
import numpy as np
import pytest
import tensorflow as tf

from emorec.data import files, keys, records
from emorec.errors import EmorecError, RecordError
from emorec.video.clip import Clip, encode_jpeg

RNG = np.random.default_rng(0)


def picture(height=48, width=48) -> np.ndarray:
    small = RNG.integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(small, (width, height))


def clip_of(n=3) -> Clip:
    return Clip(
        track=4,
        window=2,
        start=8.0,
        end=12.0,
        times=np.float32([8 + i / 8 for i in range(n)]),
        boxes=RNG.uniform(0, 99, (n, 4)).astype(np.float32),
        face=tuple(encode_jpeg(picture(), 95) for _ in range(n)),
        context=tuple(encode_jpeg(picture(), 95) for _ in range(n)),
        frames_total=7,
        frame_size=(640, 360),
    )


def example(name="clip", **kwargs) -> tf.train.Example:
    return records.to_example(clip_of(), clip_id=name, **kwargs)


def test_round_trip(tmp_path):
    clip = clip_of()
    made = records.to_example(
        clip,
        clip_id="film-1/t4/w2",
        label="sad",
        label_id=1,
        source="films",
        identity="Zoë",
        video_path="films/a b.mp4",
        video_sha256="ab" * 32,
        config_hash="0123456789abcdef",
    )
    path = tmp_path / "x.tfrecord"
    assert records.write(path, [made, example("second")]) == 2
    found, second = records.read(path)
    assert found == made
    assert records.one(second, keys.CLIP_ID) == "second"
    singles = {
        keys.CLIP_ID: "film-1/t4/w2",
        keys.CLIP_SOURCE: "films",
        keys.CLIP_IDENTITY: "Zoë",
        keys.CLIP_START: 8.0,
        keys.CLIP_END: 12.0,
        keys.CLIP_LABEL: "sad",
        keys.CLIP_LABEL_ID: 1,
        keys.VIDEO_PATH: "films/a b.mp4",
        keys.VIDEO_SHA256: "ab" * 32,
        keys.TRACK_ID: 4,
        keys.FRAMES_TOTAL: 7,
        keys.FRAMES_WITH_FACE: 3,
        keys.CONFIG_HASH: "0123456789abcdef",
    }
    assert {k: records.one(found, k) for k in singles} == singles
    assert list(records.many(found, keys.FACE_JPEG)) == list(clip.face)
    assert list(records.many(found, keys.CONTEXT_JPEG)) == list(clip.context)
    np.testing.assert_array_equal(
        np.float32(records.many(found, keys.FRAME_TIME)), clip.times
    )
    np.testing.assert_array_equal(
        np.float32(records.many(found, keys.FRAME_BOX)).reshape(-1, 4),
        clip.boxes,
    )
    # No key beside the contract's.
    assert set(found.features.feature) == {
        *singles,
        keys.FACE_JPEG,
        keys.CONTEXT_JPEG,
        keys.FRAME_TIME,
        keys.FRAME_BOX,
    }


def test_the_contract_names_the_keys():
    assert (
        "clip/id clip/source clip/identity clip/start clip/end clip/label "
        "clip/label_id video/path video/sha256 track/id frame/time frame/box "
        "face/jpeg context/jpeg frames/total frames/with_face config/hash"
    ).split() == [
        keys.CLIP_ID,
        keys.CLIP_SOURCE,
        keys.CLIP_IDENTITY,
        keys.CLIP_START,
        keys.CLIP_END,
        keys.CLIP_LABEL,
        keys.CLIP_LABEL_ID,
        keys.VIDEO_PATH,
        keys.VIDEO_SHA256,
        keys.TRACK_ID,
        keys.FRAME_TIME,
        keys.FRAME_BOX,
        keys.FACE_JPEG,
        keys.CONTEXT_JPEG,
        keys.FRAMES_TOTAL,
        keys.FRAMES_WITH_FACE,
        keys.CONFIG_HASH,
    ]


def test_a_clip_without_a_face(tmp_path):
    clip = clip_of(0)
    made = records.to_example(clip, clip_id="none")
    records.write(tmp_path / "x", [made])
    (found,) = records.read(tmp_path / "x")
    assert records.one(found, keys.FRAMES_WITH_FACE) == 0
    assert records.one(found, keys.CLIP_LABEL_ID) == -1
    assert records.one(found, keys.CLIP_LABEL) == ""
    for key in (keys.FACE_JPEG, keys.FRAME_TIME, keys.FRAME_BOX):
        assert list(records.many(found, key)) == []


def test_one_refuses_none_and_many():
    made = example()
    assert records.many(made, "no/such") == []
    for key, count in (("no/such", 0), (keys.FACE_JPEG, 3)):
        with pytest.raises(RecordError) as e:
            records.one(made, key)
        assert str(e.value) == (
            f"a record must hold one value of {key!r}. Received: {count} values"
        )


def test_an_error_in_the_middle_leaves_no_file(tmp_path):
    def examples():
        yield example()
        assert [p.suffix for p in tmp_path.iterdir()] == [".tmp"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        records.write(tmp_path / "x.tfrecord", examples())
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_an_earlier_file_as_it_was(tmp_path):
    path = tmp_path / "x.tfrecord"
    records.write(path, [example("old")])
    before = path.read_bytes()

    def examples():
        yield example("new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        records.write(path, examples())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path):
    path = tmp_path / "x.tfrecord"
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:

        def examples():
            for i in range(1000):
                yield example(str(i))
            os.write(told, b"x")
            signal.pause()

        try:
            records.write(path, examples())
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"x"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    assert left.name == f".x.tfrecord.{child}.tmp"
    assert left.stat().st_size > 100_000
    # The next run clears it away; another file's and a live process's stay.
    others = [f".y.tfrecord.{child}.tmp", f".x.tfrecord.{os.getpid()}.tmp"]
    for name in others:
        (tmp_path / name).touch()
    files.remove_leftovers(path)
    assert {p.name for p in tmp_path.iterdir()} == set(others)


def test_a_full_disk_is_one_line(tmp_path, file_size_limit):
    path = tmp_path / "x.tfrecord"
    with file_size_limit(50_000), pytest.raises(EmorecError) as e:
        records.write(path, (example(str(i)) for i in range(500)))
    message = str(e.value)
    assert message.startswith(f"{path}: cannot be written (")
    assert message.endswith("); free some space or choose another place")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "x.tfrecord"
    records.write(path, [example(str(i)) for i in range(3)])
    return path


def bad_crc(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage, seen",
    [
        (lambda data: data[:-7], 2),
        (lambda data: data[: len(data) // 2], 1),
        (lambda data: data[:5], 0),
        (lambda data: data + b"\0" * 5, 3),
        (bad_crc, 1),
        (lambda data: b"\0" * 12 + data, 0),
        (lambda data: b"video,label\na.mp4,sad\n" * 9, 0),
    ],
    ids=["cut", "half", "header", "tail", "flipped", "shifted", "csv"],
)
def test_a_damaged_file_is_named(shard, damage, seen):
    shard.write_bytes(damage(shard.read_bytes()))
    found = []
    with pytest.raises(RecordError) as e:
        for record in records.read(shard):
            found.append(records.one(record, keys.CLIP_ID))
    # What came before the damage is sound.
    assert found == [str(i) for i in range(seen)]
    message = str(e.value)
    assert message.startswith(f"{shard}: not a readable TFRecord file (")
    assert message.endswith(
        "); delete it and run the command that wrote it again"
    )
    assert "\n" not in message


def test_a_foreign_tfrecord_is_named(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"\xff\xff\xff no Example")
    with pytest.raises(RecordError) as e:
        list(records.read(path))
    assert str(e.value) == (
        f"{path}: holds something else than tf.train.Example records; write "
        "it with `emorec prepare`"
    )


def test_no_file_and_no_records(tmp_path):
    with pytest.raises(RecordError) as e:
        list(records.read(tmp_path / "none"))
    assert str(e.value) == (
        f"{tmp_path}/none: no such file; write it with `emorec prepare`"
    )
    with pytest.raises(RecordError, match="not a readable TFRecord file"):
        list(records.read(tmp_path))
    assert records.write(tmp_path / "empty", []) == 0
    assert list(records.read(tmp_path / "empty")) == []


def decode(data, size=48) -> np.ndarray:
    return records.decode_jpeg(tf.constant(data), size).numpy()


def test_decoding_gives_the_pixels_back():
    image = picture()
    found = decode(encode_jpeg(image, 95))
    assert found.dtype == np.uint8 and found.shape == (48, 48, 3)
    assert np.abs(found.astype(int) - image).mean() < 2
    # As OpenCV's libjpeg reads them; it may round the colours otherwise.
    other = cv2.imdecode(
        np.frombuffer(encode_jpeg(image, 95), np.uint8), cv2.IMREAD_COLOR
    )[..., ::-1]
    assert np.abs(found.astype(int) - other).max() <= 2


@pytest.mark.parametrize("height, width", [(96, 96), (20, 30), (48, 60)])
def test_a_crop_of_another_size_is_resized(height, width):
    image = picture(height, width)
    found = decode(encode_jpeg(image, 95))
    assert found.shape == (48, 48, 3)
    wanted = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - wanted).mean() < 8


def test_a_grey_jpeg_gets_three_channels():
    _, data = cv2.imencode(".jpg", picture()[..., 0])
    found = decode(data.tobytes())
    assert found.shape == (48, 48, 3)
    assert (found[..., 0] == found[..., 2]).all()


def oversize() -> bytes:
    """A small JPEG whose header claims 5000 x 5000 pixels."""
    data = bytearray(encode_jpeg(picture(), 95))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (5000).to_bytes(2, "big") * 2
    return bytes(data)


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"", "(?i)jpeg|empty"),
        (b"no picture at all", "(?i)jpeg"),
        (cv2.imencode(".png", picture())[1].tobytes(), "(?i)jpeg"),
        (encode_jpeg(picture(), 95)[:100], "(?i)jpeg"),
        (oversize(), "a crop may have at most 16777216 pixels"),
    ],
    ids=["empty", "text", "png", "truncated", "oversize"],
)
def test_what_is_no_crop_is_an_error_of_the_graph(data, problem):
    graph = tf.function(lambda d: records.decode_jpegs(d, 48))
    good = encode_jpeg(picture(), 95)
    for function in (lambda d: records.decode_jpegs(d, 48), graph):
        assert function(tf.constant([good, good])).shape == (2, 48, 48, 3)
        with pytest.raises(tf.errors.InvalidArgumentError, match=problem):
            function(tf.constant([good, data]))


def test_decoding_several_and_none():
    images = [encode_jpeg(picture(), 95) for _ in range(3)]
    graph = tf.function(
        lambda d: records.decode_jpegs(d, 48),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    found = graph(tf.constant(images))
    for ours, data in zip(found, images, strict=True):
        np.testing.assert_array_equal(ours, decode(data))
    assert graph(tf.constant([], tf.string)).shape == (0, 48, 48, 3)
    # Inside tf.data, the same pixels.
    data = tf.data.Dataset.from_tensor_slices(images).map(
        lambda d: records.decode_jpeg(d, 48)
    )
    np.testing.assert_array_equal(list(data.as_numpy_iterator()), found)
