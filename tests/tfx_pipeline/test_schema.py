"""The committed schema says what the record code says."""

import pathlib

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from testing.clip_records import SCHEMA, example, stats_of

from emorec.data import keys, records
from emorec.errors import LabelError
from emorec.labels import FER2013, MEC2017
from tfx_pipeline import schema
from tfx_pipeline.components import example_validator

COMMITTED = pathlib.Path(schema.__file__).parent / "schema" / "schema.pbtxt"


def anomalies(examples, **more):
    stats = stats_of(examples)
    found = example_validator.validate(stats, SCHEMA, **more)
    return example_validator.in_words(found, len(examples))


def test_the_committed_schema_is_this_one():
    found = text_format.Parse(COMMITTED.read_text(), schema_pb2.Schema())
    assert found == SCHEMA, (
        'run: python -c "from emorec.labels import MEC2017; from tfx_pipeline '
        "import schema; schema.write(MEC2017, "
        "'tfx_pipeline/schema/schema.pbtxt')\""
    )
    assert schema.label_names(COMMITTED) == MEC2017


def test_it_names_the_keys_of_a_record():
    assert {f.name for f in SCHEMA.feature} == set(example().features.feature)


def test_records_of_prepare_have_no_anomaly(prepared):
    for split in prepared.splits:
        found = [
            e for path in prepared.files(split) for e in records.read(path)
        ]
        assert anomalies(found) == []


def test_clips_without_a_face_have_none():
    assert anomalies([example(frames=0), example(1)]) == []
    # A split in which nobody is seen at all is no matter of the schema.
    assert anomalies([example(frames=0)]) == []


def test_unlabelled_records_fit_serving_alone():
    found = [example(i, label="") for i in range(3)]
    assert anomalies(found, serving=True) == []
    told = anomalies(found)
    assert [line.split(":")[0] for line in told] == [
        "clip/label",
        "clip/label_id",
    ]


def without(key):
    found = example()
    del found.features.feature[key]
    return found


def with_value(key, value):
    """A record in which a key holds something else."""
    found = example()
    found.features.feature[key].CopyFrom(value)
    return found


def floats(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def ints(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def words(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


FAULTS = {
    "no source": (without(keys.CLIP_SOURCE), keys.CLIP_SOURCE, "fewer"),
    "no JPEGs": (without(keys.FACE_JPEG), keys.FACE_JPEG, "fewer"),
    "unknown label": (
        with_value(keys.CLIP_LABEL, words(b"joy")),
        keys.CLIP_LABEL,
        "joy",
    ),
    "unknown label's id": (
        with_value(keys.CLIP_LABEL_ID, ints(8)),
        keys.CLIP_LABEL_ID,
        "8",
    ),
    "two labels": (
        with_value(keys.CLIP_LABEL, words(b"happy", b"sad")),
        keys.CLIP_LABEL,
        "values",
    ),
    "no frame": (
        with_value(keys.FRAMES_TOTAL, ints(0)),
        keys.FRAMES_TOTAL,
        "0",
    ),
    "before the video": (
        with_value(keys.FRAME_TIME, floats(-1.0)),
        keys.FRAME_TIME,
        "-1",
    ),
    "of another config": (
        with_value(keys.CONFIG_HASH, words(b"def")),
        keys.CONFIG_HASH,
        "unique",
    ),
    "a key that there is not": (
        with_value("clip/mood", words(b"good")),
        "clip/mood",
        "New column",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_in_words(name):
    bad, key, word = FAULTS[name]
    told = anomalies([*(example(i) for i in range(5)), bad])
    assert told, "no anomaly"
    assert all(line.startswith(f"{key}: ") for line in told), told
    assert word in " ".join(told)
    assert told[0].endswith("(of 6 records)")


def test_another_type_is_told_in_words():
    told = anomalies([with_value(keys.CLIP_START, words(b"0"))])
    assert len(told) == 1
    assert told[0].startswith("clip/start: ") and "FLOAT" in told[0]


def many(count, label, frames):
    """Records with labels and frame counts by their number."""
    return [example(i, label=label(i), frames=frames(i)) for i in range(count)]


def spread(i):
    return (24, 24, 24, 20, 12, 6, 0)[i % 7]


def even(i):
    return MEC2017[i % 8]


def test_drift_of_labels_and_of_faces():
    before = stats_of(many(140, even, spread))
    assert anomalies(many(140, even, spread), previous=before) == []
    told = anomalies(many(140, lambda i: "sad", spread), previous=before)
    assert len(told) == 1 and told[0].startswith("clip/label: "), told
    told = anomalies(many(140, even, lambda i: spread(i) // 2), previous=before)
    assert len(told) == 1 and told[0].startswith("frames/with_face: "), told


def test_few_records_are_not_compared():
    before = stats_of(many(140, even, spread))
    few = many(20, lambda i: "sad", spread)
    assert anomalies(few, previous=before) == []
    assert anomalies(few, previous=before, min_compared=20) != []


def test_skew_against_clips_to_predict():
    served = stats_of(many(140, lambda i: "", lambda i: spread(i) // 2))
    told = anomalies(many(140, even, spread), served=served)
    assert len(told) == 1 and told[0].startswith("frames/with_face: "), told
    # Their labels are "" and are no skew.
    served = stats_of(many(140, lambda i: "", spread))
    assert anomalies(many(140, even, spread), served=served) == []


def test_another_label_set(tmp_path):
    path = schema.write(FER2013, tmp_path / "schema.pbtxt")
    assert schema.label_names(path) == FER2013
    found = tfdv.load_schema_text(path)
    assert tfdv.get_feature(found, keys.CLIP_LABEL_ID).int_domain.max == 6


@pytest.mark.parametrize(
    "text, problem",
    [("feature {", "is no schema"), ('feature { name: "a" }', "no labels")],
)
def test_a_file_that_is_no_schema(tmp_path, text, problem):
    path = tmp_path / "schema.pbtxt"
    path.write_text(text)
    with pytest.raises(LabelError, match=problem):
        schema.label_names(path)
    with pytest.raises(LabelError, match="no schema"):
        schema.label_names(tmp_path / "none.pbtxt")


def test_labels_must_be_a_label_set():
    with pytest.raises(LabelError, match="more than once"):
        schema.for_labels(["a", "a"])
