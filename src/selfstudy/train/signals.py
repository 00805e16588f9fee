"""SIGTERM and Ctrl-C set a flag that the loop reads between steps."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SECOND_PRESS_SECONDS = 5.0


class StopFlag:
    """The signal that asked training to stop, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._since = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; a second Ctrl-C within five seconds stops at once, without a checkpoint."""
        now = time.monotonic()
        if number == signal.SIGINT and self.signal is not None and now - self._since < _SECOND_PRESS_SECONDS:
            raise KeyboardInterrupt
        self.signal, self._since = signal.Signals(number), now


def exit_code(caught: signal.Signals) -> int:
    """The exit code of a process that a signal ended: 128 plus its number, so 130 for Ctrl-C and 143 for SIGTERM."""
    return 128 + int(caught)


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """A flag that SIGTERM and SIGINT set inside the block; outside the main thread nothing sets it."""
    flag = StopFlag()
    previous: dict[int, object] = {}
    with suppress(ValueError):  # not the main thread: the host program owns the signals
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, flag.handle)
    try:
        yield flag
    finally:
        for caught, handler in previous.items():
            signal.signal(caught, handler)  # type: ignore[arg-type]  # signal.signal returned it
