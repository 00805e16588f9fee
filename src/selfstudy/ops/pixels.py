"""What numbers in an image mean."""

import torch
from torch import Tensor


def as_float(images: Tensor) -> Tensor:
    """Images of any shape as float32 in [0, 1]: uint8 is divided by 255, float is taken as it is."""
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
