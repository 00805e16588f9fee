"""The linear probe on a few labels of every class, as often as labels are drawn.

The classifier is that of :mod:`selfstudy.probes.linear`. One label of a class leaves nothing to choose an L2 strength
on, so it is fixed: 0.1 for rows of length 1, which is a tenth of the number of features for standardised ones. Of six
powers of ten it is never far from the best, with 1, 5 or 25 labels, of pixels, encoders and words (docs/log.md,
2026-11-26). Means and scales of the features are those of all of train, which needs no labels.
"""

import torch
from torch import Tensor

from selfstudy.ops.random import permutation
from selfstudy.probes.features import Features
from selfstudy.probes.intervals import interval_of_mean
from selfstudy.probes.results import Score

SHOTS = (1, 5, 25)  # labels of each class
L2 = 0.1  # for rows of length 1
_DRAWS = 5
_DRAW_STREAM = 0x73686F74


def measure(features: Features) -> list[Score]:
    """For each of :data:`SHOTS` that every class has, the mean accuracy over draws of labels, and its spread.

    The interval is over draws of the test examples; each of them counts with the share of the draws of labels that get
    it right. So no test example is right or wrong, and the scores have no paired differences.
    """
    fewest = int(torch.bincount(features.targets).min())
    return [_score(features, shots) for shots in SHOTS if shots <= fewest]


def _score(features: Features, shots: int) -> Score:
    """The score for one number of labels."""
    draws = [drawn_labels(features.targets, shots, features.seed, draw) for draw in range(_DRAWS)]
    predictions = [features.classify(rows, L2 * features.scale) for rows in draws]
    right = 100.0 * (torch.stack(predictions) == features.test_targets).double().cpu()  # (draws, M)
    value, spread = float(right.mean()), float(right.mean(dim=1).std())
    how = features.words.few.format(l2=L2)
    protocol = (
        f"low-shot: 1 to {SHOTS[-1]} labels of each class, mean and standard deviation of {_DRAWS} draws (seed "
        f"{features.seed}), logistic regression, {how}, {len(features.test_targets):,} test"
    )
    interval = interval_of_mean(right.mean(dim=0).numpy())
    return Score(features.name, f"low-shot-{shots}", value, protocol, spread, interval=interval)


def drawn_labels(targets: Tensor, shots: int, seed: int, draw: int) -> Tensor:
    """Positions (K x shots,) int64 of the labels that one draw shows; those of fewer shots are among those of more.

    Args:
        targets: (N,) int64 in [0, K), at least ``shots`` of every class.
        shots: the number of labels of each class.
        seed: any integer.
        draw: the number of the draw.
    """
    chosen = []
    for label in range(int(targets.max()) + 1):
        members = torch.nonzero(targets == label).flatten()
        chosen.append(members[permutation(len(members), seed, _DRAW_STREAM, draw, label)[:shots]])
    return torch.cat(chosen)
