"""LARS: momentum SGD whose step is scaled per layer by the ratio of weight norm to gradient norm.

You, Gitman & Ginsburg 2017, arXiv:1708.03888, in the form that SimCLR, BYOL and Barlow Twins use: momentum is taken of
the scaled gradient without the learning rate, and parameters marked ``adapt: False`` take plain steps.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_TRUST = 0.001  # the coefficient eta of the paper
_EPS = 1e-9  # keeps 0 / 0 finite; a layer with a zero norm takes a plain step anyway


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling.

    Args:
        params: parameter groups; ``adapt`` (default True) and ``weight_decay`` are read per group.
        lr: peak learning rate.
        momentum: fraction of the last update kept.
        weight_decay: added to the gradient before the norms are taken.
        trust: the coefficient of the layer's own rate.
    """

    def __init__(
        self, params: Any, *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = _TRUST
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            updates = [p.grad for p in parameters]
            if group["weight_decay"]:
                updates = list(torch._foreach_add(updates, parameters, alpha=group["weight_decay"]))
            if group["adapt"]:
                updates = [u * _rate(p, u, group["trust"]) for p, u in zip(parameters, updates, strict=True)]
            buffers = [self.state[p].setdefault("momentum_buffer", torch.zeros_like(p)) for p in parameters]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates)
            torch._foreach_add_(parameters, buffers, alpha=-group["lr"])
        return loss


def _rate(parameter: Tensor, update: Tensor, trust: float) -> Tensor:
    """``trust x |w| / |g|``, or 1 where either norm is zero."""
    weight, gradient = parameter.norm(), update.norm()
    return torch.where((weight > 0) & (gradient > 0), trust * weight / (gradient + _EPS), torch.ones_like(weight))
