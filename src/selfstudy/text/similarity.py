"""Similarity of sentence pairs: do the cosines of an encoder order the pairs as people do?

The figure is the rank correlation of Spearman with human scores (semantic textual similarity, Cer et al. 2017,
arXiv:1708.00055); nothing is trained on the pairs. What the embeddings look like beside it, without scores, say
:func:`selfstudy.ops.spread.alignment` of paraphrases and :func:`selfstudy.ops.spread.uniformity` of all
sentences (Gao et al. 2021, arXiv:2104.08821, section 7).
"""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.probes.results import Score
from selfstudy.probes.table import STS
from selfstudy.text.bag_of_words import word_vectorizer

ENCODER_COSINE = "the cosine of both embeddings, frozen, final model"
TF_IDF_COSINE = "the cosine of both bags of words, TF-IDF of single words (lower case, sublinear tf) of these sentences"


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """The rank correlation of two lists of numbers, in [-1, 1]; equal numbers share the mean of their ranks.

    Args:
        first: (N,), N at least 2.
        second: (N,), number by number of the same things.

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
    x, y = (_ranks(numbers) - (len(numbers) + 1) / 2 for numbers in (first, second))  # (N,) each, mean 0
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))


def _ranks(numbers: np.ndarray) -> np.ndarray:
    """Ranks (N,) float64 from 1; equal numbers get the mean of the ranks that they take up."""
    _, group, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: np.ndarray = (last - (counts - 1) / 2)[group]
    return ranks


def similarity_score(name: str, embeddings_a: Tensor, embeddings_b: Tensor, scores: np.ndarray) -> Score:
    """Spearman correlation, times 100, of the cosines of embedded pairs with human scores.

    Args:
        name: what the embeddings are, for the table: ``"pretrained encoder"``.
        embeddings_a: (N, D), the first sentence of every pair.
        embeddings_b: (N, D), the second.
        scores: (N,), the more alike the higher.

    Raises:
        DataError: as :func:`spearman`; an embedding that is not finite; or not one embedding each for every pair.
    """
    if embeddings_a.shape != embeddings_b.shape:
        raise DataError(
            f"{name}: embeddings {tuple(embeddings_a.shape)} of first and {tuple(embeddings_b.shape)} of second "
            "sentences\nevery pair needs one of each\ncheck which sentences were skipped"
        )
    # in float64, for rounding would shuffle the ranks of embeddings that all lie close together
    first, second = (F.normalize(part.detach().cpu().double(), dim=1) for part in (embeddings_a, embeddings_b))
    cosines = (first * second).sum(dim=1)  # (N,)
    return rank_score(name, cosines.numpy(), scores, how=ENCODER_COSINE)


def rank_score(name: str, similarities: np.ndarray, scores: np.ndarray, *, how: str = ENCODER_COSINE) -> Score:
    """The table's line for similarities (N,) that somebody else computed; ``how`` says what they are.

    Raises:
        DataError: as :func:`spearman`, naming the line.
    """
    try:
        correlation = spearman(similarities, scores)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    protocol = f"STS: Spearman correlation x 100 with human scores of {how}, {len(scores):,} pairs"
    return Score(name, STS, 100 * correlation, protocol)


def tf_idf_similarity(first_texts: Sequence[str], second_texts: Sequence[str]) -> np.ndarray:
    """Cosine of the bags of words of every pair, (N,) float64 in [0, 1]: the baseline, for :func:`rank_score`.

    Single words only, for two sentences seldom share a pair of words. How rare a word is, is counted in these sentences
    themselves, without scores.

    Raises:
        DataError: the lists differ in length, or no sentence holds a word.
    """
    if len(first_texts) != len(second_texts):
        raise DataError(
            f"{len(first_texts):,} first but {len(second_texts):,} second sentences\nevery pair needs one of each"
        )
    vectorizer = word_vectorizer(longest=1, min_df=1)
    try:
        vectorizer.fit([*first_texts, *second_texts])
    except ValueError:  # scikit-learn's "empty vocabulary"
        raise DataError(f"{len(first_texts):,} pairs of sentences hold no word\ncheck the columns") from None
    first, second = (vectorizer.transform(texts) for texts in (first_texts, second_texts))
    return np.asarray(first.multiply(second).sum(axis=1)).reshape(-1)
