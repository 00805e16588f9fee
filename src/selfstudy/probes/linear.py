"""The linear probe: logistic regression on frozen features, its L2 strength chosen on train alone.

A tenth of train, the validation tenth, chooses among the strengths of the features; then all of train is fitted, and
test is used once.
"""

import torch
from torch import Tensor

from selfstudy.ops.random import permutation
from selfstudy.probes.features import Features
from selfstudy.probes.results import Score

_WORSE = 2  # strengths in a row with fewer right answers than the best, after which no weaker one is tried
_VALIDATION = 0.1  # share of every class that chooses the strength


def measure(features: Features) -> list[Score]:
    """The accuracy of the best linear classifier that train alone can choose."""
    predictions, _ = classify(features)
    rows, n_train = len(features.chosen_on()), len(features.targets)
    chosen_on = "train" if rows == n_train else f"{rows:,} train images"
    protocol = (
        f"linear: logistic regression, {features.words.regression}, L2 of {len(features.strengths)} values chosen on a "
        f"held-out {100 * _VALIDATION:g} % of {chosen_on} (seed {features.seed}), {features.words.final}"
        f"{features.counts}, test used once"
    )
    return features.scores("linear", predictions, protocol)


def classify(features: Features) -> tuple[Tensor, float]:
    """Class indices (M,) int64 of test, and the L2 strength with the best accuracy on the validation tenth.

    The stronger one is taken on a tie, and the strongest where no class has two examples, so that none can be spared.
    Strengths are tried from strong to weak, and no further after :data:`_WORSE` in a row that are worse than the best:
    the weak ones that are left cost most and overfit more.
    """
    rows = features.chosen_on()
    spared = validation_tenth(features.targets[rows], features.seed)
    fit, check = rows[~spared], rows[spared]
    best, l2, start, worse = -1, 0.0, None, 0
    for strength, trial in zip(features.strengths, features.path(fit, check), strict=True):
        right = int((trial.predictions == features.targets[check]).sum())
        worse = worse + 1 if right < best else 0
        if right > best:
            best, l2, start = right, strength, trial.start
        if worse == _WORSE:
            break
    return features.classify(slice(None), l2, start=start), l2


def validation_tenth(targets: Tensor, seed: int) -> Tensor:
    """Mask (N,) bool of a tenth of every class, at least one example of a class that has two."""
    order = permutation(len(targets), seed, 1).to(targets.device)
    order = order[torch.argsort(targets[order], stable=True)]  # by class, random within it
    counts = torch.bincount(targets)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=targets.device) - starts[targets[order]]
    wanted = (counts * _VALIDATION).round().long().clamp_min(1) * (counts >= 2)
    mask = torch.zeros(len(targets), dtype=torch.bool, device=targets.device)
    mask[order] = rank < wanted[targets[order]]
    return mask
