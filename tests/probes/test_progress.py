import io
import time

import pytest
from rich.console import Console

from selfstudy.probes import progress
from selfstudy.probes.progress import Ticker


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_line_names_the_step_the_share_done_and_the_seconds_left(clock):
    ticker = Ticker(Console(quiet=True), 4)
    ticker.begin("raw pixels: linear")
    clock[0] += 3
    assert ticker.line() == "raw pixels: linear · 3 s · 0 of 4 steps done"
    ticker.end()
    ticker.begin("raw pixels: knn")
    clock[0] += 6
    assert ticker.line() == "raw pixels: knn · 6 s · 1 of 4 steps done · about 27 s left"


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    monkeypatch.setattr(progress, "PERIOD", 0.01)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_step_that_takes_long_is_shown(soon, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with Ticker(console, 2) as ticker:
        ticker.begin("raw pixels: linear")
        for _ in range(500):
            time.sleep(0.01)
            if "raw pixels: linear" in console.file.getvalue():
                break
    assert "raw pixels: linear · 0 s · 0 of 2 steps done" in console.file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_short_steps_are_not_shown_and_the_thread_ends_after_an_error(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal)
    with pytest.raises(ZeroDivisionError), Ticker(console, 2) as ticker:
        ticker.begin("raw pixels: knn")
        raise ZeroDivisionError
    assert console.file.getvalue() == "" and not ticker._thread.is_alive()
