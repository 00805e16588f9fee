"""Contrastive losses as plain functions.

All but :func:`info_nce` take the batch itself as negatives: over several processes they want gathered tensors.
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


@full_precision
def info_nce_in_batch(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross entropy of picking every query's own key among the keys of all images.

    Args:
        queries: (B, D); normalised here, as are the keys.
        keys: (B, D), row i belonging to query i and a negative for all others.
        temperature: positive.

    Returns:
        () float32 (float64 for float64 input): the mean over queries. With features that carry nothing it is ln B.

    Source: Chen et al. 2021, arXiv:2104.02057, eq. 1 and algorithm 1, without its factor 2 T; Dwibedi et al. 2021,
    arXiv:2104.14548, eq. 3.
    """
    logits = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / temperature  # (B, B)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


@full_precision
def decoupled_contrastive(projections: Tensor, temperature: float, sigma: float = math.inf) -> Tensor:
    """NT-Xent without the positive in the denominator, so that close pairs keep their share of the gradient.

    Args:
        projections: (2B, D), B at least 2; row i and row i + B are two views of one image. Normalised here.
        temperature: positive.
        sigma: width of the von Mises-Fisher weighting, which pulls less on pairs that agree more than the batch does;
            infinity weighs all alike. The weights carry no gradient.

    Returns:
        () float32 (float64 for float64 input): the mean over all 2B anchors. With features that carry nothing it is
        ln(2B - 2); it has no lower bound at 0.

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
    """NT-Xent with all views of all images of an anchor's class as its positives, each outside the logarithm.

    Args:
        projections: (V B, D), V at least 2; rows i, i + B, ... are views of one image. Normalised here.
        labels: (B,) int64 classes. An image alone in its class has its other views as positives.
        temperature: positive.

    Returns:
        () float32 (float64 for float64 input): the mean over all V B anchors. With features that carry nothing it is
        ln(V B - 1).

    Source: Khosla et al. 2020, arXiv:2004.11362, eq. 2 (L_out), averaged over anchors.
    """
    z = F.normalize(projections, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_p = (z @ z.T / temperature).masked_fill(itself, float("-inf")).log_softmax(dim=1)  # (V B, V B)
    labels = labels.repeat(len(z) // len(labels))  # (V B,)
    positive = (labels == labels[:, None]) & ~itself
    return -(log_p.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()
