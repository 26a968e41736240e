"""Records of frames: clips to tf.train.Examples in TFRecord files and back."""

import functools
import itertools
import os
import struct
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from emorec.data import files, keys, remote
from emorec.errors import EmorecError, RecordError
from emorec.video.clip import Clip

# A record beyond this is not ours: 4096 frames of two 224 x 224 JPEGs.
MAX_RECORD_BYTES = 1 << 30
MAX_JPEG_PIXELS = 4096 * 4096
# Length and two checksums, around each record of a TFRecord file.
_FRAMING_BYTES = 16
# A gzip file ends with its content's size modulo 2^32 (RFC 1952).
_GZIP_SIZE = struct.Struct("<I")
# libjpeg's exact inverse transform: the same pixels on every machine.
_DCT = "INTEGER_ACCURATE"


def to_example(
    clip: Clip,
    *,
    clip_id: str,
    label: str = "",
    label_id: int = -1,
    source: str = "",
    identity: str = "",
    video_path: str = "",
    video_sha256: str = "",
    config_hash: str = "",
) -> tf.train.Example:
    """Returns the record of one clip; see `emorec.data.keys`."""
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                keys.CLIP_ID: _bytes([clip_id]),
                keys.CLIP_SOURCE: _bytes([source]),
                keys.CLIP_IDENTITY: _bytes([identity]),
                keys.CLIP_START: _floats([clip.start]),
                keys.CLIP_END: _floats([clip.end]),
                keys.CLIP_LABEL: _bytes([label]),
                keys.CLIP_LABEL_ID: _ints([label_id]),
                keys.VIDEO_PATH: _bytes([video_path]),
                keys.VIDEO_SHA256: _bytes([video_sha256]),
                keys.TRACK_ID: _ints([clip.track]),
                keys.FRAME_TIME: _floats(clip.times),
                keys.FRAME_BOX: _floats(clip.boxes.reshape(-1)),
                keys.FACE_JPEG: _bytes(clip.face),
                keys.CONTEXT_JPEG: _bytes(clip.context),
                keys.FRAMES_TOTAL: _ints([clip.frames_total]),
                keys.FRAMES_WITH_FACE: _ints([clip.frames_with_face]),
                keys.CONFIG_HASH: _bytes([config_hash]),
            }
        )
    )


