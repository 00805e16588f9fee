"""Optimizers by name."""

from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import Lars

from selfstudy.errors import UsageError, did_you_mean
from selfstudy.optim.groups import ParameterGroup
from selfstudy.optim.lars import LARS

_NAMES = ("adamw", "sgd", "lars", "larc")
_FUSED_DEVICES = {"cpu", "cuda", "mps"}


def build_optimizer(
    groups: Iterable[ParameterGroup],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    beta2: float = 0.999,
) -> torch.optim.Optimizer:
    """Return the optimizer ``name`` over parameter groups, by torch's fused kernels where there are any.

    ``larc`` is the optimizer of SwAV's code: the trust ratio divides by the norms of gradient and decay added up, the
    learning rate stays outside the momentum, and every parameter is adapted.

    Args:
        groups: the parameters to train; they keep their order.
        name: ``adamw``, ``sgd``, ``lars`` or ``larc``.
        lr: the learning rate.
        weight_decay: the fraction of the weights taken away per step: times ``lr`` in adamw, added to the gradient
            elsewhere.
        momentum: the fraction of the last update that is kept; adamw does not use it.
        beta2: the fraction of the squared gradients that adamw keeps; it keeps 0.9 of the gradients.

    Raises:
        UsageError: an unknown name, or nothing to train.
    """
    given: list[dict[str, Any]] = [
        {"params": group.parameters, "weight_decay": weight_decay if group.decays else 0.0, "decay": group.decays}
        for group in groups
    ]
    if not given:
        raise UsageError("there is no trainable parameter\nunfreeze some before training")
    fused = {parameter.device.type for group in given for parameter in group["params"]} <= _FUSED_DEVICES
    if name == "adamw":
        return torch.optim.AdamW(given, lr=lr, betas=(0.9, beta2), fused=fused, foreach=not fused)
    if name == "sgd":
        return torch.optim.SGD(given, lr=lr, momentum=momentum, fused=fused, foreach=not fused)
    if name == "lars":
        return LARS(given, lr=lr, momentum=momentum)
    if name == "larc":
        optimizer: torch.optim.Optimizer = Lars(given, lr=lr, momentum=momentum, always_adapt=True)
        return optimizer
    raise UsageError(f"unknown optimizer {name!r}{did_you_mean(name, _NAMES)}\nknown: {', '.join(_NAMES)}")
