"""The baseline of every text probe: the same probes on TF-IDF weights of words and word pairs, nothing pretrained.

A bag of words is hard to beat where a topic is a vocabulary (news, reviews), and costs nothing. A text encoder is worth
its training where it does. The linear probe is scikit-learn's logistic regression by L-BFGS; while it runs it takes
about 300 bytes for each pair of a term and a class.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation
from selfstudy.probes.knn import TEMPERATURE, K, _vote, vote_protocol
from selfstudy.probes.labels import check_labels
from selfstudy.probes.linear import _HELD_OUT, _held_out
from selfstudy.probes.low_shot import L2, Classifier, low_shot_scores
from selfstudy.probes.results import Score
from selfstudy.probes.retrieval import Cosines, retrieval_scores
from selfstudy.probes.table import PROBES

NAME = "TF-IDF bag of words"
# From strong to weak. Rows have length 1 here and the square root of their width in the linear probe of features, which
# is why the same number of strengths lies lower.
L2_PATH = (1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3, 1e-4)
_MANY = 1000  # from so many train texts on, a term of a single one is dropped: most terms are such, and teach nothing
_TOLERANCE, _MOST_PASSES = 1e-5, 300  # of the gradient of the mean loss, as in the linear probe of features
_BLOCK = 2**22  # cosines held at once: 32 MiB of float64, and about twice that while the nearest are found


class Bags(NamedTuple):
    """Both splits as sparse matrices with rows of length 1, and how they were made.

    Attributes:
        train: (N, V) scipy CSR matrix, float64.
        test: (M, V), the terms and their weights those of train.
        how: for a protocol string.
    """

    train: Any
    test: Any
    how: str


def tf_idf_scores(
    train_texts: Sequence[str],
    train_labels: Tensor,
    test_texts: Sequence[str],
    test_labels: Tensor,
    *,
    probes: Sequence[str] = PROBES,
    seed: int = 0,
) -> list[Score]:
    """The scores of every probe on bags of words; terms, weights and L2 strength are chosen on train alone.

    Args:
        train_texts: N texts.
        train_labels: (N,) int64.
        test_texts: M texts.
        test_labels: (M,) int64.
        probes: any of :data:`selfstudy.probes.table.FROZEN`.
        seed: decides which tenth of train, of every class alike, chooses the L2 strength, and which of several equally
            near texts vote.

    Raises:
        DataError: labels refused by :func:`selfstudy.probes.labels.check_labels`, a label missing for a text, or no
            word in the train texts.
    """
    for texts, labels in ((train_texts, train_labels), (test_texts, test_labels)):
        if len(texts) != len(labels):
            raise DataError(f"{len(texts):,} texts but {len(labels):,} labels\nevery text needs exactly one label")
    check_labels(train_labels, test_labels)
    bags = bags_of_words(train_texts, test_texts)
    classes, targets = torch.unique(train_labels.cpu(), return_inverse=True)
    test_targets = torch.searchsorted(classes, test_labels.cpu())
    return [score for probe in probes for score in _scores(probe, bags, targets, test_targets, seed)]


def bags_of_words(train_texts: Sequence[str], test_texts: Sequence[str]) -> Bags:
    """TF-IDF weights of words and pairs of neighbouring words.

    Raises:
        DataError: no term is left, because the train texts hold no word, or none that two of many texts share.
    """
    min_df = 1 if len(train_texts) < _MANY else 2
    vectorizer = word_vectorizer(longest=2, min_df=min_df)
    try:
        train = vectorizer.fit_transform(train_texts)
    except ValueError:  # scikit-learn's "empty vocabulary" and "no terms remain"
        raise DataError(
            f"{len(train_texts):,} train texts hold {'no word' if min_df == 1 else 'no word that is in two of them'}\n"
            "a bag of words needs letters or digits\ncheck that the column or file holds the text itself"
        ) from None
    how = (
        f"TF-IDF of word 1- and 2-grams (lower case, sublinear tf, min_df {min_df}: 1 below {_MANY:,} train texts, "
        f"else 2; {train.shape[1]:,} terms of train)"
    )
    return Bags(train, vectorizer.transform(test_texts), how)


def word_vectorizer(*, longest: int, min_df: int) -> Any:
    """A scikit-learn vectorizer for sublinear TF-IDF of runs of 1 to ``longest`` words, in rows of length 1.

    A word is any run of letters, digits and underscores in lower case; one of a single letter counts. A script without
    spaces gives one word per clause.
    """
    return TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, longest), sublinear_tf=True, min_df=min_df)


def _scores(probe: str, bags: Bags, targets: Tensor, test_targets: Tensor, seed: int) -> list[Score]:
    """One probe's columns of the table; targets are class indices, (N,) and (M,)."""
    if probe == "low-shot":
        how = f"L2 = {L2:g}, {bags.how}"
        return low_shot_scores(NAME, classifier_of_bags(bags, targets), targets, test_targets, features=how, seed=seed)
    if probe == "retrieval":
        return retrieval_scores(NAME, cosines_of_bags(bags), targets, test_targets, features=bags.how)
    if probe == "knn":
        predictions = knn_of_bags(bags, targets, seed=seed)
        how = f"{vote_protocol(K, TEMPERATURE, len(targets))}, ties by seed {seed}, {bags.how}"
    else:
        predictions, _ = linear_of_bags(bags, targets, seed=seed)
        how = (
            f"linear: logistic regression, {bags.how}, L2 of {len(L2_PATH)} values chosen on a held-out "
            f"{100 * _HELD_OUT:g} % of train (seed {seed})"
        )
    accuracy = 100.0 * float((predictions == test_targets).double().mean())
    protocol = f"{how}, {len(targets):,} train / {len(test_targets):,} test, test used once"
    return [Score(NAME, probe, accuracy, protocol)]


