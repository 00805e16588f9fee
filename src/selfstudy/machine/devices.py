"""The device to train on, and what it multiplies fastest."""

import torch

from selfstudy.errors import EnvironmentFault


def best_device(asked: str) -> tuple[str, str]:
    """The device asked for, or for ``auto`` the best one here, and why; one that is not here is refused."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not present.get(asked, True):
        raise EnvironmentFault(f"device {asked!r} is not available on this machine\nuse --device auto or --device cpu")
    if asked != "auto":
        return asked, "given"
    return next(name for name, there in present.items() if there), "the best this machine has"


def precision_of(device: str) -> tuple[str, str] | None:
    """What a device multiplies fastest, with the reason; None for processors, where the network decides."""
    if device == "cpu":
        return None
    fast = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return ("bf16", "fast on this GPU") if fast else ("fp32", "bf16 is not faster on this device")
