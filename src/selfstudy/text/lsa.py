"""Latent semantic analysis: few dense numbers made of bags of words, without training.

Every term is a direction of its own for TF-IDF weights. Their truncated SVD keeps the directions along which texts
differ most. Terms that occur in the same texts share a direction, so two texts can be near without a common word.

Source: Deerwester et al. 1990, "Indexing by latent semantic analysis", JASIS 41(6).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from selfstudy.ops.random import permutation
from selfstudy.text.bag_of_words import paired_bags

NAME = "LSA"
PAIRED = "the cosine of both in at most 512 directions of LSA, from TF-IDF of single words of these sentences"
_MOST = 512  # numbers for each text
_TERMS, _TEXTS = 2**15, 20_000  # at most, to find the directions: they need 100 MB and some ten seconds
_PASSES = 4  # of the randomised SVD; with 2, the linear probe of MR and SST-2 loses two points


def reduced(bags: Any, others: Any) -> tuple[Tensor, Tensor]:
    """Both sets of texts along the main directions of the first, (N, D) and (M, D) float32.

    D is 512, or the number of texts or terms if that is smaller. The directions are those of 20,000 random texts and
    of the 32,768 terms that are in most texts, if there are more. The same bags always give the same numbers.

    Args:
        bags: (N, V) scipy CSR matrix of TF-IDF weights, to which the directions are fitted.
        others: (M, V) scipy CSR matrix of TF-IDF weights of the same terms.
    """
    common = np.sort(np.argsort(-bags.getnnz(axis=0), kind="stable")[:_TERMS])
    one, other = (part[:, common].astype(np.float32) for part in (bags, others))
    fitted = one[permutation(one.shape[0], 0)[:_TEXTS].numpy()]
    _, _, directions = randomized_svd(fitted, _MOST, n_iter=_PASSES, random_state=0)
    first, second = (torch.from_numpy(part @ directions.T) for part in (one, other))
    return first, second


def reduced_pairs(first_texts: Sequence[str], second_texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Both sentences of N pairs along the main directions of all of them, (N, D) float32 each.

    Raises:
        DataError: the lists differ in length, or no sentence holds a word.
    """
    first, second = paired_bags(first_texts, second_texts)
    both = sparse.vstack([first, second], format="csr")
    rows, _ = reduced(both, both[:0])
    return rows[: len(first_texts)], rows[len(first_texts) :]
