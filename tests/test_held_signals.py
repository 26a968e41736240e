"""Signals that are put off until a process is started."""

import signal
import threading

import pytest

from emorec import signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_arrives_when_the_block_is_over(number):
    came = []
    before = signal.signal(number, lambda number, _: came.append(number))
    try:
        with signals.held():
            signal.raise_signal(number)
            assert not came
        assert came == [number]
        signal.raise_signal(number)
        assert came == [number] * 2
    finally:
        signal.signal(number, before)


def test_ctrl_c_is_no_less_an_interrupt():
    reached = False
    with pytest.raises(KeyboardInterrupt), signals.held():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached


def test_elsewhere_than_in_the_main_thread_it_does_nothing():
    handler, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with signals.held():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handler]
