"""Request logs: what is in them, their sampling, rotation and faults."""

import logging
import threading
import time

import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)
from tensorflow_serving.config import logging_config_pb2
from testing.request_files import read

from emorec.errors import UsageError
from serving.server.request_log import RequestLog


def config(prefix, rate=1.0, kind="tfrecord"):
    made = logging_config_pb2.LoggingConfig()
    made.log_collector_config.type = kind
    made.log_collector_config.filename_prefix = str(prefix)
    made.sampling_config.sampling_rate = rate
    return made


def pair(text="x", version=7):
    """A Predict request and its response."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["s"].CopyFrom(tf.make_tensor_proto([text]))
    response = predict_pb2.PredictResponse()
    response.model_spec.name = "toy"
    response.model_spec.version.value = version
    response.model_spec.signature_name = "upper"
    response.outputs["upper"].CopyFrom(tf.make_tensor_proto([text.upper()]))
    return request, response


def sent(folder) -> list[bytes]:
    """The texts that were asked for, of all finished logs."""
    return [
        found.predict_log.request.inputs["s"].string_val[0]
        for found in read(folder)
    ]


def test_a_record(tmp_path):
    request, response = pair()
    log = RequestLog(config(tmp_path / "new" / "r"), "toy")
    before = int(time.time())
    log.write("predict", request, response)
    # Not under its final name before it is complete.
    (part,) = (tmp_path / "new").iterdir()
    assert part.name.startswith("r-toy-") and part.suffix == ".part"
    log.close()
    (path,) = (tmp_path / "new").iterdir()
    assert path.suffix == ".tfrecord"
    assert path.stat().st_mode & 0o777 == 0o600
    (found,) = read(tmp_path / "new")
    assert found.predict_log.request == request
    assert found.predict_log.response == response
    metadata = found.log_metadata
    assert metadata.model_spec == response.model_spec
    assert metadata.sampling_config.sampling_rate == 1.0
    assert metadata.saved_model_tags == ["serve"]
    assert before <= metadata.timestamp_secs <= time.time()


def test_every_kind(tmp_path):
    log = RequestLog(config(tmp_path / "r", kind=""), "toy")
    classified = classification_pb2.ClassificationResponse()
    classified.model_spec.version.value = 1
    regressed = regression_pb2.RegressionResponse()
    regressed.model_spec.version.value = 2
    several = inference_pb2.MultiInferenceResponse()
    several.results.add().model_spec.version.value = 3
    log.write(
        "classify", classification_pb2.ClassificationRequest(), classified
    )
    log.write("regress", regression_pb2.RegressionRequest(), regressed)
    empty = inference_pb2.MultiInferenceRequest()
    log.write("multi_inference", empty, several)
    log.write("multi_inference", empty, inference_pb2.MultiInferenceResponse())
    log.close()
    found = read(tmp_path)
    kinds = ["classify", "regress", "multi_inference", "multi_inference"]
    assert [f.WhichOneof("log_type") for f in found] == [
        f"{kind}_log" for kind in kinds
    ]
    versions = [f.log_metadata.model_spec.version.value for f in found]
    assert versions == [1, 2, 3, 0]


def test_the_sampling_rate(tmp_path):
    log = RequestLog(config(tmp_path / "r", rate=0.25), "toy")
    for _ in range(2000):
        log.write("predict", *pair())
    log.close()
    # Five standard deviations of the binomial: 500 +- 97.
    assert 400 < len(read(tmp_path)) < 600
    never = RequestLog(config(tmp_path / "none" / "r", rate=0.0), "toy")
    never.write("predict", *pair())
    never.close()
    assert not (tmp_path / "none").exists()


def test_files_are_bounded_and_the_oldest_go(tmp_path):
    size = len("x") * 1000
    log = RequestLog(
        config(tmp_path / "r"), "toy", max_file_bytes=10_000, max_files=3
    )
    for i in range(40):
        log.write("predict", *pair(f"{i:02d}" + "x" * size))
    log.close()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 3
    assert all(0 < p.stat().st_size <= 10_000 for p in paths)
    texts = sent(tmp_path)
    numbers = [int(t[:2]) for t in texts]
    # The newest, in order and without a gap.
    assert numbers == list(range(numbers[0], 40))


def test_a_file_is_finished_by_its_age(tmp_path):
    log = RequestLog(config(tmp_path / "r"), "toy", max_file_s=0.0)
    log.write("predict", *pair("a"))
    log.write("predict", *pair("b"))
    # Can be read while the server runs.
    assert len(read(tmp_path)) == 1
    log.close()
    assert len(read(tmp_path)) == 2


def test_two_logs_of_one_name_do_not_meet(tmp_path):
    # As after a reload of the server's config.
    first = RequestLog(config(tmp_path / "r"), "toy")
    first.write("predict", *pair("a"))
    second = RequestLog(config(tmp_path / "r"), "toy")
    second.write("predict", *pair("b"))
    first.close()
    first.write("predict", *pair("late"))
    second.close()
    assert len(read(tmp_path)) == 2


def test_a_model_name_makes_no_path(tmp_path):
    log = RequestLog(config(tmp_path / "r"), "../../a b")
    log.write("predict", *pair())
    log.close()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("r-.._.._a_b-")


def test_many_threads(tmp_path):
    log = RequestLog(config(tmp_path / "r"), "toy", max_file_bytes=20_000)

    def work(number):
        for i in range(50):
            log.write("predict", *pair(f"{number}-{i}"))

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    texts = set(sent(tmp_path))
    assert len(texts) == 400


def test_a_large_request_is_left_out(tmp_path, caplog):
    log = RequestLog(config(tmp_path / "r"), "toy", max_file_bytes=1000)
    with caplog.at_level(logging.WARNING):
        log.write("predict", *pair("x" * 2000))
        log.write("predict", *pair("small"))
        log.close()
    assert len(read(tmp_path)) == 1
    assert "bytes is not logged, more than 1000" in caplog.text


def test_a_place_that_cannot_be_written_fails_no_request(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    log = RequestLog(config(tmp_path / "file" / "r"), "toy")
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            log.write("predict", *pair())
        log.close()
    # Told once, not with every request.
    assert caplog.text.count("requests are not logged for 60 s") == 1


def test_a_full_disk_fails_no_request(tmp_path, full_disk, caplog):
    log = RequestLog(config(tmp_path / "r"), "toy", retry_s=0.0)
    with full_disk(100_000):
        for _ in range(20):
            log.write("predict", *pair("x" * 50_000))
    assert "requests are not logged for 0 s" in caplog.text
    # No half a file is left, and it goes on once there is space.
    log.write("predict", *pair("again"))
    log.close()
    assert not list(tmp_path.glob("*.part"))
    texts = sent(tmp_path)
    assert texts[-1] == b"again"


@pytest.mark.parametrize(
    "bad, message",
    [
        (config("/a", kind="pubsub"), "`type` must be 'tfrecord'. Received: "),
        (config("/a", rate=1.5), "`sampling_rate` must be 0 to 1. Received:"),
        (config("a/b"), "`filename_prefix` of request logs must be an absol"),
        (config(""), "Received: ''"),
    ],
)
def test_configs_that_do_not_fit(bad, message):
    with pytest.raises(UsageError) as raised:
        RequestLog(bad, "toy")
    assert message in str(raised.value)
