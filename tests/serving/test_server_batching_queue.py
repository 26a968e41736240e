"""The queues of batching alone, without a model."""

import functools
import threading
import time

import grpc
import pytest
from testing.batch_model import NEVER_MICROS, parameters

from emorec.errors import UsageError
from serving.server import batching_queue
from serving.server.batching_limits import Limits, thread_count
from serving.server.batching_queue import Scheduler
from serving.server.status import StatusError

WAIT_S = 60.0


def limits(*sizes, **fields):
    return Limits.from_message(parameters(*sizes, **fields))


def echo(key, tasks):
    for task in tasks:
        task.result = (key, [t.inputs for t in tasks])


class Ask(threading.Thread):
    """Waits in a lane, on a thread of its own."""

    def __init__(self, lane, key, value, is_gone=None):
        super().__init__(daemon=True)
        self._arguments = key, value, 1
        self._lane = lane
        self._is_gone = is_gone
        self._found = self._error = None
        self.start()

    def run(self):
        try:
            with batching_queue.caller(self._is_gone):
                self._found = self._lane.run(*self._arguments)
        except StatusError as e:
            self._error = e

    def result(self):
        self.join(WAIT_S)
        assert not self.is_alive()
        if self._error:
            raise self._error
        return self._found


def until(condition):
    ends = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.001)


def has_pending(lane, count):
    return lane.pending == count


def batch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("batch-")]


def test_the_limits_are_those_of_the_message_or_the_real_servers():
    found = limits(
        2,
        8,
        max_batch_size=8,
        batch_timeout_micros=1500,
        max_enqueued_batches=3,
    )
    assert found == Limits(8, 0.0015, 3, (2, 8), False)
    assert [found.padded(n) for n in (1, 2, 3, 8)] == [2, 2, 8, 8]
    assert limits() == Limits(1000, 0.0, 10, (), False)
    assert limits().padded(7) == 7
    assert thread_count(parameters(num_batch_threads=5)) == 5
    assert thread_count(parameters()) >= 1


def test_limits_that_contradict_each_other_are_refused():
    with pytest.raises(UsageError, match="the last of `allowed_batch_sizes`"):
        limits(2, 4, max_batch_size=8)


def test_closing_finishes_what_is_queued_and_ends_the_threads():
    scheduler = Scheduler(2)
    assert not batch_threads()
    params = limits(max_batch_size=4, batch_timeout_micros=NEVER_MICROS)
    lane, other = scheduler.lane(params, echo), scheduler.lane(params, echo)
    asked = [Ask(lane, "a", 1), Ask(lane, "b", 2)]
    until(functools.partial(has_pending, lane, 2))
    lane.close()
    assert [a.result() for a in asked] == [("a", [1]), ("b", [2])]
    with pytest.raises(StatusError, match="is being unloaded") as e:
        lane.run("a", 1, 1)
    assert e.value.code == grpc.StatusCode.UNAVAILABLE
    # The threads go with the last lane, and come back with another.
    assert len(batch_threads()) == 2
    other.close()
    assert not batch_threads()
    again = scheduler.lane(limits(), echo)
    assert again.run("c", 3, 1) == ("c", [3])
    again.close()
    assert not batch_threads()


def test_who_has_gone_is_left_out():
    scheduler = Scheduler(1)
    lane = scheduler.lane(
        limits(max_batch_size=3, batch_timeout_micros=NEVER_MICROS), echo
    )
    gone = threading.Event()
    first = Ask(lane, "a", 1, gone.is_set)
    until(functools.partial(has_pending, lane, 1))
    gone.set()
    others = [Ask(lane, "a", 2, lambda: False), Ask(lane, "a", 3)]
    for other in others:
        key, inputs = other.result()
        assert (key, sorted(inputs)) == ("a", [2, 3])
    with pytest.raises(StatusError, match="timeout exceeded while") as e:
        first.result()
    assert e.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    lane.close()


def test_a_batch_of_which_everybody_has_gone_does_not_run():
    def fail(key, tasks):
        raise AssertionError("was run")

    scheduler = Scheduler(1)
    lane = scheduler.lane(limits(), fail)
    with pytest.raises(StatusError, match="Run\\(\\) timeout exceeded"):
        Ask(lane, "a", 1, lambda: True).result()
    lane.close()


def test_a_fault_is_told_to_everybody_and_the_threads_live_on():
    def fail(key, tasks):
        if key == "bad":
            raise RuntimeError("broke")
        echo(key, tasks)

    scheduler = Scheduler(1)
    lane = scheduler.lane(
        limits(max_batch_size=2, batch_timeout_micros=NEVER_MICROS), fail
    )
    asked = [Ask(lane, "bad", 1), Ask(lane, "bad", 2)]
    errors = []
    for ask in asked:
        with pytest.raises(StatusError, match="RuntimeError: broke") as e:
            ask.result()
        errors.append(e.value)
    assert errors[0] is not errors[1]
    assert errors[0].code == grpc.StatusCode.INTERNAL
    asked = [Ask(lane, "good", 1), Ask(lane, "good", 2)]
    assert sorted(asked[0].result()[1]) == [1, 2]
    assert sorted(asked[1].result()[1]) == [1, 2]
    lane.close()


def test_a_batch_is_due_though_the_thread_that_watched_it_is_busy():
    running, go_on = threading.Event(), threading.Event()

    def process(key, tasks):
        if key == "slow":
            running.set()
            assert go_on.wait(WAIT_S)
        echo(key, tasks)

    scheduler = Scheduler(2)
    lane = scheduler.lane(
        limits(max_batch_size=4, batch_timeout_micros=20_000), process
    )
    slow = Ask(lane, "slow", 1)
    quick = [Ask(lane, key, 2) for key in "abc"]
    assert running.wait(WAIT_S)
    for ask, key in zip(quick, "abc"):
        assert ask.result() == (key, [2])
    go_on.set()
    assert slow.result() == ("slow", [1])
    lane.close()


def test_queues_take_turns():
    order, free = [], threading.Event()

    def process(key, tasks):
        assert free.wait(WAIT_S)
        order.append(key)
        echo(key, tasks)

    scheduler = Scheduler(1)
    lane = scheduler.lane(limits(max_batch_size=1), process)
    asked = []
    for key in ("first", "a", "a", "a", "b"):
        asked.append(Ask(lane, key, 1))
        until(functools.partial(has_pending, lane, len(asked)))
    free.set()
    for ask in asked:
        ask.result()
    assert order == ["first", "a", "b", "a", "a"]
    lane.close()
