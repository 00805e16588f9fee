"""Weighted k-nearest-neighbour classification of frozen features; nothing is trained.

Each test example is compared by cosine with every train example; its k nearest vote for their class with weight
exp(similarity / T). Source: Wu et al. 2018, arXiv:1805.01978, section 3.4; k = 20 and T = 0.07 as in Caron et al. 2021
(DINO), arXiv:2104.14294, section 4.1.
"""

import torch
from torch import Tensor

from selfstudy.probes.features import Features
from selfstudy.probes.results import Score

K, TEMPERATURE = 20, 0.07


def measure(features: Features) -> list[Score]:
    """The accuracy of the vote of the :data:`K` nearest, by features as they are and, if they are dense, whitened."""
    vote = vote_protocol(K, TEMPERATURE, len(features.targets))
    return [
        score
        for ending, form in features.forms().items()
        for score in form.scores(f"knn{ending}", classify(form), f"{vote}, {form.words.neighbours}")
    ]


def classify(features: Features, *, k: int = K, temperature: float = TEMPERATURE) -> Tensor:
    """The class index (M,) int64 that the k nearest train examples of each test example vote for.

    Args:
        features: N train and M test examples.
        k: the number of neighbours that vote, at least 1; all of train where it is smaller.
        temperature: positive; a smaller one gives more weight to the nearest.
    """
    similarity, neighbours = features.nearest(min(k, len(features.targets)))  # (M, k) each
    return _vote(similarity, features.targets[neighbours], temperature, features.classes)


def _vote(similarity: Tensor, neighbour_classes: Tensor, temperature: float, num_classes: int) -> Tensor:
    """The class index (M,) with the largest sum of weights; the lowest index on a tie."""
    # relative to the nearest one: the winner is the same, and a small temperature cannot overflow
    weights = ((similarity - similarity[:, :1]) / temperature).exp()  # (M, k)
    votes = torch.zeros(len(similarity), num_classes, device=similarity.device)
    return votes.scatter_add_(1, neighbour_classes, weights).argmax(dim=1)


def vote_protocol(k: int, temperature: float, n_train: int) -> str:
    """A description of how the neighbours among ``n_train`` vote.

    >>> vote_protocol(20, 0.07, 50_000)
    'k-NN k=20 T=0.07 cosine'
    """
    used = f"k={k}" if k <= n_train else f"k={n_train} (asked for {k}, the bank holds {n_train})"
    return f"k-NN {used} T={temperature:g} cosine"
