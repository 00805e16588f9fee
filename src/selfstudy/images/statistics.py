"""Normalisation statistics of an image encoder, set on images that are prepared as for embedding."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from selfstudy.images.decode import BadInput
from selfstudy.images.scan import Scan
from selfstudy.images.sources import Source
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
    numbers are 0 for an encoder without running statistics, and for a single image.

    Args:
        encoder: it is moved to ``device`` and stays there.
        preprocessing: the size and the normalisation of the encoder's inputs.
        source: the images.
        found: their scan.
        device: the device to compute on.
    """
    height, width = preprocessing.size
    most = min(_MOST, max(_FEWEST, _PIXELS // (height * width)))
    chosen = permutation(len(found.good), 0)[:most].tolist()
    layers = layers_with_statistics(encoder)
    if not layers or len(chosen) < 2:
        return 0, 0
    encoder.to(device)
    used: list[int] = []

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(chosen), _BATCH):
            # one image is prepared after another: at their own size, 64 photos could fill the memory
            prepared = [preprocessing.prepare(image) for image in _read(source, found, chosen[start : start + _BATCH])]
            if len(prepared) > 1:  # one example has no variance
                used.append(len(prepared))
                yield to_device(torch.stack(prepared), device)

    set_statistics(encoder, batches())
    return len(layers), sum(used)


def _read(source: Source, found: Scan, positions: Iterable[int]) -> Iterator[Tensor]:
    """The images (C, H, W) at some positions of a scan that can still be read."""
    for position in positions:
        with suppress(BadInput):
            yield found.image(source, position)
