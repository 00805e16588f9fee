"""Pretext tasks with an answer of their own making: the loss of a guess among K, and how often it is right."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.precision import full_precision


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
