"""The weight of an image's layout: how much the cells of a grid may differ in a feature that is averaged over each.

Where things stand in an image tells much about centred objects and nothing about textures. Two crops of one image show
which: the weight under which their whitened features agree most is taken, without labels.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.whitening import principal

SHARES = (0.05, 0.15, 0.3, 0.6, 1.0)
"""Weights of the layout that are tried: the spread of differences between cells, as a share of that of their mean."""
_JUDGED = 128  # directions in which crops are compared
_SMALLEST = 1e-8
_WHITENED = 0.35  # power by which variances are divided; 0.5 whitens, and would hide which directions are strong


class Weights(NamedTuple):
    """A symmetric operator on features (..., F), whose F numbers are G features in each of c cells, cells last.

    Attributes:
        mean: the factors (G, 1) of the mean over the cells.
        layout: the factors (G, 1) of the differences from it.
        cells: the number c of cells.
    """

    mean: Tensor
    layout: Tensor
    cells: int

    def __call__(self, features: Tensor) -> Tensor:
        """The weighted features (..., F)."""
        grouped = features.reshape(*features.shape[:-1], -1, self.cells)
        mean = grouped.mean(dim=-1, keepdim=True)
        return (self.mean * mean + self.layout * (grouped - mean)).reshape(features.shape)


def standard_weights(covariance: Tensor, cells: int, share: float) -> Weights:
    """The weights under which each mean has variance 1, and each difference between cells ``share`` squared.

    Args:
        covariance: (F, F) of the features.
        cells: the number of cells c; F is a multiple of it.
        share: the weight of the layout, positive.
    """
    grouped = covariance.reshape(-1, cells, len(covariance) // cells, cells)
    blocks = grouped.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (G, c, c)
    means = blocks.sum(dim=(1, 2)) / cells  # variance along the direction of equal cells
    rest = (blocks.diagonal(dim1=1, dim2=2).sum(dim=1) - means) / max(1, cells - 1)
    mean, layout = (values.clamp_min(_SMALLEST).rsqrt()[:, None] for values in (means, rest))
    return Weights(mean, share * layout, cells)


def components(covariance: Tensor, weights: Weights, dimensions: int) -> tuple[Tensor, Tensor]:
    """The variances (d,) of the leading components of weighted features, falling, and the map (F, d) to them."""
    weighted = weights(weights(covariance).T)
    values, directions = principal(weighted, dimensions)
    return values.clamp_min(_SMALLEST), weights(directions.T).T


def best_share(covariance: Tensor, cells: int, pairs: tuple[Tensor, Tensor]) -> float:
    """The share of :data:`SHARES` under which two crops of an image agree most: the mean cosine of whitened features.

    Args:
        covariance: (F, F) of the features.
        cells: the number of cells.
        pairs: centred features (n, F) of two crops of n images.
    """
    if cells == 1:
        return 1.0

    def agreement(share: float) -> float:
        values, to = components(covariance, standard_weights(covariance, cells, share), min(_JUDGED, len(covariance)))
        first, second = ((features @ to) * values.rsqrt() for features in pairs)
        return float(F.cosine_similarity(first, second).mean())

    return max(SHARES, key=agreement)


def whitening_map(covariance: Tensor, cells: int, share: float, dimensions: int) -> tuple[Tensor, float]:
    """The map (F, d) to the leading components, divided by a power of their variance, and the share of variance kept.

    The variances of the embedding still fall: the first numbers are those of the strongest directions.
    """
    values, to = components(covariance, standard_weights(covariance, cells, share), dimensions)
    groups = len(covariance) // cells
    total = groups * (1 + (cells - 1) * share**2)
    return to * values**-_WHITENED, float(values.sum() / total)
