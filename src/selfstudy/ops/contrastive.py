"""Contrastive losses as plain functions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy over two views.

    Args:
        projections: (2B, D); row i and row i + B are two views of one image. Normalised here.
        temperature: positive; smaller punishes hard negatives more.

    Returns:
        () float32 (float64 for float64 input): the mean over all 2B anchors. With features that carry nothing it is
        ln(2B - 1).

    Source: Chen et al. 2020, arXiv:2002.05709, eq. 1 and algorithm 1.
    """
    z = F.normalize(projections if projections.dtype == torch.float64 else projections.float(), dim=1)
    logits = z @ z.T / temperature  # (2B, 2B)
    logits.fill_diagonal_(float("-inf"))  # an anchor is neither its own positive nor its own negative
    half = len(z) // 2
    positives = torch.arange(2 * half, device=z.device).roll(half)  # (2B,)
    return F.cross_entropy(logits, positives)
