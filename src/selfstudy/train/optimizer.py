"""Optimizers over a method's parameters, with weight decay where it belongs."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from selfstudy.errors import UsageError, did_you_mean
from selfstudy.train.lars import LARS

_BETAS = (0.9, 0.999)
_NAMES = ("adamw", "sgd", "lars")


def build_optimizer(
    method: nn.Module, *, name: str, lr: float, weight_decay: float, momentum: float = 0.9
) -> torch.optim.Optimizer:
    """The optimizer ``name`` over every trainable parameter.

    Two groups: matrices and kernels, which decay, and biases, norms and other vectors, which do not (and which LARS
    does not adapt either). AdamW and SGD use torch's fused kernels.

    Raises:
        UsageError: an unknown name.
    """
    trainable = [parameter for parameter in method.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay, "adapt": True},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0, "adapt": False},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=_BETAS, fused=True)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=True)
    if name == "lars":
        return LARS(groups, lr=lr, momentum=momentum)
    raise UsageError(f"unknown optimizer {name!r}{did_you_mean(name, _NAMES)}\nknown: {', '.join(_NAMES)}")


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """The norm () of all gradients together before clipping; they are scaled down to ``max_norm`` unless it is 0."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if max_norm > 0:
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
