"""From the processor to the device that trains."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; a CUDA one takes it when it comes to it, and is not waited for.

    Others are waited for: MPS would read memory that by then may be in other use (pytorch#189690).
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
