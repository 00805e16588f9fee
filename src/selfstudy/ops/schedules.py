"""Values that change over training, as stateless functions of the progress."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Progress(NamedTuple):
    """The progress of training, in optimizer steps.

    With a budget in minutes ``total`` is the current estimate: ``step / total`` equals the fraction of the time used.

    Attributes:
        step: the number of steps done.
        total: the number of steps in the whole run.
    """

    step: int
    total: int

    @property
    def fraction(self) -> float:
        """The fraction of training done, in [0, 1]."""
        return min(self.step / max(self.total, 1), 1.0)


Schedule = Callable[[Progress], float]


@dataclass(frozen=True)
class Constant:
    """The same value throughout training."""

    value: float

    def __call__(self, progress: Progress) -> float:
        """Return the value, for any progress."""
        return self.value


@dataclass(frozen=True)
class Linear:
    """A straight line from ``start`` to ``end`` over the fraction ``until`` of training, and ``end`` afterwards."""

    start: float
    end: float
    until: float = 1.0

    def __call__(self, progress: Progress) -> float:
        """Return the value at this progress."""
        done = min(progress.fraction / self.until, 1.0) if self.until > 0 else 1.0
        return self.start + (self.end - self.start) * done


def half_cosine(done: float) -> float:
    """Return half a period of a cosine, from 1 at ``done = 0`` to 0 at ``done = 1``.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, without restarts.
    """
    return 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Curve:
    """A value that warms up in a straight line and then follows a shape from ``start`` to ``end``.

    The first step of the warm-up has one step's worth of the rise, so that no optimizer step is wasted.

    Attributes:
        start: the value after the warm-up.
        end: the value at the end of training.
        warmup: the fraction of training that the warm-up takes, in [0, 1).
        warmup_from: the value before the first step of the warm-up, as a fraction of ``start``.
        shape: a function from the fraction of the rest that is done, in [0, 1], to the fraction of the way that is
            left: 1 stands for ``start``, 0 for ``end``.
    """

    start: float
    end: float = 0.0
    warmup: float = 0.0
    warmup_from: float = 0.0
    shape: Callable[[float], float] = half_cosine

    def __call__(self, progress: Progress) -> float:
        """Return the value at this progress."""
        fraction = progress.fraction
        if fraction < self.warmup:
            risen = min((progress.step + 1) / (self.warmup * max(progress.total, 1)), 1.0)
            return self.start * (self.warmup_from + (1.0 - self.warmup_from) * risen)
        done = (fraction - self.warmup) / max(1.0 - self.warmup, 1e-12)
        return self.end + (self.start - self.end) * self.shape(min(done, 1.0))


class Cosine(Curve):
    """Half a cosine from ``start`` to ``end``, the usual shape of :class:`Curve`."""
