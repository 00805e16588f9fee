"""The progress of training, in steps or by the wall clock."""

import time

from selfstudy.ops.duration import Duration
from selfstudy.ops.schedules import Progress

_TOTAL_BEFORE_MEASURING = 1000  # assumed at the first step; large, so that the first warm-up step is gentle


class Clock:
    """Turns a step number into :class:`Progress`, and says when training is over.

    A budget in minutes holds everything from ``began`` on: what came before the first step, the steps, and the work
    after the last one, for which ``reserve`` seconds are kept. The total is estimated again at each step so that
    ``step / total`` is the share used of the time for steps. Schedules then end when that time is up, at any speed.
    Such a run is not bit-reproducible, because its schedules follow the clock.

    Args:
        total_steps: budget in optimizer steps; None under a budget in minutes.
        minutes: wall-clock budget in minutes, or None.
        elapsed_seconds: time used before, by the run that is resumed.
        began: the ``time.monotonic()`` at which the budget in minutes began; now if left out.
        reserve: seconds of the budget in minutes that are kept for the work after the last step.
    """

    def __init__(
        self,
        total_steps: int | None,
        minutes: float | None,
        *,
        elapsed_seconds: float = 0.0,
        began: float | None = None,
        reserve: float = 0.0,
    ) -> None:
        self._total_steps, self._before = total_steps, elapsed_seconds
        self._budget = None if minutes is None else minutes * 60 - reserve
        self._began = time.monotonic() if began is None or minutes is None else began
        self.begin_again()

    def begin_again(self) -> None:
        """Restart: the time since construction was not training, such as compiling; a budget in minutes holds it."""
        self._first = time.monotonic()
        if self._budget is None:
            self._began = self._first

    @classmethod
    def of(
        cls,
        duration: Duration,
        *,
        steps_per_epoch: int,
        batch_size: int,
        elapsed_seconds: float = 0.0,
        began: float | None = None,
        reserve: float = 0.0,
    ) -> "Clock":
        """The clock for a duration.

        Args:
            duration: the budget.
            steps_per_epoch: optimizer steps of an epoch.
            batch_size: inputs of an optimizer step, over all processes.
            elapsed_seconds: time used before.
            began: the ``time.monotonic()`` at which a budget in minutes began; now if left out.
            reserve: seconds of a budget in minutes that are kept for the work after the last step.
        """
        steps = duration.steps(steps_per_epoch=steps_per_epoch, batch_size=batch_size)
        minutes = duration.amount if duration.unit == "minutes" else None
        return cls(steps, minutes, elapsed_seconds=elapsed_seconds, began=began, reserve=reserve)

    def leave_out(self, seconds: float) -> None:
        """Do not count some of the time that has passed, such as that of a reading."""
        self._began, self._first = self._began + seconds, self._first + seconds

    @property
    def elapsed_seconds(self) -> float:
        """The seconds used, with those of earlier runs; without those before the first step for a budget in steps."""
        return self._before + time.monotonic() - self._began

    def progress(self, step: int) -> Progress:
        """The progress after ``step`` optimizer steps; at least one step is always taken."""
        if self._total_steps is not None:
            return Progress(step, self._total_steps)
        if step == 0:
            return Progress(0, _TOTAL_BEFORE_MEASURING)
        fraction = self._share_used()
        return Progress(step, step if fraction >= 1 else max(step + 1, round(step / max(fraction, 1e-6))))

    def _share_used(self) -> float:
        """The share used of the time for steps, at least 0; 1 if there is none."""
        assert self._budget is not None
        for_steps = self._budget - (self._first - self._began)
        return (self._before + time.monotonic() - self._first) / for_steps if for_steps > 0 else 1.0

    def is_over(self, progress: Progress) -> bool:
        """True if training is over."""
        return progress.step >= progress.total

    def remaining_seconds(self, progress: Progress) -> float:
        """The estimated time left for steps, in seconds."""
        if self._budget is not None:
            return max(0.0, self._budget - self.elapsed_seconds)
        return self.elapsed_seconds / max(progress.step, 1) * (progress.total - progress.step)
