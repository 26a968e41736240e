"""Logged requests against the schema, training data and earlier logs."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)
from tensorflow_serving.config import logging_config_pb2
from testing.clip_records import SCHEMA, example, stats_of

from emorec.data import keys, records
from emorec.labels import MEC2017
from serving.server.request_log import RequestLog
from tfx_pipeline import request_logs, serving_skew

VALIDATION = [
    example(i, MEC2017[i % 8], frames=4 * (i % 7)) for i in range(120)
]
LIKE_IT = [example(i, "", frames=4 * (i % 7)) for i in range(120)]
# Half of the faces are lost.
OTHERS = [example(i, "", frames=2 * (i % 7)) for i in range(120)]


def predict(examples, name="examples", signature=""):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(
        tf.make_tensor_proto([e.SerializeToString() for e in examples])
    )
    return "predict", request, predict_pb2.PredictResponse()


@pytest.fixture
def logged(tmp_path):
    """Logs requests as the server does; returns the pattern of the files."""

    def write(*requests, name="r"):
        config = logging_config_pb2.LoggingConfig()
        collector = config.log_collector_config
        collector.filename_prefix = str(tmp_path / "logs" / name)
        config.sampling_config.sampling_rate = 1.0
        log = RequestLog(config, "emotion")
        for request in requests:
            log.write(*request)
        log.close()
        return str(tmp_path / "logs" / f"{name}*.tfrecord")

    return write


@pytest.fixture
def run(capsys):
    """Runs the command; returns (exit code, lines of output and of error)."""

    def call(*args):
        code = serving_skew.main(["serving_skew", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


def statistics(path, examples):
    path.write_bytes(stats_of(examples).SerializeToString())
    return path


def test_requests_of_every_kind(logged, run):
    a, b, c, d, e = LIKE_IT[:5]
    classify = classification_pb2.ClassificationRequest()
    classify.input.example_list.examples.append(b)
    regress = regression_pb2.RegressionRequest()
    # Our features are the context's, all but the source.
    both = regress.input.example_list_with_context
    both.context.CopyFrom(c)
    both.examples.add().features.feature[
        keys.CLIP_SOURCE
    ].bytes_list.value.append(b"sent")
    several = inference_pb2.MultiInferenceRequest()
    several.input.example_list.examples.extend([d, e])
    pattern = logged(
        predict([a, b]),
        predict([a], signature="serving_default"),
        # None of these is a record of frames.
        predict([a], signature="feature_examples"),
        predict([a], name="features", signature="features"),
        ("classify", classify, classification_pb2.ClassificationResponse()),
        ("regress", regress, regression_pb2.RegressionResponse()),
        ("multi_inference", several, inference_pb2.MultiInferenceResponse()),
    )
    code, out, err = run(f"--logs={pattern}")
    assert out == [
        "1 log file: 7 records in 5 requests; 2 requests without records",
        "schema: no anomalies",
    ]
    assert (code, err) == (0, [])


def test_what_is_read_is_what_was_sent(logged, tmp_path):
    pattern = logged(predict(LIKE_IT[:3]), predict(LIKE_IT[3:4]))
    found = request_logs.Found(1)
    (path,) = (tmp_path / "logs").glob(pattern.rpartition("/")[2])
    read = list(request_logs.read_examples([str(path)], found))
    assert read == [e.SerializeToString() for e in LIKE_IT[:4]]


@pytest.mark.long
def test_skew_and_drift_are_told_in_words(logged, run, tmp_path):
    training = statistics(tmp_path / "FeatureStats.pb", VALIDATION)
    pattern = logged(*(predict([e]) for e in OTHERS))
    code, out, err = run(
        f"--logs={pattern}",
        f"--training_statistics={tmp_path}",
        f"--previous_statistics={training}",
        f"--output={tmp_path}/other.pb",
    )
    assert (code, err) == (1, [])
    first, schema, skew, one, drift, other = out
    assert first.startswith("1 log file: 120 records in 120 requests; 0 req")
    assert schema == "schema: no anomalies"
    assert (skew, drift) == ("skew: 1 anomaly", "drift: 1 anomaly")
    assert one.startswith("  frames/with_face: High approximate Jensen-Shanno")
    assert "between training and serving" in one
    assert other.startswith("  frames/with_face: High approximate Jensen-Sha")
    assert "between current and previous" in other
    validation = tmp_path / "validation-0.tfrecord.gz"
    records.write(validation, VALIDATION)
    # What was written is what the next call compares with.
    code, out, _ = run(
        f"--logs={pattern}",
        f"--previous_statistics={tmp_path}/other.pb",
        f"--training_records={validation}",
        "--min_compared=121",
    )
    assert code == 0
    assert out[1:] == [
        f"{kind}: not compared: 120 records and 120, at least 121 are needed"
        for kind in ("skew", "drift")
    ] + ["schema: no anomalies"]


def test_what_is_compared():
    counted = {
        name: stats_of(examples)
        for name, examples in (
            ("training", VALIDATION),
            ("alike", LIKE_IT),
            ("other", OTHERS),
            ("few", OTHERS[:99]),
        )
    }

    def kinds(served, **more):
        stats = {k: counted[v] for k, v in more.items()}
        return serving_skew.check(counted[served], SCHEMA, **stats)

    none = {"schema": [], "skew": [], "drift": []}
    assert kinds("alike", training="training", previous="alike") == none
    found = kinds("other", training="training", previous="other")
    assert (len(found["skew"]), found["drift"]) == (1, [])
    # Of fewer than a hundred on either side, a difference says nothing.
    assert kinds("few", training="training", previous="alike") == {"schema": []}
    assert kinds("alike", training="few", previous="few") == {"schema": []}
    # A sickness of the training data is not one of the logs.
    bad = stats_of([*VALIDATION, example(0, "joy")])
    found = serving_skew.check(counted["alike"], SCHEMA, training=bad)
    assert found == {"schema": [], "skew": []}


def test_records_that_do_not_fit_the_schema(logged, run):
    lost = example(1, "")
    del lost.features.feature[keys.FRAME_TIME]
    pattern = logged(predict([example(0, ""), lost, example(2, "")]))
    code, out, err = run(f"--logs={pattern}")
    assert (code, err) == (1, [])
    assert out[1] == "schema: 1 anomaly"
    assert out[2].startswith("  frame/time: Column dropped: The feature was")
    assert out[2].endswith("(of 3 records)")


def test_what_cannot_be_read(logged, run, tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"no record" * 9)
    code, _, err = run(f"--logs={tmp_path}/a.tfrecord")
    assert code == 1
    assert "a.tfrecord: is no log of requests, or not a whole" in err[0]
    code, _, err = run(f"--logs={tmp_path}/none*")
    assert (code, len(err)) == (2, 1)
    assert "no file is there for --logs. Received: " in err[0]
    pattern = logged(predict([LIKE_IT[0]], signature="features"))
    code, _, err = run(f"--logs={pattern}")
    assert code == 1
    assert "holds no records; only requests for serving_default" in err[0]
    for path in (tmp_path / "none.pb", tmp_path / "a.tfrecord"):
        given = f"--training_statistics={path}"
        code, _, err = run(f"--logs={pattern}", given)
        assert (code, len(err)) == (1, 1)
        assert f"{path}: holds no statistics of TFDV" in err[0]
    given = f"--training_records={tmp_path}/a.tfrecord"
    code, _, err = run(f"--logs={pattern}", given)
    assert code == 1
    assert f"{tmp_path}/a.tfrecord: is no file of records" in err[0]
    code, _, err = run(f"--logs={pattern}", f"--schema={tmp_path}/a.tfrecord")
    assert code == 1 and "is no schema" in err[0]


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "name the logs: --logs=PATTERN"),
        (["--log=x", "--min=1"], "Unknown command line flag"),
        (["--logs=x", "--min_compared=0"], "min_compared"),
        (
            [f"--logs={__file__}", "--training_records=/no/such*"],
            "no file is there for --training_records. Received: '/no/such*'",
        ),
        (
            [
                f"--logs={__file__}",
                "--training_records=x",
                "--training_statistics=y",
            ],
            "exclude each other; give one of them",
        ),
    ],
)
def test_wrong_flags(run, args, message):
    code, out, err = run(*args)
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_help(run):
    code, out, err = run("--help")
    assert (code, err) == (0, [])
    assert any("--training_statistics" in line for line in out)
