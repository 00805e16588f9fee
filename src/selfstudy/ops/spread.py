"""Statistics of a batch of embeddings: how many directions they use and how evenly they spread. No labels needed."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def effective_rank(embedding: Tensor) -> float:
    """The number of dimensions in use: exp of the entropy of the singular values divided by their sum.

    The embeddings are not centred, so a common direction counts as one dimension.

    Args:
        embedding: (N, D), any float dtype.

    Returns:
        Between 1 and min(N, D); 0 if all values are zero, NaN if one is not finite.

    Source: Roy & Vetterli 2007, EUSIPCO, "The effective rank"; for embeddings Garrido et al. 2023 (RankMe),
    arXiv:2210.02885, eq. 1.
    """
    if not bool(torch.isfinite(embedding).all()):
        return math.nan
    x = embedding.double()
    # float64: the roots of float32 eigenvalues would drown singular values below 1e-3 of the largest
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    if not float(singular.sum()) > 0:
        return 0.0
    shares = singular / singular.sum()
    return float(torch.special.entr(shares).sum().exp())


def dimension_std(embedding: Tensor) -> float:
    """The standard deviation of the L2-normalised embeddings, averaged over dimensions, times sqrt(D).

    Args:
        embedding: (N, D), any float dtype.

    Returns:
        0 if all embeddings point the same way, near 1 if they spread evenly around the origin. Outputs of a ReLU
        share a direction and stay below 1.

    Source: Chen & He 2021 (SimSiam), arXiv:2011.10566, section 4.1.
    """
    x = _normalised(embedding)
    return float(x.std(dim=0, correction=0).mean()) * math.sqrt(x.shape[1])


def alignment(first: Tensor, second: Tensor) -> float:
    """The mean squared distance between the normalised embeddings of two views of the same inputs.

    Args:
        first: (N, D), any float dtype.
        second: (N, D), row by row the same inputs.

    Returns:
        In [0, 4]; 0 is best.

    Source: Wang & Isola 2020, arXiv:2005.10242, eq. 5 with alpha = 2.
    """
    return float((_normalised(first) - _normalised(second)).square().sum(dim=1).mean())


def uniformity(embedding: Tensor) -> float:
    """The log of the mean Gaussian potential over pairs of normalised embeddings.

    Args:
        embedding: (N, D) with N of at least 2, any float dtype.

    Returns:
        At most 0, which means collapsed; an even spread comes close to -4.

    Source: Wang & Isola 2020, arXiv:2005.10242, eq. 6 with t = 2, over the pairs i < j.
    """
    x = _normalised(embedding)
    with torch.autocast(x.device.type, enabled=False):
        products = x @ x.T  # (N, N)
    lengths = products.diagonal()  # 1, or 0 for an embedding of zeros, which cannot be normalised
    squared = (lengths[:, None] + lengths - 2 * products).clamp_min(0)
    potentials = (-2 * squared).exp().triu(diagonal=1)
    return float((potentials.sum() / (len(x) * (len(x) - 1) / 2)).log())


def _normalised(embedding: Tensor) -> Tensor:
    """Rows of length 1 in float32; in float64 for float64 input."""
    return F.normalize(embedding if embedding.dtype == torch.float64 else embedding.float(), dim=1)