def classifier_of_bags(bags: Bags, targets: Tensor) -> Classifier:
    """Logistic regression on a few rows of train, asked about test."""

    def classify(rows: Tensor) -> Tensor:
        model = LogisticRegression(tol=_TOLERANCE, max_iter=_MOST_PASSES)
        return torch.from_numpy(_fit(model, bags.train[rows.numpy()], targets[rows].numpy(), L2).predict(bags.test))

    return classify


def cosines_of_bags(bags: Bags) -> Cosines:
    """Cosines with all of train, in float64."""
    bank = bags.train.T.tocsr()  # (V, N)
    return lambda rows: torch.from_numpy((bags.test[rows.numpy()] @ bank).toarray())


def linear_of_bags(bags: Bags, targets: Tensor, *, seed: int = 0) -> tuple[Tensor, float]:
    """Class index (M,) of every test text by logistic regression, and the L2 strength that was chosen.

    The stronger one is taken on a tie. As in :func:`selfstudy.probes.linear.linear_probe`, the held-out tenth chooses
    and then all of train is fitted.
    """
    held_out, y = _held_out(targets, seed).numpy(), targets.numpy()
    fit, held = bags.train[~held_out], bags.train[held_out]
    path, model = [], LogisticRegression(warm_start=True, tol=_TOLERANCE, max_iter=_MOST_PASSES)
    for l2 in L2_PATH:
        _fit(model, fit, y[~held_out], l2)
        # no class has two texts: nothing can be held out, and the strongest is taken
        path.append((int((model.predict(held) == y[held_out]).sum()) if held_out.any() else 0, l2))
    _, l2 = max(path)
    final = _fit(LogisticRegression(tol=_TOLERANCE, max_iter=_MOST_PASSES), bags.train, y, l2)
    return torch.from_numpy(final.predict(bags.test)), l2


def _fit(model: Any, x: Any, y: Any, l2: float) -> Any:
    """The model with the weights for this strength."""
    with warnings.catch_warnings():
        # A weak penalty that is not there after all passes is judged on the held-out part by the weights it has.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.set_params(C=1 / l2).fit(x, y)


def knn_of_bags(bags: Bags, targets: Tensor, *, k: int = K, temperature: float = TEMPERATURE, seed: int = 0) -> Tensor:
    """Class index (M,) of every test text by the vote of its nearest, as :func:`selfstudy.probes.knn.knn_classify`.

    Cosines of short texts are often equal, and 0 for a text that shares no word with train. Which of them vote is a
    matter of a fixed random order, for that of the files is by class.
    """
    order = permutation(len(targets), seed, 2)
    targets, k, classes = targets[order], min(k, len(targets)), int(targets.max()) + 1
    bank = bags.train[order.numpy()].T.tocsr()  # (V, N)
    rows_at_once = max(1, _BLOCK // len(targets))
    votes = []
    for start in range(0, bags.test.shape[0], rows_at_once):
        cosines = torch.from_numpy((bags.test[start : start + rows_at_once] @ bank).toarray())  # (m, N)
        similarity, neighbours = _nearest(cosines, k)
        votes.append(_vote(similarity.float(), targets[neighbours], temperature, classes))
    return torch.cat(votes)


def _nearest(cosines: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of every row and their places, (m, k) each; the first among equals, which topk leaves open."""
    least = cosines.topk(k, dim=1).values[:, -1:]
    above, level = cosines > least, cosines == least
    chosen = above | (level & (level.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    places = chosen.nonzero()[:, 1].view(-1, k)
    values, order = cosines.gather(1, places).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, order)
