"""What tuning asks, tries and chooses; a real server of its own each time."""

import os
import stat
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from testing import commands, request_files

from emorec.errors import ServerError, UsageError
from serving.configs import schemas
from serving.load import tuning, tuning_load
from serving.load.tuning import Candidate, Measurement
from serving.server import external
from serving.server.loading import Loader


class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def double(self, x):
        return {"y": 2 * x}


def ones(*shape):
    return {"x": np.ones(shape, np.float32)}


def write_warmup(base, *logs):
    request_files.write(
        base / "7" / "assets.extra" / "tf_serving_warmup_requests", logs
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    base = tmp_path_factory.mktemp("tuning") / "toy"
    toy = Doubler()
    tf.saved_model.save(
        toy, str(base / "7"), signatures={"serving_default": toy.double}
    )
    return base


@pytest.fixture
def base(saved):
    """A base path with three requests of one row and one of four."""
    write_warmup(
        saved,
        request_files.predict_log("", ones(1, 2)),
        request_files.predict_log("", ones(1, 3)),
        request_files.predict_log("", ones(1, 3)),
        request_files.predict_log("", ones(4, 3)),
    )
    return saved


def read(base, signature="serving_default", rows=None):
    return tuning_load.read(str(base), "toy", signature, rows)


def measured(size, rate, p99_ms, **errors):
    return Measurement(
        Candidate(size),
        {
            "answers_per_s": rate,
            "latency_ms": {} if p99_ms is None else {"p99": p99_ms},
            "errors": errors,
        },
    )


def test_the_load_is_the_smallest_requests_of_one_shape(base):
    load = read(base)
    assert load.version == 7
    assert (load.signature_name, load.rows) == ("serving_default", 1)
    # Of other shapes, no two could be in one batch.
    assert len(load.requests) == 2
    assert load.least_batch == 4
    assert read(base, rows=4).rows == 4


def test_records_of_every_kind_bound_the_batch(base):
    log = prediction_log_pb2.PredictionLog()
    for _ in range(9):
        log.classify_log.request.input.example_list.examples.add()
    write_warmup(base, request_files.predict_log("", ones(1, 2)), log)
    assert read(base).least_batch == 9


def test_what_cannot_be_asked_is_refused(base, tmp_path):
    with pytest.raises(ServerError, match="holds no version folder"):
        read(tmp_path)
    with pytest.raises(ServerError, match="cannot be read"):
        read(tmp_path / "none")
    with pytest.raises(ServerError, match="there is serving_default of 1 rows"):
        read(base, "zz")
    own = base / "7" / "batching_params.pbtxt"
    own.write_text("max_batch_size { value: 4 }")
    try:
        with pytest.raises(UsageError, match="this version's own parameters"):
            read(base)
    finally:
        own.unlink()


def test_candidates_are_no_batching_and_every_pair(base):
    found = tuning.candidates(read(base), [8, 2, 4, 8], [0, 500], threads=3)
    assert [(c.max_batch_size, c.timeout_micros) for c in found] == [
        (None, 0),
        (4, 0),
        (4, 500),
        (8, 0),
        (8, 500),
    ]
    assert {c.threads for c in found[1:]} == {3}
    with pytest.raises(UsageError, match="must have one of 4 or more: .* 2, 3"):
        tuning.candidates(read(base), [2, 3], [0], threads=1)


@pytest.mark.parametrize(
    "size, allowed",
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])],
)
def test_allowed_sizes_are_the_powers_of_two(size, allowed):
    params = Candidate(size, 1500, threads=2, enqueued=7).parameters()
    assert list(params.allowed_batch_sizes) == allowed
    assert params.max_batch_size.value == size
    assert params.batch_timeout_micros.value == 1500
    assert params.num_batch_threads.value == 2
    assert params.max_enqueued_batches.value == 7


def test_the_most_answers_within_the_target_are_chosen():
    found = [
        measured(None, 900, 1.0),
        measured(4, 100, 10.0),
        measured(8, 200, 20.0),
        measured(16, 300, 20.1),
        measured(32, 400, 5.0, RESOURCE_EXHAUSTED=1),
        measured(64, 0.0, None),
    ]
    assert tuning.choose(found, 20.0) is found[2]
    assert tuning.choose(found, 19.0) is found[1]
    assert tuning.choose(found, 9.0) is None


def test_the_file_is_one_that_a_server_takes(base):
    load = read(base)
    chosen = Measurement(
        Candidate(4, 500, threads=1),
        {
            "answers_per_s": 200.0,
            "latency_ms": {"p99": 20.0},
            "plan": {"concurrency": 8},
            "machine": {"processors": 2, "machine": "x86_64"},
        },
    )
    text = tuning.to_text(load, chosen, "two\nlines", 25.0)
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) == 4
    assert comments[-1] == ("# 200.0 answers/s, p99 20.0 ms, target 25 ms.")
    params = schemas.parse("batching", text)
    assert params == chosen.candidate.parameters()
    model = Loader(params)(str(base / "7"))
    found = model.run("serving_default", ones(3, 2), ["y"])
    assert found["y"].tolist() == [[2, 2]] * 3
    model.close()


def script(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.long
def test_a_server_on_the_path_is_measured_and_ended(
    base, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(commands.ROOT))
    seen = tmp_path / "seen"
    binary = script(
        tmp_path / external.BINARY,
        f'#!/bin/sh\necho "$$ $@" > {seen}\n'
        f'exec {sys.executable} -m emorec serve --embedded "$@"\n',
    )
    found = tuning.measure(
        Candidate(4, 1000), read(base), 4, 0.5, binary=binary
    )
    assert found.rate > 0
    assert not found.report["errors"]
    assert found.report["plan"]["concurrency"] == 4
    pid, *flags = seen.read_text().split()
    assert "--enable_batching" in flags
    assert f"--model_base_path={base}" in flags
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    # So was its file of parameters.
    (file,) = (f for f in flags if f.startswith("--batching_parameters_file="))
    assert not os.path.exists(file.partition("=")[2])


def test_a_server_that_ends_is_told(base, tmp_path):
    binary = script(
        tmp_path / external.BINARY, "#!/bin/sh\necho 'error: no'\nexit 3\n"
    )
    with pytest.raises(ServerError, match="ended with code 3: error: no"):
        tuning.measure(Candidate(4), read(base), 1, 0.5, binary=binary)


def test_a_server_that_never_answers_is_ended(base, tmp_path):
    seen = tmp_path / "seen"
    binary = script(
        tmp_path / external.BINARY,
        f"#!/bin/sh\necho $$ > {seen}\nexec sleep 600\n",
    )
    with pytest.raises(ServerError, match="has not loaded 'toy' after 0.5 s"):
        tuning.measure(
            Candidate(4), read(base), 1, 0.5, binary=binary, start_timeout_s=0.5
        )
    with pytest.raises(ProcessLookupError):
        os.kill(int(seen.read_text()), 0)
