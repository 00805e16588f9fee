"""Contrastive losses as plain functions.

All except :func:`info_nce` use the batch itself as negatives: with several processes, pass gathered tensors.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.precision import full_precision


@full_precision
def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy over two views.

    Args:
        projections: (2B, D); rows i and i + B are two views of one image. Normalised here.
        temperature: temperature, above 0; a smaller one weighs hard negatives more.

    Returns:
        () float32 (float64 for float64 input): the mean over all 2B anchors; ln(2B - 1) if all rows are equal.

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
        query: (B, D); all three are normalised here.
        positive: (B, D); row i belongs to query i.
        negatives: (K, D) shared by all queries, or (B, K, D) with K for each query.
        temperature: temperature, above 0.

    Returns:
        () float32 (float64 for float64 input): the mean over queries; ln(K + 1) if all rows are equal.

    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4; He et al. 2020, arXiv:1911.05722, eq. 1.
    """
    q, p, n = (F.normalize(x, dim=-1) for x in (query, positive, negatives))
    own = (q * p).sum(dim=1, keepdim=True)  # (B, 1)
    others = torch.einsum("bd,bkd->bk", q, n) if n.ndim == 3 else q @ n.T  # (B, K)
    logits = torch.cat([own, others], dim=1) / temperature  # (B, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))


@full_precision
def info_nce_in_batch(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross entropy of picking each query's own key among the keys of all images.

    Args:
        queries: (B, D); both arguments are normalised here.
        keys: (B, D); row i is the positive of query i and a negative of all others.
        temperature: temperature, above 0.

    Returns:
        () float32 (float64 for float64 input): the mean over queries; ln B if all rows are equal.

    Source: Chen et al. 2021, arXiv:2104.02057, eq. 1 and algorithm 1, without its factor 2 T; Dwibedi et al. 2021,
    arXiv:2104.14548, eq. 3.
    """
    logits = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / temperature  # (B, B)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


@full_precision
def decoupled_contrastive(projections: Tensor, temperature: float, sigma: float = math.inf) -> Tensor:
    """NT-Xent without the positive in the denominator, so that close pairs keep their share of the gradient.

    Args:
        projections: (2B, D), B at least 2; rows i and i + B are two views of one image. Normalised here.
        temperature: temperature, above 0.
        sigma: width of the von Mises-Fisher weighting, which pulls less on pairs that agree more than the batch does;
            infinity gives all pairs the same weight. The weights carry no gradient.

    Returns:
        () float32 (float64 for float64 input): the mean over all 2B anchors; ln(2B - 2) if all rows are equal. It can
        be below 0.

    Source: Yeh et al. 2022, arXiv:2110.06848, eq. 6, and with a finite sigma eq. 7.
    """
    z = F.normalize(projections, dim=1)
    similarity = z @ z.T  # (2B, 2B)
    half = len(z) // 2
    image = torch.arange(len(z), device=z.device) % half  # (2B,)
    negatives = (similarity / temperature).masked_fill(image == image[:, None], float("-inf"))
    own = similarity.diagonal(half)  # (B,)
    weights = 2 - half * F.softmax(own.detach() / sigma, dim=0)  # of mean 1
    return negatives.logsumexp(dim=1).mean() - (weights * own).mean() / temperature


@full_precision
def supervised_contrastive(projections: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """NT-Xent with all views of all images of an anchor's class as positives, each outside the logarithm.

    Args:
        projections: (V B, D), V at least 2; rows i, i + B, ... are views of one image. Normalised here.
        labels: (B,) int64 classes. The only image of a class has its other views as positives.
        temperature: temperature, above 0.

    Returns:
        () float32 (float64 for float64 input): the mean over all V B anchors; ln(V B - 1) if all rows are equal.

    Source: Khosla et al. 2020, arXiv:2004.11362, eq. 2 (L_out), averaged over anchors.
    """
    z = F.normalize(projections, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_p = (z @ z.T / temperature).masked_fill(itself, float("-inf")).log_softmax(dim=1)  # (V B, V B)
    labels = labels.repeat(len(z) // len(labels))  # (V B,)
    positive = (labels == labels[:, None]) & ~itself
    return -(log_p.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()
