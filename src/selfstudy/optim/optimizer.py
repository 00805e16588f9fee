"""Optimizers over a method's parameters, with weight decay where it belongs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from selfstudy.errors import UsageError, did_you_mean
from selfstudy.optim.lars import LARS

_NAMES = ("adamw", "sgd", "lars")
_FUSED_DEVICES = {"cpu", "cuda", "mps"}


def build_optimizer(
    method: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    beta2: float = 0.999,
) -> torch.optim.Optimizer:
    """The optimizer ``name`` (adamw, sgd or lars) over every trainable parameter, by torch's fused kernels.

    Up to two groups, each in the order of ``method.named_parameters()``: weights, marked ``decay`` True, and what
    decay would only distort, marked False (see :func:`parameter_groups`).

    Args:
        method: what is trained.
        name: of the optimizer.
        lr: learning rate.
        weight_decay: fraction of the weights taken away per step: times ``lr`` in adamw, added to the gradient else.
        momentum: for sgd and lars.
        beta2: for adamw, whose other memory is 0.9.

    Raises:
        UsageError: an unknown name, or nothing to train.
    """
    groups = parameter_groups(method, weight_decay)
    if not groups:
        raise UsageError(f"{type(method).__name__} has no trainable parameter\nunfreeze some before training")
    fused = {parameter.device.type for group in groups for parameter in group["params"]} <= _FUSED_DEVICES
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2), fused=fused, foreach=not fused)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=fused, foreach=not fused)
    if name == "lars":
        return LARS(groups, lr=lr, momentum=momentum)
    raise UsageError(f"unknown optimizer {name!r}{did_you_mean(name, _NAMES)}\nknown: {', '.join(_NAMES)}")


def parameter_groups(method: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters with and without weight decay, an empty group left out.

    Biases, the scales of norms and every other vector do not decay: they are few, and their size is their meaning. So
    it is in the authors' code of SimCLR, BYOL, DINO and MAE; that of MoCo, SimSiam, SwAV and SupCon lets all parameters
    decay. Class tokens and learnt positions decay, as in DINO's.
    """
    # Norms over several axes have scales with several, which their shape does not give away.
    norms = {id(p) for m in method.modules() if isinstance(m, nn.LayerNorm | nn.RMSNorm) for p in m.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": weight_decay, "decay": True},
        {"params": [], "weight_decay": 0.0, "decay": False},
    ]
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or id(parameter) in norms or name.rpartition(".")[2] == "bias"
            groups[plain]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """The norm () of all gradients together, before they are scaled down to ``max_norm``; 0 scales nothing."""
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in with_gradient if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients, foreach=True)  # one by one, those of a small network take 2 % of a step
    if 0 < max_norm < float(norm):  # scaling by 1 would read and write every gradient for nothing
        nn.utils.clip_grads_with_norm_(with_gradient, max_norm, norm)
    return norm
