"""Values that move over training, as stateless functions of the progress."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Progress(NamedTuple):
    """Where training stands, in optimizer steps.

    Under a wall-clock budget ``total`` is the current estimate: ``step / total`` equals the fraction of the time used.
    """

    step: int
    total: int

    @property
    def fraction(self) -> float:
        """Share of training done, in [0, 1]."""
        return min(self.step / max(self.total, 1), 1.0)


Schedule = Callable[[Progress], float]


@dataclass(frozen=True)
class Constant:
    """The same value throughout."""

    value: float

    def __call__(self, progress: Progress) -> float:
        """The value, whatever the progress."""
        return self.value


@dataclass(frozen=True)
class Linear:
    """A straight line from ``start`` to ``end`` over the fraction ``until`` of training, then ``end``."""

    start: float
    end: float
    until: float = 1.0

    def __call__(self, progress: Progress) -> float:
        """The value at this progress."""
        done = min(progress.fraction / self.until, 1.0) if self.until > 0 else 1.0
        return self.start + (self.end - self.start) * done


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``start`` to ``end``, after a linear warm-up from 0 over the fraction ``warmup``.

    Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts. The first warm-up step is one step's worth, not 0,
    so that no optimizer step is wasted.
    """

    start: float
    end: float = 0.0
    warmup: float = 0.0

    def __call__(self, progress: Progress) -> float:
        """The value at this progress."""
        fraction = progress.fraction
        if fraction < self.warmup:
            return self.start * min((progress.step + 1) / (self.warmup * max(progress.total, 1)), 1.0)
        done = (fraction - self.warmup) / max(1.0 - self.warmup, 1e-12)
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