def _bytes(values):
    data = [v.encode() if isinstance(v, str) else v for v in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=data))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def one(example: tf.train.Example, key: str):
    """Returns the single value of a feature; strings are decoded.

    Raises:
        RecordError: The feature is absent or does not hold one value.
    """
    values = many(example, key)
    if len(values) != 1:
        raise RecordError(
            f"a record must hold one value of {key!r}. "
            f"Received: {len(values)} values"
        )
    value = values[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def many(example: tf.train.Example, key: str):
    """Returns the values of a feature; empty where it is absent."""
    feature = example.features.feature.get(key)
    if feature is None or feature.WhichOneof("kind") is None:
        return []
    return getattr(feature, feature.WhichOneof("kind")).value


def write(path: str | os.PathLike, examples: Iterable) -> int:
    """Writes examples to a TFRecord file, atomically; returns their number.

    An error of the iterable, or a full disk, leaves no file.

    Args:
        path: The file; gzip where it ends in `.gz`; may be remote.
        examples: `tf.train.Example`s.
    """
    count = 0
    with files.atomic(path) as temporary:
        try:
            with tf.io.TFRecordWriter(
                str(temporary), files.compression(path)
            ) as writer:
                for example in examples:
                    writer.write(example.SerializeToString())
                    count += 1
        except tf.errors.OpError as e:
            raise EmorecError(
                f"{path}: cannot be written ({_brief(e)}); free some space or "
                "choose another place"
            ) from e
    return count


def open_files(paths: Sequence[str | os.PathLike]) -> tf.data.Dataset:
    """Returns the serialized records of TFRecord files, in their order.

    Args:
        paths: One or more; gzip where they end in `.gz`; may be remote.

    Returns:
        A data set of string scalars. Beware: TensorFlow takes a file that is
        cut at a record's border for a whole one; `read` does not.
    """
    names = [files.open_file_system(path) for path in paths]
    parts = [
        tf.data.TFRecordDataset(list(part), compression)
        for compression, part in itertools.groupby(names, files.compression)
    ]
    return functools.reduce(tf.data.Dataset.concatenate, parts)


def read(path: str | os.PathLike) -> Iterator[tf.train.Example]:
    """Yields the examples of a TFRecord file.

    Args:
        path: The file; gzip where it ends in `.gz`; may be remote.

    Raises:
        RecordError: The file is absent, truncated, corrupt, or holds
            something that is no Example.
    """
    size = 0
    try:
        for data in open_files([path]).as_numpy_iterator():
            if len(data) > MAX_RECORD_BYTES:
                raise RecordError(f"{path}: a record of {len(data)} bytes")
            size += len(data) + _FRAMING_BYTES
            yield tf.train.Example.FromString(data)
        _check_size(path, size)
    except tf.errors.NotFoundError as e:
        absent = remote.ABSENT if files.is_remote(path) else "no such file"
        raise RecordError(
            f"{path}: {absent}; write it with `emorec prepare`"
        ) from e
    except (tf.errors.OpError, ValueError) as e:
        raise RecordError(
            f"{path}: not a readable TFRecord file ({_brief(e)}); delete it "
            "and run the command that wrote it again"
        ) from e
    except _decode_error() as e:
        raise RecordError(
            f"{path}: holds something else than tf.train.Example records; "
            "write it with `emorec prepare`"
        ) from e


def _check_size(path, size):
    """Raises ValueError where a file holds more or less than was read.

    TensorFlow takes a header that is cut short for the file's end, and a
    gzip file for whole that ends at a record's border, or in its trailer.
    """
    if files.compression(path):
        tail = files.tail(path, _GZIP_SIZE.size)
        whole = tail == _GZIP_SIZE.pack(size % 2**32)
    else:
        whole = files.stat(path)[0] == size
    if not whole:
        raise ValueError("truncated record")


def _decode_error():
    # protobuf is a dependency of TensorFlow; named here for its one error.
    from google.protobuf.message import DecodeError

    return DecodeError


def _brief(error) -> str:
    return str(getattr(error, "message", error)).split("\n")[0][:200]


def decode_jpeg(data: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes a crop; the one function through which pixels come back.

    Args:
        data: string scalar, a JPEG image.
        size: Side of the crops in pixels; an image of another size is
            resized, so that a foreign client's crops are taken too.

    Returns:
        uint8 [size, size, 3]; for errors see `decode`.
    """
    return resize(decode(data), size)


def decode(data: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG image of any size.

    Args:
        data: string scalar.

    Returns:
        uint8 [h, w, 3]. Something that is no JPEG, or one of more than
        `MAX_JPEG_PIXELS`, is an InvalidArgumentError of the graph.
    """
    pixels = tf.reduce_prod(
        tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64)
    )
    check = tf.debugging.assert_less_equal(
        pixels,
        tf.constant(MAX_JPEG_PIXELS, tf.int64),
        f"a crop may have at most {MAX_JPEG_PIXELS} pixels",
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.io.decode_jpeg(data, channels=3, dct_method=_DCT)


def resize(images: tf.Tensor, size: int) -> tf.Tensor:
    """Brings pictures to the crops' size; those that have it stay as they are.

    Args:
        images: uint8 [h, w, 3] or [N, h, w, 3].
        size: Side of the crops in pixels.

    Returns:
        uint8 [size, size, 3] or [N, size, size, 3].
    """

    def resized():
        resized = tf.image.resize(images, (size, size), antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    fits = tf.reduce_all(tf.shape(images)[-3:-1] == size)
    return tf.ensure_shape(
        tf.cond(fits, lambda: images, resized),
        (*images.shape[:-3], size, size, 3),
    )


def decode_jpegs(jpegs: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes string [N] to uint8 [N, size, size, 3]; see `decode_jpeg`."""
    return tf.map_fn(
        lambda data: decode_jpeg(data, size),
        jpegs,
        fn_output_signature=tf.TensorSpec((size, size, 3), tf.uint8),
        parallel_iterations=16,
    )
