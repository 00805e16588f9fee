"""Semantic textual similarity: do the cosines of embedded pairs have the order that people give them?

The figure is Spearman's rank correlation with human scores (Cer et al. 2017, arXiv:1708.00055); nothing is trained on
the pairs. Alignment and uniformity of the embeddings, which need no scores, are measured during training
(:mod:`selfstudy.train.health`; Gao et al. 2021, arXiv:2104.08821, section 7).
"""

import math
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.probes.intervals import interval_of
from selfstudy.probes.results import Score

ENCODER_COSINE = "the cosine of both embeddings, frozen, final model"


class Similarities(NamedTuple):
    """The similarity of the two parts of every pair, by some features and by people.

    Attributes:
        name: the row of the table, such as ``"pretrained encoder"``.
        values: (N,) float64, the similarities to be judged.
        scores: (N,) float64, the human scores; larger is more similar.
        how: a description of ``values``, for the protocol.
    """

    name: str
    values: np.ndarray
    scores: np.ndarray
    how: str = ENCODER_COSINE


def measure(pairs: Similarities) -> list[Score]:
    """Spearman's correlation, times 100, of similarities with human scores.

    Raises:
        DataError: no correlation is defined, see :func:`spearman`; the message names the row of the table.
    """
    try:
        correlation = spearman(pairs.values, pairs.scores)
    except DataError as error:
        raise DataError(f"{pairs.name}: {error}") from None
    protocol = f"STS: Spearman correlation x 100 with human scores of {pairs.how}, {len(pairs.scores):,} pairs"
    interval = interval_of(lambda rows: 100 * _of_ranks(pairs.values[rows], pairs.scores[rows]), len(pairs.scores))
    return [Score(pairs.name, "sts", 100 * correlation, protocol, unit="", interval=interval)]


def of_embeddings(
    name: str, first: Tensor, second: Tensor, scores: np.ndarray, *, how: str = ENCODER_COSINE
) -> Similarities:
    """The cosines of embedded pairs.

    Args:
        name: the row of the table.
        first: (N, D), the first part of every pair.
        second: (N, D), the second part.
        scores: (N,), the human scores.
        how: a description of the cosines, for the protocol.

    Raises:
        DataError: not one embedding each for every pair.
    """
    if first.shape != second.shape:
        raise DataError(
            f"{name}: embeddings {tuple(first.shape)} of first and {tuple(second.shape)} of second sentences\n"
            "every pair needs one of each\ncheck which sentences were skipped"
        )
    # in float64, for rounding would shuffle the ranks of embeddings that all lie close together
    one, other = (F.normalize(part.detach().cpu().double(), dim=1) for part in (first, second))
    return Similarities(name, (one * other).sum(dim=1).numpy(), scores, how)


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """The rank correlation of two lists of numbers, in [-1, 1]; equal numbers share the mean of their ranks.

    Args:
        first: (N,), N at least 2.
        second: (N,), one number for each of ``first``.

    Raises:
        DataError: lengths differ or are below 2, a number is not finite, or all numbers of a list are equal, for which
            no correlation is defined.

    Source: Spearman 1904, doi:10.2307/1412159; with ties, the correlation of the mean ranks.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise DataError(
            f"a rank correlation of {first.shape} and {second.shape} numbers is not defined\n"
            "both lists must be of one length, 2 or more\ncheck which pairs were skipped"
        )
    for numbers in (first, second):
        if not np.isfinite(numbers).all():
            raise DataError("a rank correlation needs finite numbers, and one is NaN or infinity\nleave that pair out")
        if (numbers == numbers[0]).all():
            raise DataError(
                f"all {len(numbers):,} numbers are equal ({numbers[0]:g}): there is no order to compare\n"
                "the scores must differ, and so must the embeddings\nlook at the run's health if training collapsed"
            )
    return _of_ranks(first, second)


def _of_ranks(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation of the ranks of two lists (N,); NaN where all numbers of one are equal."""
    ranks = [stats.rankdata(numbers) for numbers in (first, second)]
    one, other = (rank - rank.mean() for rank in ranks)
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size else math.nan
