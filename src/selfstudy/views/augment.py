"""Random views of a batch, in tensor code that is the same on CPU and GPU.

Each random number depends on its sample (see :mod:`selfstudy.ops.random`), so a sample's view never depends on its
batch. Keys and random numbers stay on the CPU, wherever the images are: the operations are then known without waiting
for a GPU. Each operation equals torchvision's function of the same name for the same parameters.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.ops.devices import to_device
from selfstudy.ops.random import fold, uniform
from selfstudy.views.geometry import crop_boxes, flips, resample
from selfstudy.views.spec import View

_JITTER_STREAM, _ORDER_STREAM, _GRAY_STREAM, _BLUR_STREAM, _SOLARIZE_STREAM = 3, 4, 5, 6, 7
_LUMA = (0.2989, 0.587, 0.114)  # torchvision's rounding of ITU-R 601


def augment(images: Tensor, view: View, keys: Tensor) -> Tensor:
    """One random view of each image: (B, C, h, w) float32 in [0, 1].

    Args:
        images: (B, C, H, W) uint8, or float32 in [0, 1].
        view: the spec.
        keys: (B,) int64 on the CPU, one per sample and view.
    """
    return distort(crop(images, view, keys), view, keys)


def crop(images: Tensor, view: View, keys: Tensor) -> Tensor:
    """The geometric half: random resized crop and flips, (B, C, h, w) float32 in [0, 1].

    Args:
        images: (B, C, H, W) uint8, or float32 in [0, 1].
        view: the spec.
        keys: (B,) int64 on the CPU, one per sample and view.
    """
    boxes = crop_boxes(view, keys, images.shape[-2], images.shape[-1])
    return resample(images, to_device(boxes, images.device), view.size, to_device(flips(view, keys), images.device))


def distort(images: Tensor, view: View, keys: Tensor) -> Tensor:
    """The colour half: jitter, grayscale, blur, solarise, in that order: (B, C, h, w) float32 in [0, 1].

    Saturation, hue and grayscale apply to images of three channels only.

    Args:
        images: (B, C, h, w) float32 in [0, 1]; overwritten.
        view: the spec.
        keys: (B,) int64 on the CPU, one per sample and view.
    """
    if any(view.jitter):
        images = color_jitter(images, view, keys)
    if view.grayscale and images.shape[1] == 3:
        _change(images, _chosen(keys, _GRAY_STREAM, view.grayscale), lambda some: _luma(some).expand(-1, 3, -1, -1))
    if view.blur:
        chosen = _chosen(keys, _BLUR_STREAM, view.blur)
        low, high = view.blur_sigma
        sigma = low + (high - low) * uniform(fold(keys[chosen], _BLUR_STREAM), 2)[:, 1]
        _change(images, chosen, lambda some: gaussian_blur(some, to_device(sigma, some.device)))
    if view.solarize:
        chosen = _chosen(keys, _SOLARIZE_STREAM, view.solarize)
        _change(images, chosen, lambda some: solarize(some, view.solarize_threshold))
    return images


def _change(images: Tensor, chosen: Tensor, operation: Callable[[Tensor], Tensor]) -> None:
    """Apply an operation to the images at ``chosen`` (J,) int64, in place."""
    if len(chosen):
        there = to_device(chosen, images.device)
        images.index_copy_(0, there, operation(images[there]))


def normalize(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """``(images - mean) / std`` per channel: (B, C, h, w) in channels-last memory, where convolutions are fastest.

    Args:
        images: (B, C, h, w) float32.
        mean: C means.
        std: C standard deviations.
    """
    centre, scale = (to_device(torch.tensor(values).view(1, -1, 1, 1), images.device) for values in (mean, std))
    out = torch.empty_like(images, memory_format=torch.channels_last)
    return torch.sub(images, centre, out=out).div_(scale)


def _chosen(keys: Tensor, stream: int, probability: float) -> Tensor:
    """The indices (J,) int64 of the samples that an operation applies to."""
    return torch.nonzero(uniform(fold(keys, stream), 2)[:, 0] < probability).flatten()


def color_jitter(images: Tensor, view: View, keys: Tensor) -> Tensor:
    """Images (B, C, h, w) with torchvision's colour jitter: factors and order of the operations are drawn per sample.

    Factors are uniform in [1 - strength, 1 + strength] and at least 0; the hue's is in [-strength, strength].

    Args:
        images: (B, C, h, w) float32 in [0, 1]; overwritten and returned.
        view: the spec.
        keys: (B,) int64 on the CPU, one per sample and view.
    """
    chosen = _chosen(keys, _JITTER_STREAM, view.jitter_probability)
    _change(images, chosen, lambda some: _jittered(some, view, keys[chosen]))
    return images


def _jittered(images: Tensor, view: View, keys: Tensor) -> Tensor:
    """The images (J, C, h, w), jittered in place; at each of four turns they are grouped by their operation."""
    operations = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    factors = torch.tensor(view.jitter) * (2 * uniform(fold(keys, _JITTER_STREAM, 1), 4) - 1)  # (J, 4)
    factors[:, :3] = (1 + factors[:, :3]).clamp(min=0)
    order = uniform(fold(keys, _ORDER_STREAM), 4).argsort(dim=1).T  # (4, J), the operation at each turn
    places = order.argsort(dim=1, stable=True)  # (4, J), at each turn the images by operation
    sizes = [turn.bincount(minlength=4).tolist() for turn in order]
    by_place = to_device(factors[places, order.gather(1, places)], images.device)  # (4, J)
    for turn, size, factor in zip(to_device(places, images.device), sizes, by_place, strict=True):
        for number, (now, by) in enumerate(zip(turn.split(size), factor.split(size), strict=True)):
            if view.jitter[number] and len(now) and (number < 2 or images.shape[1] == 3):
                images.index_copy_(0, now, operations[number](images[now], by))
    return images


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Images (B, C, h, w) times ``factor`` (B,), clipped to [0, 1]."""
    return (images * factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Images moved away from (factor above 1) or towards (below 1) their mean gray value, clipped to [0, 1].

    Args:
        images: (B, C, h, w) float32 in [0, 1].
        factor: (B,), at least 0.

    Returns:
        (B, C, h, w).
    """
    gray = _luma(images) if images.shape[1] == 3 else images
    return _blend(images, gray.mean(dim=(1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Images moved away from (factor above 1) or towards (below 1) the gray value of each pixel, clipped to [0, 1].

    Args:
        images: (B, 3, h, w) float32 in [0, 1].
        factor: (B,), at least 0.

    Returns:
        (B, 3, h, w).
    """
    return _blend(images, _luma(images), factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Images (B, 3, h, w) in [0, 1] with the hue turned by ``shift`` (B,), in [-0.5, 0.5] of the colour circle.

    HSV and back in closed form: each channel is ``V - C clamp(min(k, 4 - k), 0, 1)`` with ``k = (n + 6 H) mod 6`` and
    n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = images.unbind(1)  # (B, h, w) each
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    safe = chroma.clamp(min=1e-12)
    is_red, is_green = value == red, value == green
    sextant = torch.where(
        is_red, (green - blue) / safe, torch.where(is_green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sextant = sextant.add_(6 * shift.view(-1, 1, 1))  # (B, h, w)
    offsets = torch.arange(5.0, 0.0, -2.0, device=images.device).view(1, 3, 1, 1)  # n of red, green, blue
    k = (sextant.unsqueeze(1) + offsets).remainder_(6.0)  # (B, 3, h, w)
    k = torch.minimum(k, 4 - k).clamp_(0, 1)
    return value.unsqueeze(1) - k.mul_(chroma.unsqueeze(1))


def solarize(images: Tensor, threshold: float) -> Tensor:
    """Images of any shape in [0, 1], with the values at or above ``threshold`` inverted."""
    return torch.where(images >= threshold, 1 - images, images)


def kernel_size(size: tuple[int, int]) -> int:
    """The kernel size of the blur: a tenth of the shorter side, odd, at least 3 (SimCLR, appendix A)."""
    return max(3, min(size) // 10 // 2 * 2 + 1)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Images (B, C, h, w) blurred by a Gaussian of standard deviation ``sigma`` (B,) pixels; edges are reflected."""
    batch, channels, height, width = images.shape
    taps = kernel_size((height, width))
    half = taps // 2
    distance = torch.arange(-half, half + 1, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (distance[None, :] / sigma[:, None]) ** 2)  # (B, taps)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)  # (B C, taps)
    flat = F.pad(images.reshape(1, batch * channels, height, width), [half] * 4, mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=batch * channels)
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=batch * channels)
    return flat.view(batch, channels, height, width)


def _luma(images: Tensor) -> Tensor:
    """Gray values (B, 1, h, w) of (B, 3, h, w)."""
    red, green, blue = images.unbind(1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2]).unsqueeze(1)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``factor x images + (1 - factor) x other``, clipped to [0, 1]."""
    return torch.lerp(other.expand_as(images), images, factor.view(-1, 1, 1, 1)).clamp_(0, 1)
