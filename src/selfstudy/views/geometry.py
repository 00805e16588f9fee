"""The boxes that views are cut from, and the cutting: a whole batch as two matrix products."""

import math
from collections.abc import Sequence

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from selfstudy.ops.random import fold, uniform
from selfstudy.views.spec import View

_CANDIDATES = 10  # torchvision draws up to ten boxes, then takes a central one
_BOX_STREAM, _FLIP_STREAM = 1, 2  # the colour operations have 3 to 7
_VERTICAL_STREAM = 8


def crop_boxes(view: View, keys: Tensor, heights: Tensor | int, widths: Tensor | int) -> Tensor:
    """Boxes of random resized crops: (B, 4) float32 rows (top, left, height, width) in whole pixels.

    The distribution is torchvision's ``RandomResizedCrop``: area uniform in ``view.scale``, aspect ratio log-uniform in
    ``view.ratio``, the first of ten boxes that fits, or else the central crop with the nearest allowed ratio.

    Args:
        view: the spec.
        keys: (B,) int64, one per image.
        heights: (B,) heights of the images in pixels, or one for all.
        widths: (B,) widths of the images in pixels, or one for all.
    """
    high = torch.as_tensor(heights, dtype=torch.float32, device=keys.device).expand(len(keys))[:, None]  # (B, 1)
    wide = torch.as_tensor(widths, dtype=torch.float32, device=keys.device).expand(len(keys))[:, None]
    draws = uniform(fold(keys, _BOX_STREAM), 2 * _CANDIDATES + 2)  # (B, 22)
    low, up = view.scale
    area = high * wide * (low + (up - low) * draws[:, :_CANDIDATES])  # (B, 10)
    log_low, log_up = math.log(view.ratio[0]), math.log(view.ratio[1])
    ratio = torch.exp(log_low + (log_up - log_low) * draws[:, _CANDIDATES:-2])
    w, h = torch.round(torch.sqrt(area * ratio)), torch.round(torch.sqrt(area / ratio))
    fits = (w > 0) & (w <= wide) & (h > 0) & (h <= high)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)  # (B, 1), 0 when none fits
    w, h = w.gather(1, first), h.gather(1, first)
    central_w = torch.minimum(wide, torch.round(high * view.ratio[1]))
    central_h = torch.minimum(high, torch.round(wide / view.ratio[0]))
    any_fits = fits.any(dim=1, keepdim=True)
    w, h = torch.where(any_fits, w, central_w), torch.where(any_fits, h, central_h)
    top = torch.where(any_fits, torch.floor(draws[:, -2:-1] * (high - h + 1)), torch.floor((high - h) / 2))
    left = torch.where(any_fits, torch.floor(draws[:, -1:] * (wide - w + 1)), torch.floor((wide - w) / 2))
    return torch.cat([top, left, h, w], dim=1)


def flips(view: View, keys: Tensor) -> Tensor:
    """The flips of each image: (B, 2) bool, left to right and top to bottom.

    Args:
        view: the spec.
        keys: (B,) int64, one per image.
    """
    horizontal = uniform(fold(keys, _FLIP_STREAM), 1) < view.flip
    vertical = uniform(fold(keys, _VERTICAL_STREAM), 1) < view.vertical_flip
    return torch.cat([horizontal, vertical], dim=1)


def resample(images: Tensor, boxes: Tensor, size: tuple[int, int], flip: Tensor | None = None) -> Tensor:
    """Crops of a batch, resized with antialiased bilinear interpolation: (B, C, h, w) float32.

    Cropping, resizing and mirroring an axis are one linear map, so a batch is two batched matrix products. The result
    equals torchvision's ``resized_crop(antialias=True)`` on float images.

    Args:
        images: (B, C, H, W) uint8, or float32 in [0, 1].
        boxes: (B, 4) rows (top, left, height, width) in pixels.
        size: (h, w) of the result in pixels.
        flip: (B, 2) bool, True mirrors an image left to right, or top to bottom.
    """
    batch, channels, height, width = images.shape
    vertical = _weights(boxes[:, 0], boxes[:, 2], height, size[0])  # (B, h, H)
    horizontal = _weights(boxes[:, 1], boxes[:, 3], width, size[1])  # (B, w, W)
    if flip is not None:
        horizontal = torch.where(flip[:, :1, None], horizontal.flip(1), horizontal)
        vertical = torch.where(flip[:, 1:, None], vertical.flip(1), vertical)
    if images.dtype == torch.uint8:
        vertical = vertical / 255
    pixels = images.to(torch.float32)
    rows = torch.bmm(pixels.reshape(batch, channels * height, width), horizontal.transpose(1, 2))  # (B, C H, w)
    rows = rows.view(batch, channels, height, size[1])
    return torch.matmul(vertical[:, None], rows)  # (B, C, h, w)


def _weights(start: Tensor, length: Tensor, source: int, target: int) -> Tensor:
    """The weights (B, target, source) of a triangle filter over ``start .. start + length``; rows sum to 1."""
    scale = (length / target)[:, None, None]  # (B, 1, 1), source pixels per target pixel
    support = scale.clamp(min=1.0)  # above one pixel only when shrinking: that is the antialiasing
    centre = (torch.arange(target, device=start.device) + 0.5)[None, :, None] * scale  # (B, target, 1)
    pixel = torch.arange(source, device=start.device)[None, None, :] - start[:, None, None]  # (B, 1, source)
    weights = (1 - ((pixel + 0.5 - centre) / support).abs()).clamp(min=0)
    weights = weights * ((pixel >= 0) & (pixel < length[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)


def resample_one(image: Tensor, box: Sequence[float] | Tensor, size: tuple[int, int], flip: Sequence[bool]) -> Tensor:
    """One crop of one image, for images of mixed sizes: (C, h, w) in the same dtype.

    Args:
        image: (C, H, W).
        box: (4,) numbers: top, left, height and width in pixels.
        size: (h, w) of the result in pixels.
        flip: two booleans: mirror left to right, mirror top to bottom.
    """
    top, left, height, width = (int(value) for value in box)
    out: Tensor = TF.resized_crop(image, top, left, height, width, list(size), antialias=True)
    return out.flip([axis for axis, mirrored in zip((-1, -2), flip, strict=True) if mirrored]) if any(flip) else out


def fit(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The evaluation view: the centre of the image after scaling it to cover ``size``: (C, h, w) in the same dtype.

    An image of that size is returned unchanged.

    Args:
        image: (C, H, W).
        size: (h, w) of the result in pixels.
    """
    height, width = image.shape[-2:]
    if (height, width) == tuple(size):
        return image
    scale = max(size[0] / height, size[1] / width)
    scaled = [max(size[0], round(height * scale)), max(size[1], round(width * scale))]
    covering: Tensor = TF.center_crop(TF.resize(image, scaled, antialias=True), list(size))
    return covering
