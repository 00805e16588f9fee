import os
import signal

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
