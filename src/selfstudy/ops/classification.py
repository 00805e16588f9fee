"""Pretext tasks with an answer of their own making: the loss of a guess among K, and how often it is right."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from selfstudy.ops.precision import full_precision

_SCORES = 2**24  # held at once, 64 MiB in float32
_COUNTED = 256  # guesses that are looked at for the accuracy; all of them would cost a tenth of a step


@full_precision
def cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """``-mean log softmax(logits)[answer]``.

    Args:
        logits: (B, K).
        answers: (B,) int64 in 0 .. K - 1.

    Returns:
        () float32 (float64 for float64 input); ln K for logits that carry nothing.
    """
    return F.cross_entropy(logits, answers)


@torch.no_grad()
def accuracy(logits: Tensor, answers: Tensor) -> Tensor:
    """Share of rows (B, K) whose largest entry is the answer (B,): () float32."""
    return (logits.argmax(dim=1) == answers).float().mean()


def vocabulary_loss(
    score: Callable[[Tensor], Tensor], states: Tensor, answers: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """The :func:`cross_entropy` of guesses among a vocabulary, and the :func:`accuracy` of the first of them.

    Scores of a large vocabulary can take more memory than everything else of a step. Where they are many they are made
    in parts, each made again for its backward pass.

    Args:
        score: from states (n, D) to scores (n, K).
        states: (N, D).
        answers: (N,) int64.
        size: K.

    Returns:
        () float32, and () float32.
    """
    rows = max(1, _SCORES // size)
    if len(states) <= rows:
        scores = score(states)  # (N, K)
        return cross_entropy(scores, answers), accuracy(scores[:_COUNTED], answers[:_COUNTED])

    def total(some: Tensor, right: Tensor) -> Tensor:
        return cross_entropy(score(some), right) * len(right)

    pairs = zip(torch.split(states, rows), torch.split(answers, rows), strict=True)
    sums = [checkpoint(total, some, right, use_reentrant=False) for some, right in pairs]
    with torch.no_grad():
        first = score(states[:_COUNTED])
    return torch.stack(sums).sum() / len(answers), accuracy(first, answers[:_COUNTED])
