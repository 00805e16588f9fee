"""Decoded images in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor


class DecodedImages:
    """Decoded images: one tensor if all have the same size, else a list.

    Attributes:
        tensor: (N, C, H, W), uint8, or float32 in [0, 1]; None if sizes differ.
    """

    def __init__(self, images: Sequence[Tensor] | Tensor) -> None:
        same = isinstance(images, Tensor) or len({(image.shape, image.dtype) for image in images}) == 1
        self.tensor: Tensor | None = None
        self._items: Sequence[Tensor] = ()
        if isinstance(images, Tensor):
            self.tensor = images
        elif same:
            self.tensor = torch.stack(list(images))
        else:
            self._items = images

    def __len__(self) -> int:
        """The number of images."""
        return len(self._items) if self.tensor is None else len(self.tensor)

    def __getitem__(self, position: int) -> Tensor:
        """One image (C, H, W)."""
        return self._items[position] if self.tensor is None else self.tensor[position]

    def subset(self, positions: Tensor) -> "DecodedImages":
        """The images at ``positions`` (n,) int64, in their order."""
        if self.tensor is not None:
            return DecodedImages(self.tensor[positions])
        return DecodedImages([self._items[int(position)] for position in positions])
