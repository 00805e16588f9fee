"""Scores in which every class counts the same, for data where some classes are much larger than others.

Accuracy then says little: with 95 % of one class, that class as the answer to everything is 95 % right. Classes are
uneven if the largest class of test has more than :data:`UNEVEN` times the examples of the smallest. Below that the two
kinds of figures hardly differ, and small test parts are often that uneven by chance.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from selfstudy.probes.intervals import interval_of

UNEVEN = 3
MAJORITY = "majority class"
"""The row of the most frequent class of train as the answer to every test example."""


class PerClass(NamedTuple):
    """Counts of examples by class, (K,) each: where it was the truth, the answer, and both."""

    true: np.ndarray
    answered: np.ndarray
    both: np.ndarray

    def balanced_accuracy(self) -> float:
        """The mean over classes of the share of their examples that is right, in percent."""
        return 100 * _mean_of_known(self.both, self.true)

    def macro_f1(self) -> float:
        """The mean over classes of F1, the harmonic mean of precision and recall, in percent."""
        return 100 * _mean_of_known(2 * self.both, self.true + self.answered)


def uneven(targets: Tensor) -> bool:
    """True if the largest class of targets (M,) int64 has more than :data:`UNEVEN` times those of the smallest."""
    counts = targets.bincount()
    return int(counts.max()) > UNEVEN * int(counts.min())


def counted(predictions: np.ndarray, targets: np.ndarray, classes: int) -> PerClass:
    """The counts of predicted and true classes (M,) of ``classes`` classes."""
    right = targets[predictions == targets]
    return PerClass(*(np.bincount(of, minlength=classes) for of in (targets, predictions, right)))


def balanced(predictions: Tensor, targets: Tensor, classes: int) -> dict[str, tuple[float, tuple[float, float]]]:
    """Balanced accuracy and macro-F1 with their 95 % intervals, by what the name of a probe ends in.

    In the draws of the interval, a class that is not drawn is left out of the mean.

    Args:
        predictions: (M,) int64 in [0, classes).
        targets: (M,) int64 in [0, classes).
        classes: the number of classes.
    """
    answers, truth = predictions.cpu().numpy(), targets.cpu().numpy()

    def with_interval(statistic: Callable[[PerClass], float]) -> tuple[float, tuple[float, float]]:
        def of(rows: np.ndarray) -> float:
            return statistic(counted(answers[rows], truth[rows], classes))

        return of(np.arange(len(truth))), interval_of(of, len(truth))

    return {"-balanced": with_interval(PerClass.balanced_accuracy), "-f1": with_interval(PerClass.macro_f1)}


def _mean_of_known(part: np.ndarray, whole: np.ndarray) -> float:
    """The mean of part / whole, each (K,), over classes with a whole."""
    known = whole > 0
    return float((part[known] / whole[known]).mean())
