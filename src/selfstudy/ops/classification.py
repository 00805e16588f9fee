"""Cross entropy and accuracy of pretext tasks, whose answers are made from the data."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.precision import full_precision


@full_precision
def cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """The mean cross entropy, ``-mean log softmax(logits)[answer]``.

    Args:
        logits: (B, K).
        answers: (B,) int64 in 0 .. K - 1.

    Returns:
        () float32 (float64 for float64 input); ln K for equal logits.
    """
    return F.cross_entropy(logits, answers)


@torch.no_grad()
def accuracy(logits: Tensor, answers: Tensor) -> Tensor:
    """The share of rows whose largest logit is the answer.

    Args:
        logits: (B, K).
        answers: (B,) int64 in 0 .. K - 1.

    Returns:
        () float32 in [0, 1].
    """
    return (logits.argmax(dim=1) == answers).float().mean()
