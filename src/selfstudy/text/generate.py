"""Drawing the next token of a causal model: temperature, top-k and nucleus filtering."""

import math

import torch
from torch import Tensor

from selfstudy.errors import DataError, UsageError

_COLDEST = 1e-30  # a temperature whose inverse float32 can hold


def filtered(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Log-probabilities of the next token after temperature, then top-k, then nucleus filtering.

    Each filter sees the probabilities that the one before it left, made to sum to 1. The first among equals stays.

    Args:
        logits: (V,); minus infinity forbids a token.
        temperature: 0 leaves the most probable token alone.
        top_k: how many tokens stay; None for all.
        top_p: the most probable tokens stay until their sum reaches this, with the one that reaches it; None for all.

    Returns:
        (V,) float32, minus infinity for what was left out.

    Raises:
        UsageError: a setting out of its range.
        DataError: a logit that is NaN or infinite, or every token forbidden.

    Source: nucleus filtering, Holtzman et al. 2020, arXiv:1904.09751, section 3.1.
    """
    _check_filters(temperature, top_k, top_p)
    values, order = logits.detach().float().sort(descending=True, stable=True)  # a NaN comes first
    if not bool(torch.isfinite(values[0])):
        raise DataError("logits of the next token hold NaN or infinity, or forbid every token\nlook for divergence")
    if temperature == 0:
        temperature, top_k = 1.0, 1
    scores = (values - values[0]) / max(temperature, _COLDEST)  # the largest is 0
    if top_k is not None:
        scores[top_k:] = -math.inf
    if top_p is not None and top_p < 1:  # at 1 all stay, even those that rounding has no room for
        sums = scores.softmax(dim=0).cumsum(dim=0)
        scores[1:][sums[:-1] >= top_p] = -math.inf
    return torch.full_like(scores, -math.inf).scatter(0, order, scores.log_softmax(dim=0))


def _check_filters(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse what would be ignored or divide by zero."""
    good = 0 <= temperature < math.inf and (top_k is None or top_k >= 1) and (top_p is None or 0 < top_p <= 1)
    if not good:
        raise UsageError(
            f"sampling with temperature={temperature:g}, top_k={top_k}, top_p={top_p} is not defined\n"
            "temperature must be 0 or more, top_k 1 or more, top_p above 0 and at most 1\n"
            "temperature=0.8 and top_p=0.95 are a good start"
        )


def sample_token(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator,
) -> int:
    """The id of a token drawn from :func:`filtered` probabilities; temperature 0 takes the most probable.

    Args:
        logits: (V,), any device.
        temperature: as for :func:`filtered`, as are the other two.
        top_k: see there.
        top_p: see there.
        generator: draws once a token, on its own device: one on the CPU gives the same text whatever device the model
            is on, as far as the logits agree.
    """
    chances = filtered(logits, temperature=temperature, top_k=top_k, top_p=top_p).exp()  # (V,)
    return int(torch.multinomial(chances.to(generator.device), 1, generator=generator))
