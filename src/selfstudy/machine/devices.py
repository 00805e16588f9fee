"""The device to train on, its fastest precision, and the device to embed on."""

import torch

from selfstudy.errors import EnvironmentFault


def best_device(asked: str) -> tuple[str, str]:
    """The device to use, and the reason.

    Args:
        asked: ``"cuda"``, ``"mps"``, ``"cpu"``, or ``"auto"`` for the best device of this machine.

    Raises:
        EnvironmentFault: this machine does not have the device.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not present.get(asked, True):
        raise EnvironmentFault(f"device {asked!r} is not available on this machine\nuse --device auto or --device cpu")
    if asked != "auto":
        return asked, "given"
    return next(name for name, there in present.items() if there), "the best this machine has"


def embedding_device(given: torch.device | str | None) -> torch.device:
    """The given device, or else any accelerator that torch has on this machine, or else the CPU."""
    return torch.device(given or torch.accelerator.current_accelerator(check_available=True) or "cpu")


def precision_of(device: str) -> tuple[str, str] | None:
    """The fastest precision of a device, ``"bf16"`` or ``"fp32"``, and the reason.

    None for the CPU, where it depends on the network: see :func:`selfstudy.machine.precision.faster_precision`.
    """
    if device == "cpu":
        return None
    fast = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return ("bf16", "fast on this GPU") if fast else ("fp32", "bf16 is not faster on this device")
