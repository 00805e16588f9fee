"""Contrastive losses as plain functions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.precision import full_precision


@full_precision
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
    z = F.normalize(projections, dim=1)
    logits = z @ z.T / temperature  # (2B, 2B)
    logits.fill_diagonal_(float("-inf"))  # an anchor is neither its own positive nor its own negative
    half = len(z) // 2
    positives = torch.arange(2 * half, device=z.device).roll(half)  # (2B,)
    return F.cross_entropy(logits, positives)


@full_precision
def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Cross entropy of picking the positive among one positive and the negatives.

    Args:
        query: (B, D); normalised here, as are the others.
        positive: (B, D), row i belonging to query i.
        negatives: (K, D) shared by all queries, or (B, N, D), each query's own.
        temperature: positive.

    Returns:
        () float32 (float64 for float64 input): the mean over queries. With features that carry nothing it is ln(K + 1).

    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4; He et al. 2020, arXiv:1911.05722, eq. 1.
    """
    q, p, n = (F.normalize(x, dim=-1) for x in (query, positive, negatives))
    own = (q * p).sum(dim=1, keepdim=True)  # (B, 1)
    others = torch.einsum("bd,bnd->bn", q, n) if n.ndim == 3 else q @ n.T  # (B, N)
    logits = torch.cat([own, others], dim=1) / temperature  # (B, 1 + N)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))
