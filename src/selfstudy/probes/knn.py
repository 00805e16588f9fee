"""Weighted k-nearest-neighbour classification of frozen features, in memory that does not grow with the data.

Each test image is compared by cosine with every train image; its k nearest vote for their class with weight
exp(similarity / T). Nothing is trained. Source: Wu et al. 2018, arXiv:1805.01978, section 3.4; k = 20 and T = 0.07 as
in Caron et al. 2021 (DINO), arXiv:2104.14294, section 4.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.errors import UsageError

K, TEMPERATURE = 20, 0.07
_BLOCK = 16 * 2**20  # similarities held at once: 64 MiB of float32


def knn_classify(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    *,
    k: int = K,
    temperature: float = TEMPERATURE,
    chunk: int = 1024,
) -> Tensor:
    """The class that the k nearest train images vote for.

    Args:
        train: (N, D) features, any scale; the bank.
        train_labels: (N,) int64, any values.
        test: (M, D) features.
        k: neighbours that vote; all of them when the bank is smaller.
        temperature: positive; smaller gives the nearest ones more say.
        chunk: test images compared at once. It bounds memory and does not change the result.

    Returns:
        (M,) int64, values of ``train_labels``.

    Raises:
        UsageError: ``k`` below 1, or ``temperature`` not positive.
    """
    if k < 1 or not temperature > 0:
        raise UsageError(
            f"k-NN with k={k} and temperature={temperature:g} is not defined\n"
            f"k must be 1 or more, temperature above 0\nthe usual values are k={K} and temperature={TEMPERATURE}"
        )
    classes, targets = torch.unique(train_labels, return_inverse=True)
    with torch.autocast(train.device.type, enabled=False):
        similarity, neighbours = _nearest(train, test, min(k, len(train)), chunk)  # (M, k) each
    votes = [
        _vote(near, targets[who], temperature, len(classes))
        for near, who in zip(torch.split(similarity, chunk), torch.split(neighbours, chunk), strict=True)
    ]
    predictions: Tensor = classes[torch.cat(votes)]
    return predictions


def _nearest(train: Tensor, test: Tensor, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Cosine to the k nearest of the bank and their rows, (M, k) each, merging one block of the bank after another."""
    best = torch.full((len(test), k), float("-inf"), device=test.device)
    rows = torch.zeros(len(test), k, dtype=torch.int64, device=test.device)
    width = max(1, _BLOCK // chunk)
    for first in range(0, len(train), width):
        bank = F.normalize(train[first : first + width].float(), dim=1)  # (w, D)
        for start in range(0, len(test), chunk):
            part = slice(start, start + chunk)
            block = F.normalize(test[part].float(), dim=1) @ bank.T  # (m, w)
            near, who = block.topk(min(k, len(bank)), dim=1)
            merged = torch.cat([best[part], near], dim=1)  # (m, at most 2k)
            best[part], keep = merged.topk(k, dim=1)
            rows[part] = torch.cat([rows[part], who + first], dim=1).gather(1, keep)
    return best, rows


def _vote(similarity: Tensor, neighbour_classes: Tensor, temperature: float, num_classes: int) -> Tensor:
    """The class index (m,) with the largest sum of weights; the lowest index on a tie."""
    # relative to the nearest one: the winner is the same, and a small temperature cannot overflow
    weights = ((similarity - similarity[:, :1]) / temperature).exp()  # (m, k)
    votes = torch.zeros(len(similarity), num_classes, device=similarity.device)
    return votes.scatter_add_(1, neighbour_classes, weights).argmax(dim=1)


def knn_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    k: int = K,
    temperature: float = TEMPERATURE,
) -> float:
    """Share of test images that :func:`knn_classify` gets right, in percent."""
    predictions = knn_classify(train, train_labels, test, k=k, temperature=temperature)
    return 100.0 * float((predictions == test_labels).double().mean())


def knn_protocol(k: int, temperature: float, n_train: int, n_test: int) -> str:
    """How a k-NN accuracy was measured, for printing beside it.

    >>> knn_protocol(20, 0.07, 50_000, 10_000)
    'k-NN k=20 T=0.07 cosine, frozen, final model, 50,000 train / 10,000 test'
    """
    vote = vote_protocol(k, temperature, n_train)
    return f"{vote}, frozen, final model, {n_train:,} train / {n_test:,} test"


def vote_protocol(k: int, temperature: float, n_train: int) -> str:
    """How the neighbours among ``n_train`` vote."""
    used = f"k={k}" if k <= n_train else f"k={n_train} (asked for {k}, the bank holds {n_train})"
    return f"k-NN {used} T={temperature:g} cosine"
