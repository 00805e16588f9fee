"""The raw-pixel baseline: the pixels of images as features."""

import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.pixels import as_float

_PIXEL_SIDE = 32  # the longer side of the raw-pixel baseline: 3,072 numbers per colour image at most


def raw_pixels(images: Tensor, side: int = _PIXEL_SIDE) -> Tensor:
    """The images themselves as features, which any encoder has to beat.

    Args:
        images: (N, C, H, W) uint8, or float in [0, 1].
        side: the longest side in pixels; larger images are area-averaged down to it, with their aspect ratio.

    Returns:
        (N, C * h * w) float32 in [0, 1].
    """
    size = _pixel_size(images.shape[2], images.shape[3], side)
    pixels = as_float(images)
    if size != tuple(images.shape[2:]):
        pixels = F.interpolate(pixels, size, mode="area")  # (N, C, h, w)
    return pixels.flatten(1)


def raw_pixels_name(shape: tuple[int, int, int], side: int = _PIXEL_SIDE) -> str:
    """The name of :func:`raw_pixels` of images (C, H, W) in a table, which says so if they were made smaller.

    >>> raw_pixels_name((3, 96, 64))
    'raw pixels (area-averaged to 32x21)'
    """
    height, width = _pixel_size(shape[1], shape[2], side)
    return "raw pixels" if (height, width) == shape[1:] else f"raw pixels (area-averaged to {height}x{width})"


def _pixel_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of the raw-pixel features."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
