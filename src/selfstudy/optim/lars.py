"""LARS: momentum SGD whose steps are scaled, layer by layer, to the norm of the weights they move.

You, Gitman & Ginsburg 2017, arXiv:1708.03888, algorithm 1. Two differences come from the code of the SimCLR authors,
which BYOL and Barlow Twins followed: the rate is computed from the norm of gradient and decay together instead of the
sum of their norms, and biases and norms take plain momentum steps without decay. The learning rate is inside the
momentum, as in the paper and in SimCLR. Barlow Twins' code has it outside, which differs only while the rate changes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

_TRUST = 0.001  # eta in the paper; the value of SimCLR, BYOL and Barlow Twins


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling.

    Args:
        params: parameters, or groups of them. A group with ``decay`` False has no weight decay and is not adapted.
        lr: the learning rate, above 0.
        momentum: the fraction of the last update that is kept, in [0, 1).
        weight_decay: the fraction of the weights that is added to their gradient.
        trust: the norm of a layer's update divided by that of its weights, at learning rate 1 and without momentum.
    """

    def __init__(
        self, params: ParamsT, *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = _TRUST
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "decay": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's own optimizers ignore it as well
        """Move every parameter that has a gradient, and return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._move(parameters, group)
        return loss

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """``v <- momentum * v + lr * rate * (g + weight_decay * w)``, then ``w <- w - v``, for one group."""
        updates: Any = [parameter.grad for parameter in parameters]
        if group["decay"]:
            updates = torch._foreach_add(updates, parameters, alpha=group["weight_decay"])
            updates = torch._foreach_mul(updates, _rates(parameters, updates, group["trust"]))
        buffers = [self._momentum(parameter) for parameter in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, updates, alpha=group["lr"])
        torch._foreach_sub_(parameters, buffers)

    def _momentum(self, parameter: Tensor) -> Tensor:
        """Return the parameter's momentum, which is zero before its first step."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def _rates(parameters: list[Tensor], updates: list[Tensor], trust: float) -> list[Tensor]:
    """Return ``trust * |w| / |update|`` () for each layer, or 1 if either norm is 0."""
    weights = torch.stack(torch._foreach_norm(parameters))  # (L,)
    changes = torch.stack(torch._foreach_norm(updates))  # (L,)
    rates = torch.where((weights > 0) & (changes > 0), trust * weights / changes, 1.0)
    return list(rates.unbind())
