import os
import signal
import threading
from contextlib import nullcontext

import pytest

from selfstudy.train.signals import exit_code, stop_flag


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_raises_the_flag_and_gives_the_shells_exit_code(number, code):
    with stop_flag() as flag:
        assert flag.signal is None
        os.kill(os.getpid(), number)
        assert flag.signal is number
        assert exit_code(flag.signal) == code


def test_a_second_ctrl_c_gives_up_at_once():
    with stop_flag() as flag, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.signal is signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)


def test_the_previous_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_flag():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("seconds", "gives_up"), [(4.999, True), (5.0, False)])
def test_a_second_ctrl_c_counts_for_five_seconds(monkeypatch, seconds, gives_up):
    now = [100.0]
    monkeypatch.setattr("selfstudy.train.signals.time.monotonic", lambda: now[0])
    with stop_flag() as flag, pytest.raises(KeyboardInterrupt) if gives_up else nullcontext():
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.signal is signal.SIGINT
        now[0] += seconds
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.signal is signal.SIGINT


def test_outside_the_main_thread_the_program_keeps_its_handlers():
    flags, before = [], signal.getsignal(signal.SIGTERM)

    def watch():
        with stop_flag() as flag:
            flags.append((flag.signal, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert flags == [(None, True)] and signal.getsignal(signal.SIGTERM) is before
