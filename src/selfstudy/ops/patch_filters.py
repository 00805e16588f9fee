"""Filters made of whitened patches of images (Coates and Ng 2011, PMLR 15:215; Thiry et al. 2021, arXiv:2101.07528)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.errors import DataError

_CONTRAST = 0.1  # added to the variance of a patch, as a share of the mean variance
_MEASURED = 20_000  # patches on which the spread of responses is measured
_FLAT = 1e-8  # variance of normalised pixels below which an image is one colour


class Filters(NamedTuple):
    """Filters for patches, in units of the threshold of their responses.

    Attributes:
        kernels: (K, C, p, p), each with mean zero.
        means: the responses (K,) to the mean patch, which are subtracted.
        contrast: (), added to the variance of a patch before its pixels are divided by the root.
    """

    kernels: Tensor
    means: Tensor
    contrast: Tensor


def cut_patches(images: Tensor, side: int, per_image: int, random: torch.Generator) -> Tensor:
    """Patches (B * per_image, C, side, side) at random places of images (B, C, h, w)."""
    windows = images.unfold(2, side, 1).unfold(3, side, 1)  # (B, C, h', w', side, side)
    rows = torch.randint(windows.shape[2], (len(images), per_image), generator=random)
    columns = torch.randint(windows.shape[3], (len(images), per_image), generator=random)
    return windows[torch.arange(len(images))[:, None], :, rows, columns].flatten(0, 1)


def whitened_filters(
    patches: Tensor, count: int, *, smoothing: float, threshold: float, random: torch.Generator
) -> Filters:
    """Random patches, whitened and scaled to length 1, as filters for whitened patches.

    Args:
        patches: (n, C, p, p).
        count: the number of filters K.
        smoothing: added to the eigenvalues of the covariance of patches, as a share of their mean.
        threshold: the unit of the responses, in their standard deviations.
        random: chooses the patches.

    Raises:
        DataError: there are fewer patches than filters, or all are constant.
    """
    flat = patches.flatten(1)
    if len(flat) < count:
        raise DataError(f"{len(flat):,} patches for {count:,} filters\nadd images, or lower method.filters")
    variance = flat.var(dim=1, correction=0, keepdim=True)
    contrast = _CONTRAST * variance.mean()
    if float(contrast) < _FLAT:
        raise DataError("every image is one flat colour: there is nothing to tell apart\ncheck the images")
    flat = (flat - flat.mean(dim=1, keepdim=True)) * (variance + contrast).rsqrt()
    mean = flat.mean(dim=0)
    values, directions = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    whiten = directions * (values + smoothing * values.mean()).rsqrt() @ directions.T  # ZCA
    chosen = (flat[torch.randperm(len(flat), generator=random)[:count].to(flat.device)] - mean) @ whiten
    kernels = F.normalize(chosen, dim=1) @ whiten  # (K, C * p * p)
    kernels = kernels / (threshold * ((flat[:_MEASURED] - mean) @ kernels.T).std())
    kernels = kernels - kernels.mean(dim=1, keepdim=True)  # a normalised patch has mean zero
    return Filters(kernels.unflatten(1, patches.shape[1:]), kernels @ mean, contrast)
