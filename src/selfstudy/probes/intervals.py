"""95 % intervals over draws of the test examples, by the bootstrap (Efron 1979, doi:10.1214/aos/1176344552).

All M test examples are replaced by M draws from them, :data:`RESAMPLES` times with a fixed seed; the ends are the 2.5 %
and 97.5 % quantiles of the statistic. The test part alone is drawn: another train part, or another seed of training, is
not in the interval.
Shares of right answers have Wilson's interval instead
(:func:`selfstudy.probes.results.wilson`), which also holds near 0 and 100 %.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from selfstudy.probes.results import Ahead, Score

RESAMPLES = 1000
_SEED = 0


def resamples(count: int) -> Iterator[np.ndarray]:
    """:data:`RESAMPLES` draws of ``count`` positions (count,) int64 with replacement, the same ones every time."""
    chance = np.random.default_rng(_SEED)
    return (chance.integers(count, size=count) for _ in range(RESAMPLES))


def interval_of(statistic: Callable[[np.ndarray], float], count: int) -> tuple[float, float]:
    """The ends of the interval of a statistic, a function from positions (count,) of test examples to a number.

    Draws on which the statistic is NaN are left out; without any other the ends are NaN.
    """
    drawn = np.array([statistic(rows) for rows in resamples(count)])
    known = drawn[~np.isnan(drawn)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def interval_of_mean(values: np.ndarray) -> tuple[float, float]:
    """The ends of the interval of the mean of one number (M,) for each test example."""
    return interval_of(lambda rows: float(values[rows].mean()), len(values))


def compared(scores: Sequence[Score]) -> list[Score]:
    """The scores of one evaluation, with their paired differences to the best free row.

    Of the free rows under the same probe, the one with the highest score is taken. Scores that are free themselves, and
    those whose right and wrong test examples are not known, stay as they are.
    """
    return [score if score.free else score._replace(ahead=_ahead(score, scores)) for score in scores]


def _ahead(score: Score, scores: Sequence[Score]) -> Ahead | None:
    """The difference to the best free row; None where the answers to the same test examples are not known."""
    rivals = [other for other in scores if other.free and other.probe == score.probe and _same_test(score, other)]
    if not rivals:
        return None
    best = max(rivals, key=lambda other: other.value)
    ours, theirs = (np.frombuffer(one.right or b"", np.uint8).astype(np.float64) for one in (score, best))
    return Ahead(score.value - best.value, *interval_of_mean(100 * (ours - theirs)), best.features)


def _same_test(score: Score, other: Score) -> bool:
    """True if both know their right answers, to the same number of test examples."""
    return score.right is not None and other.right is not None and len(score.right) == len(other.right)
