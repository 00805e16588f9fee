"""Frozen features of labelled examples, as every probe reads them, and the maker of dense ones.

A probe is written once for every kind of features. Dense vectors (embeddings, pixels) and sparse bags of words differ
in how cosines are computed and how a logistic regression is solved, and in nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.random import permutation
from selfstudy.ops.whitening import EXAMPLES_EACH, FLOOR, MOST_DIRECTIONS, MOST_ROWS, fit_whitening
from selfstudy.probes.balance import MAJORITY, balanced, uneven
from selfstudy.probes.labels import check_labels
from selfstudy.probes.regression import (
    covariance_of,
    design,
    few_examples_regression,
    logistic_regression,
    predict,
    standardisation,
)
from selfstudy.probes.results import Score, wilson

_BLOCK = 16 * 2**20  # cosines held at once: 64 MiB of float32
_WHITENING_STREAM = 3
_PATH_ELEMENTS = 2**26  # above this many numbers (256 MiB of float32) the L2 strength is chosen on part of the examples
Rows = Tensor | slice
Cosines = Callable[[Tensor], Tensor]


class Words(NamedTuple):
    """The parts of protocol strings that depend on the kind of features.

    Protocol strings decide which numbers may be compared, so they stay as they were first written, word for word.

    Attributes:
        plain: the features as they are.
        neighbours: the features, how equally near ones are ordered, and the numbers of examples.
        regression: the features as a logistic regression reads them.
        few: the same with a fixed strength, ``{l2}``, on few labels.
        final: a word on the model, before the numbers of examples.
    """

    plain: str
    neighbours: str
    regression: str
    few: str
    final: str = ""


class Trial(NamedTuple):
    """One step on the path of L2 strengths.

    Attributes:
        predictions: (n,) int64, the class indices predicted for the examples to check on.
        start: a point to begin another fit at, (D + 1, K), or None where the solver takes none.
    """

    predictions: Tensor
    start: Tensor | None


class Features(ABC):
    """Features of N train and M test examples of K classes that stay as they are.

    Attributes:
        name: the row of the table, such as ``"raw pixels"`` or ``"pretrained encoder"``.
        targets: (N,) int64 class indices of train, in [0, K).
        test_targets: (M,) int64 class indices of test.
        words: parts of protocol strings.
        strengths: L2 strengths to choose from, from strong to weak; each fit begins at the one before.
        scale: the strength that does to these features what 1 does to rows of length 1.
        seed: decides every random choice a probe makes.
    """

    words: Words
    strengths: Sequence[float]
    scale: float

    def __init__(self, name: str, train_labels: Tensor, test_labels: Tensor, *, seed: int) -> None:
        """Number the classes of labels (N,) and (M,) int64.

        Raises:
            DataError: labels refused by :func:`selfstudy.probes.labels.check_labels`.
        """
        check_labels(train_labels, test_labels)
        classes, self.targets = torch.unique(train_labels, return_inverse=True)
        self.test_targets = torch.searchsorted(classes, test_labels)
        self.name, self.seed = name, seed

    @property
    def classes(self) -> int:
        """The number of classes, K."""
        return int(self.targets.max()) + 1

    @property
    def counts(self) -> str:
        """The numbers of examples, for protocol strings."""
        return f"{len(self.targets):,} train / {len(self.test_targets):,} test"

    @property
    def whitened(self) -> "Features | None":
        """The same examples PCA-whitened, for probes that read cosines; None where centring is not possible.

        Bags of words have none: a matrix of words that is centred is no longer sparse. Its whitened form is a row of
        its own, a truncated SVD (latent semantic analysis).
        """
        return None

    def forms(self) -> "dict[str, Features]":
        """The features as they are and, if there are any, whitened, by what the name of the probe ends in."""
        return {"": self} if self.whitened is None else {"": self, "-whitened": self.whitened}

    @abstractmethod
    def cosines(self) -> Cosines:
        """A function from test rows (m,) int64 to their cosines (m, N) with all of train."""

    @abstractmethod
    def nearest(self, k: int) -> tuple[Tensor, Tensor]:
        """Cosines and train rows, (M, k) each, of the ``k`` train examples nearest to each of test, nearest first."""

    @abstractmethod
    def chosen_on(self) -> Tensor:
        """The train rows (n,) int64 on which an L2 strength is chosen: all of them, or a part if there are too many."""

    @abstractmethod
    def path(self, rows: Tensor, check: Tensor) -> Iterator[Trial]:
        """A trial for each of ``strengths``: the predictions of a logistic regression.

        Args:
            rows: the train rows (n,) int64 that it is fitted to.
            check: the train rows (m,) int64 whose classes it predicts.
        """

    @abstractmethod
    def classify(self, rows: Rows, l2: float, *, start: Tensor | None = None) -> Tensor:
        """The class indices (M,) int64 of test by a logistic regression on train ``rows``.

        Args:
            rows: the train rows (n,) int64, or a slice of train.
            l2: the strength of the penalty, positive.
            start: the weights (D + 1, K) of a trial to start from; they change the speed, not the result.
        """

    def score(self, probe: str, predictions: Tensor, protocol: str) -> Score:
        """The accuracy of predicted class indices (M,), with the test examples that are right."""
        right = (predictions == self.test_targets).cpu()
        accuracy = 100.0 * float(right.double().mean())
        interval = wilson(accuracy, len(right))
        return Score(self.name, probe, accuracy, protocol, interval=interval, right=bytes(right.numpy()))

    def scores(self, probe: str, predictions: Tensor, protocol: str) -> list[Score]:
        """The accuracy of predicted class indices (M,), and the scores that it needs where classes are uneven.

        These are balanced accuracy, macro-F1, and the row of the most frequent class, which needs no training.
        """
        accuracy = self.score(probe, predictions, protocol)
        if not uneven(self.test_targets):
            return [accuracy]
        found = balanced(predictions, self.test_targets, self.classes)
        even = [
            Score(self.name, f"{probe}{ending}", value, protocol, interval=interval)
            for ending, (value, interval) in found.items()
        ]
        return [accuracy, *even, self._majority(probe)]

    def _majority(self, probe: str) -> Score:
        """The accuracy of the most frequent class of train as the answer to every test example."""
        answers = torch.full_like(self.test_targets, int(self.targets.bincount().argmax()))
        protocol = f"{MAJORITY}: the most frequent class of train for every test example, {self.counts}"
        return self.score(probe, answers, protocol)._replace(features=MAJORITY, free=True)


class DenseFeatures(Features):
    """Vectors, one for every example.

    Args:
        name: the row of the table.
        train: (N, D) float32.
        train_labels: (N,) int64, any values.
        test: (M, D) float32.
        test_labels: (M,) int64.
        seed: decides every random choice a probe makes.

    Raises:
        DataError: labels refused by :func:`selfstudy.probes.labels.check_labels`, not one label for each vector, or
            vectors that are not finite.
    """

    strengths = (1e5, 1e4, 1e3, 1e2, 1e1, 1e0, 1e-1)

    def __init__(
        self, name: str, train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, *, seed: int = 0
    ) -> None:
        _check_vectors(name, train, train_labels)
        _check_vectors(name, test, test_labels)
        super().__init__(name, train_labels, test_labels, seed=seed)
        self.train, self.test, self.scale = train, test, train.shape[1]
        few = f"frozen features standardised by all {len(train):,} of train, L2 = {{l2:g}} of their number, final model"
        frozen = "frozen, final model"
        self.words = Words(
            frozen, f"{frozen}, {self.counts}", "standardised frozen features", few, final="final model, "
        )

    @cached_property
    def whitened(self) -> "DenseFeatures":
        """The same examples turned to their principal directions and scaled to variance 1 in each, without labels."""
        rows = permutation(len(self.train), self.seed, _WHITENING_STREAM)[:MOST_ROWS].to(self.train.device)
        fitted = fit_whitening(self.train[rows])
        train, test = fitted.apply(self.train), fitted.apply(self.test)
        found = DenseFeatures(self.name, train, self.targets, test, self.test_targets, seed=self.seed)
        how = (
            f"frozen, PCA-whitened by {len(rows):,} of train (at most {MOST_DIRECTIONS} directions and 1 for "
            f"{EXAMPLES_EACH} examples, variances above {FLOOR:g} of the largest; seed {self.seed}), final model"
        )
        found.words = found.words._replace(plain=how, neighbours=f"{how}, {self.counts}")
        return found

    @cached_property
    def _scaling(self) -> tuple[Tensor, Tensor]:
        """Mean and divisor (D,) of every feature, by all of train."""
        with self._exact():
            return standardisation(self.train)

    @contextmanager
    def _exact(self) -> Iterator[None]:
        """No gradients, and float32 even within autocast."""
        with torch.no_grad(), torch.autocast(self.train.device.type, enabled=False):
            yield

    def cosines(self) -> Cosines:
        """A function from test rows (m,) int64 to their cosines (m, N) float32 with all of train."""
        bank = F.normalize(self.train.float(), dim=1)

        def of(rows: Tensor) -> Tensor:
            with self._exact():
                return F.normalize(self.test[rows].float(), dim=1) @ bank.T

        return of

    def nearest(self, k: int, *, chunk: int = 1024) -> tuple[Tensor, Tensor]:
        """Cosines and rows of the nearest, (M, k) each, merging one block of train after another.

        Args:
            k: the number of train examples, at most N.
            chunk: test examples compared at once. It bounds memory and does not change the result.
        """
        best = torch.full((len(self.test), k), float("-inf"), device=self.test.device)
        rows = torch.zeros(len(self.test), k, dtype=torch.int64, device=self.test.device)
        width = max(1, _BLOCK // chunk)
        for first in range(0, len(self.train), width):
            bank = F.normalize(self.train[first : first + width].float(), dim=1)  # (w, D)
            for start in range(0, len(self.test), chunk):
                part = slice(start, start + chunk)
                with self._exact():
                    block = F.normalize(self.test[part].float(), dim=1) @ bank.T  # (m, w)
                near, who = block.topk(min(k, len(bank)), dim=1)
                merged = torch.cat([best[part], near], dim=1)  # (m, at most 2k)
                best[part], keep = merged.topk(k, dim=1)
                rows[part] = torch.cat([rows[part], who + first], dim=1).gather(1, keep)
        return best, rows

    def chosen_on(self) -> Tensor:
        """Train rows (n,) int64 in a random order: all of them, or as many as hold :data:`_PATH_ELEMENTS` numbers."""
        most = max(1, _PATH_ELEMENTS // (self.train.shape[1] + 1))
        return permutation(len(self.train), self.seed)[:most].to(self.train.device)

    def path(self, rows: Tensor, check: Tensor) -> Iterator[Trial]:
        """A trial for each of ``strengths``, each starting from the solution before it.

        Args:
            rows: the train rows (n,) int64 that are fitted.
            check: the train rows (m,) int64 whose classes are predicted.
        """
        with self._exact():
            x = self._design(slice(None))
            covariance, weights = covariance_of(x), x.new_zeros(x.shape[1], self.classes)
            x, checked = x[rows], x[check]
        for l2 in self.strengths:
            with self._exact():
                weights = logistic_regression(x, self.targets[rows], l2, start=weights, covariance=covariance)
                predictions = (checked @ weights).argmax(dim=1)
            yield Trial(predictions, weights)

    def classify(self, rows: Rows, l2: float, *, start: Tensor | None = None) -> Tensor:
        """The class indices (M,) int64 of test by a logistic regression on train ``rows``, standardised by all train.

        Args:
            rows: the train rows (n,) int64, or a slice of train.
            l2: the strength of the penalty, positive.
            start: the weights (D + 1, K) to start from; zeros if left out.
        """
        with self._exact():
            x = self._design(rows)
            if start is None and len(x) < x.shape[1]:
                weights = few_examples_regression(x, self.targets[rows], l2, self.classes)
            else:
                begin = x.new_zeros(x.shape[1], self.classes) if start is None else start
                weights = logistic_regression(x, self.targets[rows], l2, start=begin, covariance=covariance_of(x))
            return predict(self.test, *self._scaling, weights)

    def _design(self, rows: Rows) -> Tensor:
        """Standardised features of train ``rows`` with a column of ones, (n, D + 1) float32."""
        return design(self.train[rows], *self._scaling)


def _check_vectors(name: str, features: Tensor, labels: Tensor) -> None:
    """One label for every row, and finite numbers: a NaN would be ranked as the nearest neighbour of everything."""
    if len(features) != len(labels):
        raise DataError(
            f"{name}: {len(features):,} feature vectors but {len(labels):,} labels\n"
            "every example needs exactly one label\ncheck which ones were skipped as unreadable"
        )
    damaged = len(features) - int(torch.isfinite(features).all(dim=1).sum())
    if damaged:
        raise DataError(
            f"{name}: {damaged:,} of {len(features):,} feature vectors hold NaN or infinity\n"
            "probes need finite numbers\nevaluate in fp32, or take an earlier checkpoint if training diverged"
        )
