"""Gradient clipping: all gradients by their common norm, or each parameter's by its own."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

Clip = Callable[[Iterable[nn.Parameter], float], Tensor]
_EPS = 1e-6  # added to the norm of a parameter's gradient, as in DINO's code


def clip_together(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients together so that their common norm is at most ``max_norm``; 0 scales nothing.

    Returns:
        () the common norm before scaling.
    """
    with_gradient, gradients = _with_gradients(parameters)
    norm = nn.utils.get_total_norm(gradients, foreach=True)  # one by one, those of a small network take 2 % of a step
    if 0 < max_norm < float(norm):  # scaling by 1 would read and write every gradient for nothing
        nn.utils.clip_grads_with_norm_(with_gradient, max_norm, norm)
    return norm


def clip_each(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale each parameter's gradient so that its own norm is at most ``max_norm``; 0 scales nothing.

    Returns:
        () the common norm before scaling.

    Source: the code of Caron et al. 2021, arXiv:2104.14294, and of Zhou et al. 2022, arXiv:2111.07832.
    """
    _, gradients = _with_gradients(parameters)
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    if max_norm > 0:
        norms = torch._foreach_norm(gradients)
        torch._foreach_mul_(gradients, [(max_norm / (own + _EPS)).clamp(max=1) for own in norms])
    return norm


CLIPS: dict[str, Clip] = {"all": clip_together, "each": clip_each}


def _with_gradients(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[Tensor]]:
    """Return the parameters that have a gradient, and their gradients."""
    pairs = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    return [parameter for parameter, _ in pairs], [gradient for _, gradient in pairs]
