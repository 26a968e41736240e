"""The asynchronous client, and many requests in both clients."""

import asyncio
import time

import numpy as np
import pytest

from emorec.errors import UsageError
from serving.client import AsyncEmotionClient, EmotionClient, Outcome, errors
from serving.server import external


@pytest.fixture
def address(server):
    return f"127.0.0.1:{server.port}"


def asked(address, talk, **options):
    """Returns what `talk(client)` gives in an event loop of its own."""

    async def run():
        async with AsyncEmotionClient(address, "toy", **options) as client:
            return await talk(client)

    return asyncio.run(run())


def test_every_method_answers_as_the_other_clients(address):
    async def talk(client):
        await client.wait_ready(5)
        return (
            await client.status(),
            await client.metadata(),
            await client.jpegs([[b"1", b"22"], [b"333"]], [[b"a"] * 2, [b"b"]]),
            await client.features(
                np.ones((1, 2, 2)), np.ones((1, 2, 4)), [[1, 0]]
            ),
            await client.examples([b"a\x00"], "feature_examples"),
            await client.predict("add", {"a": np.float32([1]), "b": ONE}),
        )

    status, metadata, *found = asked(address, talk)
    with EmotionClient(address, "toy") as client:
        assert status == client.status()
        assert metadata == client.metadata()
    jpegs, features, examples, added = found
    assert jpegs["face_lengths"].tolist() == [[1, 2], [3, 0]]
    assert features["kept"].tolist() == [6]
    assert examples["raw_bytes"].tolist() == [b"a\x00"]
    assert added["sum"].tolist() == [2]


ONE = np.ones(1, np.float32)


def test_errors_are_the_same(address):
    async def unknown(client):
        await client.predict("nope", {"x": ONE})

    with pytest.raises(errors.BadRequest, match=r"FAILED_PRECONDITION"):
        asked(address, unknown)

    async def status(client):
        await client.status()

    with pytest.raises(errors.Unavailable, match=r"check the address"):
        asked(f"127.0.0.1:{external.free_port()}", status, timeout_s=0.5)


def test_the_deadline_of_one_call(address, pipe):
    async def talk(client):
        await client.predict("block", {"path": [pipe.path]}, timeout_s=0.2)

    with pytest.raises(errors.DeadlineExceeded, match=r"raise `timeout_s`"):
        asked(address, talk)
    pipe.release()


def requests(count):
    return ({"x": np.float32([i, i])} for i in range(count))


def totals(outcomes):
    return [(o.index, o.outputs["total"].item()) for o in outcomes]


def test_many_in_order(address):
    expected = [(i, 2.0 * i) for i in range(20)]
    with EmotionClient(address, "toy") as client:
        assert totals(client.predict_many("total", requests(20))) == expected

    async def each():
        for request in requests(20):
            yield request

    async def talk(client):
        for source in (requests(20), each()):
            many = client.predict_many("total", source, in_flight=3)
            assert totals([o async for o in many]) == expected

    asked(address, talk)


def test_one_of_many_that_fails_stops_no_other(address):
    rows = [{"x": ONE}, {"y": ONE}, {"x": np.ones(0)}, {"x": ONE}]
    with EmotionClient(address, "toy") as client:
        found = list(client.predict_many("total", rows, in_flight=2))
    assert [o.error is None for o in found] == [True, False, False, True]
    assert isinstance(found[1].error, errors.BadRequest)
    assert "at least one row" in str(found[2].error)
    assert found[3] == Outcome(3, {"total": np.float32(1)})


def test_many_reads_no_further_than_asked(address):
    read = []

    def source():
        for i in range(100):
            read.append(i)
            yield {"x": ONE}

    with EmotionClient(address, "toy") as client:
        many = client.predict_many("total", source(), in_flight=3)
        next(many)
        assert len(read) == 3
        many.close()

        with pytest.raises(UsageError, match=r"`in_flight` must be 1 to 1024"):
            next(client.predict_many("total", [], in_flight=0))


def test_many_leaves_early_in_a_coroutine(address, pipe):
    async def talk(client):
        blocked = ({"path": [pipe.path]} for _ in range(3))
        many = client.predict_many("block", blocked, in_flight=2)
        task = asyncio.create_task(anext(many))
        await asyncio.sleep(0.2)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - started

    # The deadline is 60 s: it was not waited for.
    assert asked(address, talk) < 30
    pipe.release()
