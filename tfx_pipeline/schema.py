"""The schema of the records of frames (`emorec.data.keys`).

`schema/schema.pbtxt` is this module's answer for the labels of MEC 2017,
committed so that a change of it is seen; a test compares the two.

  TRAINING  train, validation and test: every clip has a label
  SERVING   clips to predict: `clip/label` and `clip/label_id` are not looked
            at (their records hold "" and -1)

**Comparators.** A *drift* compares a split with the same split of the last
run's data, a *skew* the validation split with the clips to predict. Training
records are sampled at twice the rate and kept long, so their frame counts are
not comparable with those of serving; validation's are. A split of fewer than
100 clips is not compared (`example_validator.MIN_COMPARED`). Of 100 clips, 24
pairs of samples of one distribution (four shapes of it) differed by at most
.15 in the share of a label, and their divergence was at most .11.
"""

import os
from collections.abc import Sequence

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from emorec.data import files, keys
from emorec.errors import LabelError
from emorec.labels import LabelSet

TRAINING = "TRAINING"
SERVING = "SERVING"

# Largest difference of a label's share of the clips: three and a half standard
# deviations of chance at 100 clips. Labels that move so much were given in
# another way, or belong to other data.
LABEL_DRIFT = 0.25
# A new source, or one that has gone, moves shares for good reasons: only a
# data set whose greater part came from elsewhere is an anomaly.
SOURCE_DRIFT = 0.5
# Jensen-Shannon divergence of frames with a face, 0 to 1. Half of the faces
# lost gave .28 to .89 in the four shapes above.
FACE_DRIFT = 0.25
FACE_SKEW = 0.25

_BYTES = schema_pb2.FeatureType.BYTES
_INT = schema_pb2.FeatureType.INT
_FLOAT = schema_pb2.FeatureType.FLOAT
_TYPES = {
    keys.CLIP_ID: _BYTES,
    keys.CLIP_SOURCE: _BYTES,
    keys.CLIP_IDENTITY: _BYTES,
    keys.CLIP_START: _FLOAT,
    keys.CLIP_END: _FLOAT,
    keys.CLIP_LABEL: _BYTES,
    keys.CLIP_LABEL_ID: _INT,
    keys.VIDEO_PATH: _BYTES,
    keys.VIDEO_SHA256: _BYTES,
    keys.TRACK_ID: _INT,
    keys.FRAME_TIME: _FLOAT,
    keys.FRAME_BOX: _FLOAT,
    keys.FACE_JPEG: _BYTES,
    keys.CONTEXT_JPEG: _BYTES,
    keys.FRAMES_TOTAL: _INT,
    keys.FRAMES_WITH_FACE: _INT,
    keys.CONFIG_HASH: _BYTES,
}
# n values, n the frames with a face; a clip without a face has none.
_LISTS = (
    keys.FRAME_TIME,
    keys.FRAME_BOX,
    keys.FACE_JPEG,
    keys.CONTEXT_JPEG,
)
_LABELS = (keys.CLIP_LABEL, keys.CLIP_LABEL_ID)


def for_labels(names: Sequence[str]) -> schema_pb2.Schema:
    """Returns the schema of records whose labels are these.

    Args:
        names: The label set's names, in the order of their ids.

    Raises:
        LabelError: They are no label set.
    """
    names = LabelSet("schema", tuple(names)).names
    schema = schema_pb2.Schema(default_environment=[TRAINING, SERVING])
    for key, kind in _TYPES.items():
        feature = schema.feature.add(name=key, type=kind)
        feature.presence.min_fraction = 1.0
        feature.presence.min_count = 1
        if key not in _LISTS:
            feature.value_count.min = feature.value_count.max = 1
        if key in _LABELS:
            feature.not_in_environment.append(SERVING)
        _domain(feature, names)
        _comparators(feature)
    return schema


def _domain(feature: schema_pb2.Feature, names: tuple[str, ...]):
    """Says which values a feature may have."""
    key = feature.name
    if key == keys.CLIP_LABEL:
        feature.string_domain.name = key
        feature.string_domain.value.extend(names)
    elif key == keys.CLIP_LABEL_ID:
        feature.int_domain.min = 0
        feature.int_domain.max = len(names) - 1
    elif key == keys.TRACK_ID:
        feature.int_domain.min = -1  # No face was found.
    elif key == keys.FRAMES_TOTAL:
        feature.int_domain.min = 1
    elif key == keys.FRAMES_WITH_FACE:
        feature.int_domain.min = 0
    elif key in (keys.CLIP_START, keys.CLIP_END, keys.FRAME_TIME):
        feature.float_domain.min = 0
    elif key == keys.CONFIG_HASH:
        # Records of two configs do not belong into one data set.
        feature.unique_constraints.min = feature.unique_constraints.max = 1
    elif key in (keys.FACE_JPEG, keys.CONTEXT_JPEG):
        # Without it StatisticsGen counts how often each JPEG occurs.
        feature.image_domain.SetInParent()


def _comparators(feature: schema_pb2.Feature):
    """Says how far a feature's distribution may move."""
    key = feature.name
    if key == keys.CLIP_LABEL:
        feature.drift_comparator.infinity_norm.threshold = LABEL_DRIFT
    elif key == keys.CLIP_SOURCE:
        feature.drift_comparator.infinity_norm.threshold = SOURCE_DRIFT
    elif key == keys.FRAMES_WITH_FACE:
        drift = feature.drift_comparator.jensen_shannon_divergence
        drift.threshold = FACE_DRIFT
        skew = feature.skew_comparator.jensen_shannon_divergence
        skew.threshold = FACE_SKEW


def write(names: Sequence[str], path: str | os.PathLike) -> str:
    """Writes the schema of some labels as text, atomically.

    Args:
        names: As `for_labels`.
        path: The file, local or remote.

    Returns:
        `path`.
    """
    with files.atomic(path) as temporary:
        temporary.write_text(as_text(names), encoding="utf-8")
    return str(path)


def as_text(names: Sequence[str]) -> str:
    """Returns the schema of some labels as text."""
    return text_format.MessageToString(for_labels(names))


def label_names(path: str | os.PathLike) -> tuple[str, ...]:
    """Returns the labels that a schema file names, in its order.

    Raises:
        LabelError: The file cannot be read, is no schema, or names none.
    """
    try:
        with files.local_copy(str(path)) as local:
            text = local.read_text(encoding="utf-8")
        schema = text_format.Parse(text, schema_pb2.Schema())
    except (OSError, ValueError, text_format.ParseError) as e:
        raise LabelError(
            f"{path}: is no schema ({' '.join(str(e).split())[:200]}); "
            "`emorec pipeline schema` writes one"
        ) from e
    for feature in schema.feature:
        if feature.name == keys.CLIP_LABEL and feature.string_domain.value:
            return tuple(feature.string_domain.value)
    raise LabelError(
        f"{path}: names no labels; give {keys.CLIP_LABEL!r} a string_domain "
        "or write a schema with `emorec pipeline schema`"
    )
