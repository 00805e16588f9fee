"""Normalisation statistics of an image encoder, set on images that are prepared as for embedding."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from selfstudy.images.scan import Scan
from selfstudy.images.solve import passes_of
from selfstudy.images.sources import Source
from selfstudy.nn.statistics import layers_with_statistics, set_statistics
from selfstudy.ops.devices import to_device
from selfstudy.views.preprocess import Preprocessing

_MOST, _FEWEST = 2048, 256  # images
_PIXELS = _MOST * 64 * 64  # each pixel is an example for a convolution, so fewer large images do as well


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
    if not layers_with_statistics(encoder):
        return 0, 0
    encoder.to(device)
    passes = passes_of(source, found, preprocessing, 2 * max(preprocessing.size), seed=0)
    used: list[int] = []

    def batches() -> Iterator[Tensor]:
        for images in passes.batches(enough(preprocessing.size), {}):
            if len(images) > 1:  # one example has no variance
                used.append(len(images))
                yield to_device(images, device)

    set_statistics(encoder, batches())
    return (len(layers_with_statistics(encoder)), sum(used)) if used else (0, 0)


def enough(size: tuple[int, int]) -> int:
    """The largest number of images that is used, for an encoder that reads images of (height, width) pixels.

    >>> enough((32, 32)), enough((96, 96)), enough((224, 224))
    (2048, 910, 256)
    """
    return min(_MOST, max(_FEWEST, _PIXELS // (size[0] * size[1])))
