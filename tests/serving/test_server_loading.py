"""Loading a version: batching files of its own, and threads that end."""

import random
import threading
from concurrent import futures

import numpy as np
import pytest
from testing import batch_model
from testing.batch_model import NEVER_MICROS, parameters

from emorec.errors import ModelError, UsageError
from serving.configs import schemas
from serving.server.batching import BatchedModel
from serving.server.loading import BATCHING_FILE, Loader
from serving.server.saved_model import LoadedModel
from serving.server.status import StatusError


@pytest.fixture(scope="module")
def batch_base(tmp_path_factory):
    return batch_model.save(tmp_path_factory.mktemp("loading") / "m")


@pytest.fixture
def version(batch_base):
    """A version folder; what a test adds to it goes again."""
    path = batch_base / "1"
    yield path
    (path / BATCHING_FILE).unlink(missing_ok=True)


def batch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("batch-")]


def ones(rows):
    return {"x": np.ones((rows, 1), np.float32)}


def test_batching_is_on_where_there_are_parameters(version):
    plain = Loader()(str(version))
    assert isinstance(plain, LoadedModel)
    assert not batch_threads()
    plain.close()
    model = Loader(parameters(max_batch_size=2, num_batch_threads=3))(
        str(version)
    )
    assert isinstance(model, BatchedModel)
    assert len(batch_threads()) == 3
    assert sorted(model.signatures) == [
        "__saved_model_init_op",
        "add",
        "block",
        "positive",
        "serving_default",
        "tail",
        "total",
    ]
    model.close()
    assert not batch_threads()


def test_parameters_that_contradict_each_other_are_refused():
    with pytest.raises(UsageError, match="must be positive and increase"):
        Loader(parameters(4, 2, max_batch_size=2))


def test_a_versions_own_file_is_read_only_where_batching_is_on(version):
    own = parameters(
        3, max_batch_size=3, batch_timeout_micros=0, num_batch_threads=7
    )
    (version / BATCHING_FILE).write_text(schemas.to_text(own))
    plain = Loader()(str(version))
    assert plain.run("serving_default", ones(9), ["rows"])["rows"][0] == 9
    plain.close()
    model = Loader(
        parameters(
            max_batch_size=64,
            batch_timeout_micros=NEVER_MICROS,
            num_batch_threads=1,
        )
    )(str(version))
    # The threads are the server's.
    assert len(batch_threads()) == 1
    assert model.run("serving_default", ones(1), ["rows"])["rows"] == [3]
    with pytest.raises(StatusError, match="Task size 4 is larger than .* 3$"):
        model.run("serving_default", ones(4), ["rows"])
    model.close()


@pytest.mark.parametrize(
    "text, message",
    [
        (b"max_batch_size: 32", "is not a batching config"),
        (b"max_batch_size { value: 0 }", "`max_batch_size` must be 1 to"),
        (b"\xff", "is not UTF-8 text"),
        (b"#" * (1 << 20) + b"\n", "is larger than 1048576 bytes"),
    ],
    ids=["syntax", "range", "text", "size"],
)
def test_a_bad_file_keeps_the_version_from_serving(
    batch_base, version, text, message
):
    (version / BATCHING_FILE).write_bytes(text)
    with pytest.raises(StatusError, match=message) as e:
        Loader(parameters())(str(version))
    assert str(e.value).startswith(str(version / BATCHING_FILE))
    assert "\n" not in str(e.value)
    assert not batch_threads()
    with (
        pytest.raises(ModelError, match=message),
        batch_model.served(batch_base, parameters()),
    ):
        pass


def test_a_model_that_does_not_load_leaves_no_threads(tmp_path):
    with pytest.raises(OSError, match="SavedModel file does not exist"):
        Loader(parameters())(str(tmp_path))
    assert not batch_threads()


def test_two_models_share_the_threads(version):
    loader = Loader(parameters(num_batch_threads=2))
    one, two = loader(str(version)), loader(str(version))
    assert len(batch_threads()) == 2
    one.close()
    assert two.run("serving_default", ones(2), ["rows"])["rows"].tolist() == [
        2,
        2,
    ]
    two.close()
    assert not batch_threads()


def test_everybody_gets_their_own_rows(version):
    model = Loader(
        parameters(
            4,
            8,
            32,
            max_batch_size=32,
            batch_timeout_micros=500,
            max_enqueued_batches=100,
            num_batch_threads=2,
        )
    )(str(version))

    def ask(caller):
        rng = random.Random(caller)
        batches = set()
        for number in range(50):
            x = np.full((rng.randint(1, 5), 2), caller * 1000 + number)
            x = x.astype(np.float32)
            found = model.run("serving_default", {"x": x}, ["x", "rows"])
            np.testing.assert_array_equal(found["x"], x)
            assert len(set(found["rows"].tolist())) == 1
            batches.add(int(found["rows"][0]))
        return batches

    with futures.ThreadPoolExecutor(16) as pool:
        batches = set().union(*pool.map(ask, range(16)))
    assert batches <= {4, 8, 32}
    assert len(batches) > 1
    model.close()
