"""Progress of an evaluation: a line on what is measured now, how far it is and how long the rest will take.

A thread shows it, so that a step of any kind has progress without code of its own: reading images, embedding, a solver.
"""

import threading
import time
from types import TracebackType

from rich.console import Console

PATIENCE = 2.0  # seconds before the first line
PERIOD = 5.0  # seconds between lines where there is no terminal


class Ticker:
    """Shows the step in progress while the block runs; a step that is shorter than :data:`PATIENCE` shows nothing.

    On a terminal one line is drawn again and again; elsewhere a line is printed about every :data:`PERIOD` seconds.

    Args:
        console: the console to show it on.
        steps: the number of steps.
    """

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps, self._done = console, steps, 0
        self._step, self._began = "", time.monotonic()
        self._start = self._began
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> "Ticker":
        """Begin to show."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, also after an error."""
        self._stop.set()
        self._thread.join()

    def begin(self, step: str) -> None:
        """Name the step that begins now."""
        self._step, self._began = step, time.monotonic()

    def end(self, steps: int = 1) -> None:
        """Count ``steps`` as done."""
        self._done += steps

    def line(self) -> str:
        """The step, the share done, and the seconds that the others will take if they take as long as those before."""
        now = time.monotonic()
        parts = [self._step, f"{now - self._began:.0f} s", f"{self._done} of {self._steps} steps done"]
        if self._done:
            left = (now - self._start) / self._done * (self._steps - self._done)
            parts.append(f"about {left:.0f} s left")
        return " · ".join(parts)

    def _show(self) -> None:
        if self._console.is_terminal:
            self._draw()
            return
        wait = PATIENCE
        while not self._stop.wait(wait):
            wait = PERIOD
            if time.monotonic() - self._began >= PATIENCE:
                self._console.print(f"         {self.line()}", highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        if self._stop.wait(PATIENCE):
            return
        with self._console.status(self.line()) as status:
            while not self._stop.wait(1.0):
                status.update(self.line())
