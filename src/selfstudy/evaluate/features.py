"""Features for the probes: an encoder's embeddings, batch by batch, and the raw-pixel baseline."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.ops.devices import to_device
from selfstudy.ops.pixels import as_float

_PIXEL_SIDE = 32  # the longer side of the raw-pixel baseline: 3,072 numbers per colour image at most


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in eval mode, then each back in the mode it had (a frozen part may have been in eval mode)."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def embed_batches(
    encoder: nn.Module, batches: Iterable[Tensor], *, device: torch.device | str, precision: str = "fp32"
) -> Iterator[Tensor]:
    """Embeddings of each batch in turn, in eval mode; the encoder's modes are as before once the iterator is done.

    Args:
        encoder: moved to ``device`` and left there.
        batches: (B, C, h, w) float32, normalised.
        device: where the encoder runs.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast.

    Yields:
        (B, D) float32 on the CPU, free of the graph; ordinary tensors that may be trained on.
    """
    device = torch.device(device)
    encoder.to(device)
    with _evaluation_mode(encoder):
        for batch in batches:
            # the contexts must not span the yield: they would stay switched on in the caller's code
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                embedding = encoder(to_device(batch, device)).float().cpu()  # (B, D)
            yield embedding.clone()  # a tensor made in inference mode can never require a gradient


def raw_pixels(images: Tensor, side: int = _PIXEL_SIDE) -> Tensor:
    """The images themselves as features: what any encoder has to beat.

    Args:
        images: (N, C, H, W) uint8, or float in [0, 1].
        side: images whose longer side is larger are area-averaged down to it, aspect ratio kept.

    Returns:
        (N, C * h * w) float32 in [0, 1].
    """
    size = _pixel_size(images.shape[2], images.shape[3], side)
    pixels = as_float(images)
    if size != tuple(images.shape[2:]):
        pixels = F.interpolate(pixels, size, mode="area")  # (N, C, h, w)
    return pixels.flatten(1)


def raw_pixels_name(shape: tuple[int, int, int], side: int = _PIXEL_SIDE) -> str:
    """What :func:`raw_pixels` of images (C, H, W) is called in a table: it says when they were made smaller.

    >>> raw_pixels_name((3, 96, 64))
    'raw pixels (area-averaged to 32x21)'
    """
    height, width = _pixel_size(shape[1], shape[2], side)
    return "raw pixels" if (height, width) == shape[1:] else f"raw pixels (area-averaged to {height}x{width})"


def _pixel_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) of the raw-pixel features."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
