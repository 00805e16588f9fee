"""Copies to the device that trains."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor, of any shape, on a device. The copy to a CUDA device is asynchronous.

    Copies to other devices block: MPS could read memory that is reused by then (pytorch#189690).
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
