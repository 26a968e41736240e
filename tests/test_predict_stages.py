"""Steps in threads: order, bounds, errors, and that they end."""

import threading
import time

import pytest

from emorec.predict_stages import Stage


def wait_for(what):
    ends = time.monotonic() + 30
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.001)


class Counting:
    """A generator's log: what it made, in which thread, and its end."""

    def __init__(self, count=1000, error=None):
        self.count = count
        self.error = error
        self.made = 0
        self.threads = set()
        self.ended = False

    def items(self):
        try:
            for i in range(self.count):
                self.threads.add(threading.current_thread().name)
                self.made += 1
                yield i
            if self.error:
                raise self.error
        finally:
            self.threads.add(threading.current_thread().name)
            self.ended = True


def alive():
    return [t for t in threading.enumerate() if t.name == "emorec-items"]


def test_all_items_come_in_order_from_another_thread():
    log = Counting(200)
    with Stage(log.items(), 3) as stage:
        assert list(stage) == list(range(200))
        assert stage.take() is None
        assert stage.over
    assert log.threads == {"emorec-items"}
    assert log.ended and not alive()


@pytest.mark.parametrize("most", [1, 4])
def test_no_more_than_so_many_wait(most):
    log = Counting()
    with Stage(log.items(), most) as stage:
        for taken in range(20):
            wait_for(lambda made=taken + most: log.made == made)
            time.sleep(0.002)
            assert log.made == taken + most
            assert next(stage) == taken


def test_what_waits_is_bounded_in_bytes():
    log = Counting()
    with Stage(log.items(), 50, most_bytes=25, size=lambda i: 10) as stage:
        wait_for(lambda: log.made == 3)
        time.sleep(0.01)
        assert log.made == 3
        assert next(stage) == 0
        wait_for(lambda: log.made == 4)


def test_an_item_that_does_not_fit_stays():
    with Stage(Counting(3).items(), 5, size=lambda i: 10 * i) as stage:
        wait_for(lambda: len(stage._waiting) == 3)
        assert stage.take(room=5) == 0
        assert stage.take(room=5) is None
        assert not stage.over
        assert stage.take(room=10) == 1


def test_taking_does_not_wait_for_longer_than_it_is_told():
    go = threading.Event()

    def items():
        go.wait()
        yield 7

    with Stage(items(), 1) as stage:
        assert stage.take(timeout=0) is None
        assert stage.take(timeout=0.01) is None
        assert not stage.over
        go.set()
        assert stage.take() == 7


def test_an_error_comes_after_the_items_before_it():
    log = Counting(3, error=ZeroDivisionError("no"))
    with Stage(log.items(), 5) as stage:
        wait_for(lambda: log.ended)
        assert [next(stage) for _ in range(3)] == [0, 1, 2]
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="no"):
                next(stage)


def test_closing_ends_the_thread_and_drops_what_waits():
    log, dropped = Counting(), []
    stage = Stage(log.items(), 3, drop=dropped.append)
    wait_for(lambda: log.made == 3)
    assert next(stage) == 0
    wait_for(lambda: log.made == 4)
    stage.close()
    stage.close()
    assert log.ended and not alive()
    assert dropped == [1, 2, 3]
    assert list(stage) == []


def test_closing_wakes_who_waits():
    go, got = threading.Event(), []

    def items():
        go.wait()
        yield 1

    stage = Stage(items(), 1)
    waiting = threading.Thread(target=lambda: got.append(stage.take()))
    waiting.start()
    closing = threading.Thread(target=stage.close)
    closing.start()
    waiting.join(30)
    assert got == [None]
    go.set()
    closing.join(30)
    assert not alive()
