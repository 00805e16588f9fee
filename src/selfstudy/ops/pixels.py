"""The range of pixel values."""

import torch
from torch import Tensor


def as_float(images: Tensor) -> Tensor:
    """Images of any shape as float32 in [0, 1]: uint8 is divided by 255, float keeps its values."""
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
