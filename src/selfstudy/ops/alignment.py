"""Losses that align matching vectors by direction, without negatives."""

import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.precision import full_precision


@full_precision
def negative_cosine(first: Tensor, second: Tensor) -> Tensor:
    """Minus the mean cosine similarity of matching vectors.

    Args:
        first: (..., D), of any length; both arguments are normalised here.
        second: (..., D), the same shape; detach it if it is a target.

    Returns:
        () float32 (float64 for float64 input), in [-1, 1].

    Source: Chen & He 2021, arXiv:2011.10566, eq. 1.
    """
    return -(F.normalize(first, dim=-1) * F.normalize(second, dim=-1)).sum(dim=-1).mean()


@full_precision
def normalized_mse(first: Tensor, second: Tensor) -> Tensor:
    """The mean squared distance of matching vectors after normalisation, which is 2 - 2 cos.

    Args:
        first: (..., D), of any length.
        second: (..., D), the same shape; detach it if it is a target.

    Returns:
        () float32 (float64 for float64 input), in [0, 4]; unrelated directions give 2.

    Source: Grill et al. 2020, arXiv:2006.07733, eq. 2.
    """
    return 2 + 2 * negative_cosine(first, second)
