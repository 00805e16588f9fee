"""The progress of training, in steps or by the wall clock."""

import time

from selfstudy.ops.duration import Duration
from selfstudy.ops.schedules import Progress

_TOTAL_BEFORE_MEASURING = 1000  # assumed at the first step; large, so that the first warm-up step is gentle


class Clock:
    """Turns a step number into :class:`Progress`, and says when training is over.

    Under a budget in minutes the total is estimated again at each step so that ``step / total`` is the share of the
    time used. Schedules then end when the time is up, at any speed. Such a run is not bit-reproducible, because
    its schedules follow the clock.

    Args:
        total_steps: budget in optimizer steps; None under a budget in minutes.
        minutes: wall-clock budget in minutes, or None.
        elapsed_seconds: training time used before, by the run that is resumed.
    """

    def __init__(self, total_steps: int | None, minutes: float | None, *, elapsed_seconds: float = 0.0) -> None:
        self._total_steps, self._budget = total_steps, None if minutes is None else minutes * 60
        self._before = elapsed_seconds
        self.begin_again()

    def begin_again(self) -> None:
        """Restart: time since construction was not training, such as compiling."""
        self._start = time.monotonic() - self._before

    @classmethod
    def of(cls, duration: Duration, *, steps_per_epoch: int, batch_size: int, elapsed_seconds: float = 0.0) -> "Clock":
        """The clock for a duration.

        Args:
            duration: the budget.
            steps_per_epoch: optimizer steps of an epoch.
            batch_size: inputs of an optimizer step, over all processes.
            elapsed_seconds: training time used before.
        """
        steps = duration.steps(steps_per_epoch=steps_per_epoch, batch_size=batch_size)
        minutes = duration.amount if duration.unit == "minutes" else None
        return cls(steps, minutes, elapsed_seconds=elapsed_seconds)

    @property
    def elapsed_seconds(self) -> float:
        """Training time so far in seconds, including that of earlier runs."""
        return time.monotonic() - self._start

    def progress(self, step: int) -> Progress:
        """The progress after ``step`` optimizer steps; at least one step is always taken."""
        if self._total_steps is not None:
            return Progress(step, self._total_steps)
        assert self._budget is not None
        fraction = self.elapsed_seconds / self._budget
        if step == 0:
            return Progress(0, _TOTAL_BEFORE_MEASURING)
        return Progress(step, step if fraction >= 1 else max(step + 1, round(step / max(fraction, 1e-6))))

    def is_over(self, progress: Progress) -> bool:
        """True if training is over."""
        return progress.step >= progress.total

    def remaining_seconds(self, progress: Progress) -> float:
        """The estimated time left, in seconds."""
        if self._budget is not None:
            return max(0.0, self._budget - self.elapsed_seconds)
        return self.elapsed_seconds / max(progress.step, 1) * (progress.total - progress.step)
