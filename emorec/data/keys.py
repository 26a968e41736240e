"""Keys of the records: one tf.train.Example holds one clip of one track.

A record of frames has the first two groups; a record of features has the
first and some of the third. n is the number of frames with a face.
"""

# What both kinds hold.
CLIP_ID = "clip/id"  # string; <row id>/t<track>/w<window>
CLIP_SOURCE = "clip/source"  # string; the manifest's source column
CLIP_IDENTITY = "clip/identity"  # string; "" where it is unknown
CLIP_START = "clip/start"  # float, seconds
CLIP_END = "clip/end"  # float, seconds
CLIP_LABEL = "clip/label"  # string; "" where there is none
CLIP_LABEL_ID = "clip/label_id"  # int64; -1 where there is none
VIDEO_PATH = "video/path"  # string, as the manifest wrote it
VIDEO_SHA256 = "video/sha256"  # string, of the file
TRACK_ID = "track/id"  # int64; -1 where no face was found
FRAME_TIME = "frame/time"  # n floats, seconds
FRAME_BOX = "frame/box"  # 4 n floats: x0, y0, x1, y1 in pixels
FRAMES_TOTAL = "frames/total"  # int64; sampled frames, face or not
FRAMES_WITH_FACE = "frames/with_face"  # int64; n
CONFIG_HASH = "config/hash"  # string; `Config.data_hash()`

# Records of frames.
FACE_JPEG = "face/jpeg"  # n strings
CONTEXT_JPEG = "context/jpeg"  # n strings

# Records of features: any of these, n steps each (`feature_key`).
FACE_FEATURES = "face/features"  # n x Df floats
CONTEXT_FEATURES = "context/features"  # n x Dc floats
FACE_MAPS = "face/maps"  # n x h x w x C floats
FACE_PROBABILITIES = "face/probabilities"  # n x M floats
FACE_ENCODER = "face/encoder"  # string; the encoder's hash
CONTEXT_ENCODER = "context/encoder"  # string; the encoder's hash
FRAMES_COVERAGE = "frames/coverage"  # string; one of `COVERAGE`

# Share of a record's sampled frames that had a face, for slices of metrics.
COVERAGE = ("none", "under half", "half or more", "all")


def feature_key(name: str) -> str:
    """Returns the key of a network's input: `face_maps` is `face/maps`."""
    return name.replace("_", "/", 1)


def coverage(total: int, with_face: int) -> str:
    """Returns which of `COVERAGE` a record is.

    Args:
        total: `frames/total`.
        with_face: `frames/with_face`.
    """
    none, under_half, half_or_more, all_ = COVERAGE
    if with_face <= 0:
        return none
    if with_face >= total:
        return all_
    return under_half if 2 * with_face < total else half_or_more


def jpeg_key(stream: str) -> str:
    """Returns the key of a stream's crops."""
    return f"{stream}/jpeg"


def encoder_key(stream: str) -> str:
    """Returns the key of the hash of a stream's encoder."""
    return f"{stream}/encoder"
