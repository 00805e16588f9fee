"""Retrieval: every test example is a query, and train is ranked by its cosines with it; nothing is trained.

Mean average precision is over the whole ranking, as in Philbin et al. 2007, doi:10.1109/CVPR.2007.383172. Recall@k is
the share of queries with an example of their class among the k nearest (Jégou et al. 2011, doi:10.1109/TPAMI.2010.57;
in metric learning since Song et al. 2016, arXiv:1511.06452). Equally near examples have no order: average precision
takes them as found together, as scikit-learn does, and recall@k is the mean over their orders.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfstudy.probes.features import Cosines, Features
from selfstudy.probes.intervals import interval_of_mean
from selfstudy.probes.results import Score

NEAREST = (1, 5)  # the k of recall@k
_BLOCK = 2**22  # cosines held at once, and twice as many while they are sorted: 48 MiB of float32


class Retrieval(NamedTuple):
    """The figures of every query, (M,) float64 in percent.

    Attributes:
        precision: the average precision; its mean is the mean average precision.
        recall: the chance that the k nearest hold the class, by k; its mean is recall@k.
    """

    precision: Tensor
    recall: dict[int, Tensor]


def measure(features: Features) -> list[Score]:
    """Mean average precision and recall@k of test, by features as they are and, if they are dense, whitened."""
    return [score for ending, form in features.forms().items() for score in _scores(form, ending)]


def _scores(features: Features, ending: str) -> list[Score]:
    """The scores of one form of the features; the names of their columns end in ``ending``."""
    found = retrieve(features.cosines(), features.targets, features.test_targets)
    protocol = (
        f"retrieval: cosine, {features.words.plain}; test asks, train answers; mAP over the whole ranking, R@k: one of "
        f"the query's class among the k nearest, {features.counts}, test used once"
    )
    figures = {"retrieval-map": found.precision, **{f"retrieval-recall-{k}": hits for k, hits in found.recall.items()}}
    return [
        Score(features.name, f"{name}{ending}", float(of.mean()), protocol, interval=interval_of_mean(of.numpy()))
        for name, of in figures.items()
    ]


def retrieve(cosines: Cosines, train_labels: Tensor, test_labels: Tensor, *, block: int = _BLOCK) -> Retrieval:
    """Average precision and hits of every query, from ranking train by cosine.

    Args:
        cosines: a function that is called with some queries of one class at a time.
        train_labels: (N,) int64, the labels of the gallery.
        test_labels: (M,) int64, the labels of the queries; every class is in the gallery.
        block: the number of cosines held at once. It bounds memory and does not change the result.
    """
    at_once = max(1, block // len(train_labels))
    precision = torch.zeros(len(test_labels), dtype=torch.float64)
    hits = {k: torch.zeros_like(precision) for k in NEAREST}
    for label in torch.unique(test_labels).tolist():
        members = torch.nonzero(train_labels == label).flatten()  # (R,)
        for rows in torch.split(torch.nonzero(test_labels == label).flatten(), at_once):
            cosine = cosines(rows)  # (m, N)
            near, same = _rising(cosine), _rising(cosine[:, members])  # (m, N), (m, R)
            precision[rows] = 100 * average_precision(near, same)
            for k in NEAREST:
                hits[k][rows] = 100 * hit_chance(near, same, k)
    return Retrieval(precision, hits)


def _rising(rows: Tensor) -> Tensor:
    """Every row, sorted; numpy takes a quarter of the time of torch, which also sorts the positions."""
    return torch.from_numpy(np.sort(rows.cpu().numpy(), axis=1))


def average_precision(near: Tensor, same: Tensor) -> Tensor:
    """Average precision (m,) float64: the mean, over a query's class, of the precision at the rank of each example.

    Args:
        near: (m, N) cosines with the whole gallery, rising.
        same: (m, R) cosines with the gallery's examples of the query's class, rising; R at least 1.
    """
    ranks = near.shape[1] - torch.searchsorted(near, same)  # (m, R), how many are at least as near as each
    same_ranks = same.shape[1] - torch.searchsorted(same, same)
    return (same_ranks.double() / ranks).mean(dim=1)


def hit_chance(near: Tensor, same: Tensor, k: int) -> Tensor:
    """The chance (m,) float64 that the k nearest hold the query's class; 0 or 1 unless some are equally near.

    Args:
        near: (m, N) cosines with the whole gallery, rising.
        same: (m, R) cosines with the gallery's examples of the query's class, rising; R at least 1.
        k: the number of nearest examples, at least 1.
    """
    best = same[:, -1:].contiguous()
    no_nearer = torch.searchsorted(near, best, right=True)  # (m, 1)
    nearer, level = near.shape[1] - no_nearer, no_nearer - torch.searchsorted(near, best)  # the nearer are no hits
    others = level - (same.shape[1] - torch.searchsorted(same, best))
    miss = torch.ones(len(near), 1, dtype=torch.float64)
    for drawn in range(k):  # the k - nearer places left are drawn among those that are level
        chance = (others - drawn).clamp(min=0) / (level - drawn).clamp(min=1).double()
        miss *= torch.where(nearer + drawn < k, chance, 1.0)
    return 1 - miss[:, 0]
