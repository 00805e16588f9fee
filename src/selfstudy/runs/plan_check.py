"""A monitor that notices in the first tenth of a run that its plan was wrong, before the first checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfstudy.runs.resolved import Resolved
from selfstudy.train.monitor import Observation

_SHARE = 0.1  # of the run; later too little time is left to begin again
_TOO_SLOW = 1.5  # times the planned seconds of a step
_UNCOUNTED, _STEPS = 2, 5  # the first steps set up memory and kernels; the mean of the next ones counts


class PlanChanged(Exception):
    """The run begins again with other settings.

    Attributes:
        resolved: the new settings.
    """

    def __init__(self, resolved: Resolved[Any]) -> None:
        super().__init__("the plan of this run was wrong")
        self.resolved = resolved


class PlanCheck:
    """Asks once for another plan if steps take much longer than planned.

    Args:
        planned: the planned seconds of a step.
        again: returns the settings of the plan for these seconds of a step, or None if the plan stays the best one.
        checkpoints: the folder of checkpoints; from the first one on the plan is kept.
    """

    def __init__(self, planned: float, again: Callable[[float], Resolved[Any] | None], checkpoints: Path) -> None:
        self._planned, self._again, self._checkpoints = planned, again, checkpoints
        self._seconds: list[float] = []
        self._over = False

    def __call__(self, observation: Observation) -> None:
        """Look at one step.

        Raises:
            PlanChanged: another plan is better.
        """
        self._seconds.append(observation.seconds)
        counted = self._seconds[_UNCOUNTED:]
        if self._over or len(counted) < _STEPS:
            return
        mean = sum(counted) / len(counted)
        late = observation.progress.fraction > _SHARE or any(self._checkpoints.glob("step-*"))
        if late or mean > _TOO_SLOW * self._planned:
            self._over = True
            if not late and (resolved := self._again(mean)):
                raise PlanChanged(resolved)
