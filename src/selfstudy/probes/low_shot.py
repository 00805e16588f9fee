"""The linear probe on a few labels of every class, as often as labels are drawn.

The classifier is that of :mod:`selfstudy.probes.linear`. One label of a class leaves nothing to choose an L2 strength
on, so it is fixed: 0.1 for rows of length 1, which is a tenth of the number of features for standardised ones. Of six
powers of ten it is never far from the best, with 1, 5 or 25 labels, of pixels, encoders and words (docs/log.md,
2026-11-26). Means and scales of the features are those of all of train, which needs no labels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from selfstudy.ops.random import permutation
from selfstudy.probes.linear import covariance_of, design, logistic_regression, predict, standardisation
from selfstudy.probes.results import Score

SHOTS = (1, 5, 25)  # labels of each class
L2 = 0.1  # for rows of length 1
_DRAWS = 5
_DRAW_STREAM = 0x73686F74
Classifier = Callable[[Tensor], Tensor]  # rows of train (n,) int64 with labels to class indices (M,) of test


def low_shot_scores(
    name: str, classify: Classifier, targets: Tensor, test_targets: Tensor, *, features: str, seed: int = 0
) -> list[Score]:
    """The lines of the table: for each of :data:`SHOTS` that every class has, the mean accuracy over draws of labels.

    Args:
        name: what the features are, for the table.
        classify: trained anew on every draw.
        targets: (N,) class indices of train, all of 0 .. K - 1.
        test_targets: (M,) those of test.
        features: what they are, for the protocol.
        seed: of the draws.
    """
    return [
        _score(name, shots, classify, (targets, test_targets), features=features, seed=seed)
        for shots in SHOTS
        if shots <= int(torch.bincount(targets).min())
    ]


def _score(
    name: str, shots: int, classify: Classifier, labels: tuple[Tensor, Tensor], *, features: str, seed: int
) -> Score:
    """One line, with the spread over the draws."""
    targets, test_targets = labels
    predictions = [classify(drawn_labels(targets, shots, seed, draw)) for draw in range(_DRAWS)]
    accuracies = 100 * torch.stack([(one == test_targets).double().mean() for one in predictions])
    protocol = (
        f"low-shot: 1 to {SHOTS[-1]} labels of each class, mean and standard deviation of {_DRAWS} draws (seed "
        f"{seed}), logistic regression, {features}, {len(test_targets):,} test"
    )
    return Score(name, f"low-shot-{shots}", float(accuracies.mean()), protocol, float(accuracies.std()))


def drawn_labels(targets: Tensor, shots: int, seed: int, draw: int) -> Tensor:
    """Positions (K x shots,) of the images whose labels are known; those of fewer shots are among those of more."""
    chosen = []
    for label in range(int(targets.max()) + 1):
        members = torch.nonzero(targets == label).flatten()
        chosen.append(members[permutation(len(members), seed, _DRAW_STREAM, draw, label)[:shots]])
    return torch.cat(chosen)


def classifier_of(train: Tensor, targets: Tensor, test: Tensor) -> Classifier:
    """Logistic regression on a few rows of dense features (N, D), asked about test (M, D)."""
    with torch.no_grad(), torch.autocast(train.device.type, enabled=False):
        mean, scale = standardisation(train)

    def classify(rows: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(train.device.type, enabled=False):
            x = design(train[rows], mean, scale)  # (n, D + 1)
            start = x.new_zeros(x.shape[1], int(targets.max()) + 1)
            l2 = L2 * train.shape[1]
            weights = logistic_regression(x, targets[rows], l2, start=start, covariance=covariance_of(x))
            return predict(test, mean, scale, weights)

    return classify
