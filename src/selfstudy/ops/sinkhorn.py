"""Soft assignments of images to prototypes that use all prototypes equally."""

import torch
from torch import Tensor

from selfstudy.ops.distributed import gather
from selfstudy.ops.precision import full_precision


@full_precision
@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Soft assignments whose rows sum to 1 and whose columns, over the global batch, come close to equal sums.

    Args:
        scores: (B, K) similarities of images and prototypes.
        epsilon: weight of the entropy, above 0; a smaller one gives harder assignments. SwAV uses 0.05, DINOv2 its
            teacher's temperature.
        iterations: number of normalisations of columns and then rows; 3 in all papers that use it.

    Returns:
        (B, K) probabilities, without gradient.

    Source: Cuturi 2013, arXiv:1306.0895; Caron et al. 2020, arXiv:2006.09882, eq. 3 to 5.
    """
    log_q = scores / epsilon  # (B, K); in logarithms, a small epsilon does not overflow
    for _ in range(iterations):
        columns = gather(log_q.logsumexp(dim=0, keepdim=True))  # (W, K); processes may differ in B
        log_q = log_q - columns.logsumexp(dim=0, keepdim=True)
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
    return log_q.exp()
