"""The preparation of images for a trained encoder: no randomness, the same to evaluate, to embed and to serve."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfstudy.errors import DataError
from selfstudy.ops.pixels import as_float
from selfstudy.views.augment import normalize
from selfstudy.views.geometry import fit


class Preprocessing(NamedTuple):
    """The input that an encoder expects.

    Attributes:
        size: (height, width) in pixels.
        channels: C, number of channels.
        mean: C means of the channels, of values in [0, 1].
        std: C standard deviations of the channels.
    """

    size: tuple[int, int]
    channels: int
    mean: list[float]
    std: list[float]

    def prepare(self, image: Tensor) -> Tensor:
        """One image (C, H, W), uint8 or float32 in [0, 1], as (C, h, w) float32, normalised.

        Raises:
            DataError: the image has another number of channels than the training data.
        """
        return self.prepare_batch([image])[0]

    def prepare_batch(self, images: Sequence[Tensor]) -> Tensor:
        """Images of any sizes, (C, H, W) each, as one batch (B, C, h, w) float32, normalised.

        Raises:
            DataError: an image has another number of channels than the training data.
        """
        for image in images:
            if image.shape[0] != self.channels:
                raise DataError(
                    f"an image has {image.shape[0]} channels, this encoder was trained on {self.channels}: "
                    f"its shape (C, H, W) is {tuple(image.shape)}\n"
                    "convert the images first, channels are never dropped or made up silently; "
                    "arrays are given as (H, W, C), tensors as (C, H, W)"
                )
        return normalize(torch.stack([as_float(fit(image, self.size)) for image in images]), self.mean, self.std)
