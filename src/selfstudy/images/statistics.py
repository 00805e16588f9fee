"""Normalisation statistics of an image encoder, set on images that are prepared as for embedding."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from selfstudy.images.decode import BadInput, with_channels
from selfstudy.images.scan import Scan
from selfstudy.images.sources import Source, read_shrunk
from selfstudy.nn.statistics import layers_with_statistics, set_statistics
from selfstudy.ops.devices import to_device
from selfstudy.ops.random import permutation
from selfstudy.views.preprocess import Preprocessing

_MOST, _FEWEST = 2048, 256  # images
_PIXELS = _MOST * 64 * 64  # each pixel is an example for a convolution, so fewer large images do as well
_BATCH = 64


def set_on_images(
    encoder: nn.Module, preprocessing: Preprocessing, *, source: Source, found: Scan, device: torch.device
) -> tuple[int, int]:
    """Set the running statistics of an encoder on images; return the numbers of layers and of images.

    The images are a fixed random choice: 2,048 up to 64 px, and fewer, down to 256, if they are larger. Both
    numbers are 0, and nothing changes, for an encoder without running statistics and for less than two images.

    Args:
        encoder: it is moved to ``device`` and stays there.
        preprocessing: the size and the normalisation of the encoder's inputs.
        source: the images.
        found: their scan.
        device: the device to compute on.
    """
    chosen = permutation(len(found.good), 0)[: enough(preprocessing.size)].tolist()
    layers = layers_with_statistics(encoder)
    if not layers:
        return 0, 0
    encoder.to(device)
    used: list[int] = []

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(chosen), _BATCH):
            # one image is prepared after another: at their own size, 64 photos could fill the memory
            images = _read(source, found, chosen[start : start + _BATCH], side=2 * max(preprocessing.size))
            prepared = [preprocessing.prepare(image) for image in images]
            if len(prepared) > 1:  # one example has no variance
                used.append(len(prepared))
                yield to_device(torch.stack(prepared), device)

    set_statistics(encoder, batches())
    return (len(layers), sum(used)) if used else (0, 0)


def enough(size: tuple[int, int]) -> int:
    """The largest number of images that is used, for an encoder that reads images of (height, width) pixels.

    >>> enough((32, 32)), enough((96, 96)), enough((224, 224))
    (2048, 910, 256)
    """
    return min(_MOST, max(_FEWEST, _PIXELS // (size[0] * size[1])))


def _read(source: Source, found: Scan, positions: Iterable[int], *, side: int) -> Iterator[Tensor]:
    """The images (C, H, W) at some positions of a scan that can still be read; large photos are shrunk to a side."""
    for position in positions:
        with suppress(BadInput):
            if found.images is not None:
                yield found.images[position]
            else:
                yield with_channels(read_shrunk(source, int(found.good[position]), side), found.channels)
