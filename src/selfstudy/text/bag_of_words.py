"""Bags of words: the baseline of every text probe, by TF-IDF weights of words and word pairs, nothing pretrained.

A bag of words is hard to beat where a topic is a vocabulary (news, reviews), and costs nothing. A text encoder is worth
its training where it beats one. Logistic regression is scikit-learn's, by L-BFGS; while it runs it takes about 300
bytes for each pair of a term and a class.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation
from selfstudy.probes.features import Cosines, Features, Rows, Trial, Words

NAME = "TF-IDF bag of words"
PAIRED = "the cosine of both bags of words, TF-IDF of single words (lower case, sublinear tf) of these sentences"
_MANY = (
    1000  # with this many train texts, a term of only one of them is dropped: most terms are such, and teach nothing
)
_TOLERANCE, _MOST_PASSES = 1e-5, 300  # of the gradient of the mean loss, as for dense features
_BLOCK = 2**22  # cosines held at once: 32 MiB of float64, and about twice that while the nearest are found


class BagsOfWords(Features):
    """Sparse TF-IDF weights of texts in rows of length 1; terms and weights are those of train alone.

    Attributes:
        train: (N, V) scipy CSR matrix, float64.
        test: (M, V) scipy CSR matrix, float64.

    Args:
        train_texts: N texts.
        train_labels: (N,) int64, any values.
        test_texts: M texts.
        test_labels: (M,) int64.
        seed: decides every random choice a probe makes, and which of several equally near texts vote.

    Raises:
        DataError: labels refused by :func:`selfstudy.probes.labels.check_labels`, not one label for each text, or no
            term is left, because the train texts hold no word, or none that two of many texts share.
    """

    # Rows have length 1 here and the square root of their width in dense features, so the same strengths lie lower.
    strengths = (1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4)
    scale = 1

    def __init__(
        self,
        train_texts: Sequence[str],
        train_labels: Tensor,
        test_texts: Sequence[str],
        test_labels: Tensor,
        *,
        seed: int = 0,
    ) -> None:
        for texts, labels in ((train_texts, train_labels), (test_texts, test_labels)):
            if len(texts) != len(labels):
                raise DataError(f"{len(texts):,} texts but {len(labels):,} labels\nevery text needs exactly one label")
        super().__init__(NAME, train_labels.cpu(), test_labels.cpu(), seed=seed)
        min_df = 1 if len(train_texts) < _MANY else 2
        vectorizer = _vectorizer(longest=2, min_df=min_df)
        try:
            self.train = vectorizer.fit_transform(train_texts)
        except ValueError:  # scikit-learn's "empty vocabulary" and "no terms remain"
            word = "no word" if min_df == 1 else "no word that is in two of them"
            raise DataError(
                f"{len(train_texts):,} train texts hold {word}\n"
                "a bag of words needs letters or digits\ncheck that the column or file holds the text itself"
            ) from None
        self.test = vectorizer.transform(test_texts)
        how = (
            f"TF-IDF of word 1- and 2-grams (lower case, sublinear tf, min_df {min_df}: 1 below {_MANY:,} train texts, "
            f"else 2; {self.train.shape[1]:,} terms of train)"
        )
        neighbours = f"ties by seed {seed}, {how}, {self.counts}, test used once"
        self.words = Words(how, neighbours, how, f"L2 = {{l2:g}}, {how}")

    def cosines(self) -> Cosines:
        """A function from test rows (m,) int64 to their cosines (m, N) float64 with all of train."""
        bank = self.train.T.tocsr()  # (V, N)
        return lambda rows: torch.from_numpy((self.test[rows.numpy()] @ bank).toarray())

    def nearest(self, k: int) -> tuple[Tensor, Tensor]:
        """The cosines float32 and the train rows int64 of the nearest, (M, k) each; equally near ones in random order.

        Cosines of short texts are often equal, and 0 for a text that shares no word with train. The order of the files
        cannot decide between them: it is by class.
        """
        order = permutation(len(self.targets), self.seed, 2)
        bank = self.train[order.numpy()].T.tocsr()  # (V, N)
        at_once = max(1, _BLOCK // len(order))
        found = []
        for start in range(0, self.test.shape[0], at_once):
            found.append(_nearest(torch.from_numpy((self.test[start : start + at_once] @ bank).toarray()), k))
        similarity, places = (torch.cat(parts) for parts in zip(*found, strict=True))
        return similarity.float(), order[places]

    def chosen_on(self) -> Tensor:
        """All train rows (N,) int64."""
        return torch.arange(len(self.targets))

    def path(self, rows: Tensor, check: Tensor) -> Iterator[Trial]:
        """A trial for each of ``strengths``, each starting from the solution before it.

        Args:
            rows: the train rows (n,) int64 that are fitted.
            check: the train rows (m,) int64 whose classes are predicted.
        """
        x, y = self.train[rows.numpy()], self.targets[rows].numpy()
        model = LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=_MOST_PASSES)
        for l2 in self.strengths:
            _fit(model, x, y, l2)
            known = model.predict(self.train[check.numpy()]) if len(check) else np.zeros(0, np.int64)
            yield Trial(torch.from_numpy(known), None)

    def classify(self, rows: Rows, l2: float, *, start: Tensor | None = None) -> Tensor:
        """The class indices (M,) int64 of test by a logistic regression on train ``rows``.

        Args:
            rows: the train rows (n,) int64, or a slice of train.
            l2: the strength of the penalty, positive.
            start: ignored, of any shape, because the regression always starts from zeros.
        """
        chosen = rows if isinstance(rows, slice) else rows.numpy()
        model = LogisticRegression(tol=_TOLERANCE, max_iter=_MOST_PASSES)
        fitted = _fit(model, self.train[chosen], self.targets[rows].numpy(), l2)
        return torch.from_numpy(fitted.predict(self.test))


def paired_bags(first_texts: Sequence[str], second_texts: Sequence[str]) -> tuple[Any, Any]:
    """The bags of words of every pair of sentences, two (N, V) scipy CSR matrices, float64, with rows of length 1.

    Single words only, for two sentences seldom share a pair of words. How rare a word is, is counted in these sentences
    themselves, without scores.

    Raises:
        DataError: the lists differ in length, or no sentence holds a word.
    """
    if len(first_texts) != len(second_texts):
        raise DataError(
            f"{len(first_texts):,} first but {len(second_texts):,} second sentences\nevery pair needs one of each"
        )
    vectorizer = _vectorizer(longest=1, min_df=1)
    try:
        vectorizer.fit([*first_texts, *second_texts])
    except ValueError:  # scikit-learn's "empty vocabulary"
        raise DataError(f"{len(first_texts):,} pairs of sentences hold no word\ncheck the columns") from None
    return vectorizer.transform(first_texts), vectorizer.transform(second_texts)


def paired_cosines(first_texts: Sequence[str], second_texts: Sequence[str]) -> np.ndarray:
    """Cosine of both bags of every pair of sentences, (N,) float64 in [0, 1]: the baseline for pairs.

    Raises:
        DataError: see :func:`paired_bags`.
    """
    first, second = paired_bags(first_texts, second_texts)
    return np.asarray(first.multiply(second).sum(axis=1)).reshape(-1)


def _vectorizer(*, longest: int, min_df: int) -> Any:
    """A scikit-learn vectorizer for sublinear TF-IDF of runs of 1 to ``longest`` words, in rows of length 1.

    A word is any run of letters, digits and underscores in lower case; one of a single letter counts. A script without
    spaces gives one word per clause.
    """
    return TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, longest), sublinear_tf=True, min_df=min_df)


def _fit(model: Any, x: Any, y: Any, l2: float) -> Any:
    """The model, fitted with this strength."""
    with warnings.catch_warnings():
        # A weak penalty that has not converged after all passes is judged on the validation tenth as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.set_params(C=1 / l2).fit(x, y)


def _nearest(cosines: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of every row and their places, (m, k) each; the first among equals, which topk leaves open."""
    least = cosines.topk(k, dim=1).values[:, -1:]
    above, level = cosines > least, cosines == least
    chosen = above | (level & (level.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    places = chosen.nonzero()[:, 1].view(-1, k)
    values, order = cosines.gather(1, places).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, order)
