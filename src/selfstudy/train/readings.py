"""k-NN readings during training, on labelled examples that no later evaluation tests on.

A reading is taken before the first step and then a dozen times, evenly in progress. It changes no weight, no statistic
of a normalisation layer and no random number of the run, and a budget in minutes does not count it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.console import Console
from torch import nn

from selfstudy.errors import DataError, first_line
from selfstudy.probes import named
from selfstudy.probes.evaluation import Evaluation, Subject, evaluate
from selfstudy.probes.results import Score, shown, title
from selfstudy.train.clock import Clock
from selfstudy.train.monitor import Observation

READINGS = 12
"""The number of readings after the one before the first step."""
Line = Mapping[str, object]
_QUIET = Console(quiet=True)


class EvalSet(NamedTuple):
    """Labelled examples for readings, prepared once and kept in memory.

    Attributes:
        about: a few words on the examples, such as ``"2,000 images in the bank, 500 asked"``.
        free: rows that need no training, such as raw pixels.
        subject: a function from an encoder in training to the row of its embeddings.
    """

    about: str
    free: Sequence[Subject]
    subject: Callable[[nn.Module], Subject]


class Readings:
    """A monitor that reads k-NN a dozen times.

    Args:
        examples: the labelled examples.
        encoder: a function that returns the encoder that the run would keep if it ended now.
        write: a function that adds lines to ``readings.jsonl``.
        clock: a function that returns the clock of training, once training has begun.
        console: the console that shows a line for each reading.

    Attributes:
        count: the number of readings so far.
        seconds: the time that they took, with that of the free rows; its owner may add that of opening the examples.
    """

    def __init__(
        self,
        examples: EvalSet,
        encoder: Callable[[], nn.Module],
        write: Callable[[Iterable[Line]], None],
        *,
        clock: Callable[[], Clock],
        console: Console,
    ) -> None:
        self._examples, self._encoder, self._write = examples, encoder, write
        self._clock, self._console = clock, console
        self._probes = named(["knn"])
        self._note = ""
        self._waiting: list[Line] = []
        self._done: int | None = None  # twelfths of the run that were done at the last reading
        self.count, self.seconds = 0, 0.0

    def begin(self, *, resumed: bool, known: bool) -> None:
        """Measure what comes before training; it is written with the first step.

        Args:
            resumed: True if training goes on from a checkpoint: then the untrained encoder is not read.
            known: True if the free rows of this run are on file.
        """
        self._waiting = [] if known else self._free()
        if not resumed:
            self._done = 0
            self._waiting += self._taken(0, 0.0)

    def _free(self) -> list[Line]:
        """The lines of the best free row under each probe, which are measured now."""
        began = time.monotonic()
        best: dict[str, Score] = {}
        for score in self._scores(self._examples.free):
            if score.probe not in best or score.value > best[score.probe].value:
                best[score.probe] = score
        rows = [f"{title(one.probe)} {shown(one.value)} ({one.features})" for one in best.values()]
        self._console.print(f"readings {self._examples.about}; free: {' · '.join(rows) or 'none'}", highlight=False)
        self.seconds += time.monotonic() - began
        return [
            {"step": None, "row": one.features, "free": True, "probe": one.probe, "value": one.value}
            for one in best.values()
        ]

    def __call__(self, observation: Observation) -> str | None:
        """Take a reading if another twelfth of the run is done; return the last one in words."""
        step, total = observation.progress
        if self._waiting:
            self._write(self._waiting)
            self._waiting = []
        if self._done is None:  # the run is resumed
            self._done = READINGS * (step - 1) // total
        if READINGS * step // total > self._done:
            self._done = READINGS * step // total
            clock, before = self._clock(), self.seconds
            self._write(self._taken(step, clock.elapsed_seconds))
            clock.leave_out(self.seconds - before)
        return self._note or None

    def _taken(self, step: int, elapsed: float) -> list[Line]:
        """The lines of a reading after ``step`` steps and ``elapsed`` seconds of training, which is taken now."""
        began = time.monotonic()
        try:
            scores = self._scores([self._examples.subject(self._encoder())])
            words = [f"{title(score.probe)} {shown(score.value, score.unit)}" for score in scores]
        except DataError as error:  # embeddings that are not finite: training itself decides what that means
            scores, words = [], [f"none: {first_line(error)}"]
        self._note = words[0]
        self._console.print(f"reading  step {step:,}: {' · '.join(words)}", highlight=False)
        self.count, self.seconds = self.count + 1, self.seconds + time.monotonic() - began
        return [_line(score, step, elapsed) for score in scores]

    def _scores(self, subjects: Sequence[Subject]) -> list[Score]:
        """The scores of some rows under the probes of readings."""
        return list(evaluate(Evaluation(self._examples.about, subjects), self._probes, console=_QUIET))


def _line(score: Score, step: int, elapsed: float) -> Line:
    """One line of ``readings.jsonl``."""
    low, high = score.interval or (None, None)
    return {
        "step": step,
        "seconds": round(elapsed, 3),
        "probe": score.probe,
        "value": score.value,
        "low": low,
        "high": high,
        "protocol": score.protocol.replace("final model", "model in training"),
    }
