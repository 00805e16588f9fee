"""Text from a causal model: the logits of the next token, and a token drawn from them."""

import math
from typing import Any

import torch
from torch import Tensor

from selfstudy.encoders.text import TextEncoder
from selfstudy.errors import DataError, UsageError

_COLDEST = 1e-30  # a temperature whose inverse float32 can hold


def next_logits(encoder: TextEncoder, ids: list[int], context: int, *, cache: Any = None) -> Tensor:
    """Logits (V,) of the token after a text.

    Args:
        encoder: a causal encoder with a head.
        ids: all tokens of the text so far, at least one.
        context: the number of tokens that the encoder sees at most; of a longer text it sees the last ones.
        cache: a ``transformers.DynamicCache``, empty at first, that is given again for each next token of one text:
            only what it does not hold is computed. The logits differ by rounding from those without one.
    """
    row = torch.tensor([ids[-context:]], device=encoder.starts_word.device)  # (1, T)
    # Beyond the context the row slides on: its first token is another one, at position 0 again. All that is cached
    # was computed at other positions, so the whole row is encoded again.
    states = encoder.states(row, cache=cache if len(ids) <= context else None)
    return encoder.logits(states[0, -1])


def filtered(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Log-probabilities of the next token after temperature, then top-k, then nucleus filtering.

    Each filter sees the probabilities that the previous one kept, rescaled to sum to 1. Of equal tokens the one with
    the smallest id is kept first.

    Args:
        logits: (V,); minus infinity forbids a token.
        temperature: divides the logits; 0 keeps the most probable token only.
        top_k: the number of tokens to keep; None keeps all.
        top_p: the most probable tokens are kept until their sum reaches this, in (0, 1]; None keeps all.

    Returns:
        (V,) float32, minus infinity for tokens that are not kept.

    Raises:
        UsageError: a setting is out of its range.
        DataError: a logit is NaN or plus infinity, or every token is forbidden.

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
    if top_p is not None and top_p < 1:  # at 1 all are kept, even those whose probability rounding loses
        sums = scores.softmax(dim=0).cumsum(dim=0)
        scores[1:][sums[:-1] >= top_p] = -math.inf
    return torch.full_like(scores, -math.inf).scatter(0, order, scores.log_softmax(dim=0))


def _check_filters(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise for settings that would be ignored or divide by zero."""
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
    """The id of a token drawn from the probabilities of :func:`filtered`.

    Args:
        logits: (V,), on any device.
        temperature: the logits are divided by it; 0 takes the most probable token.
        top_k: the number of most probable tokens to draw from; None for all.
        top_p: the probability that the tokens to draw from sum to, in (0, 1]; None for all.
        generator: the source of random numbers, used on its own device. With a CPU generator, the text is the same on
            every device, if the logits are.
    """
    chances = filtered(logits, temperature=temperature, top_k=top_k, top_p=top_p).exp()  # (V,)
    return int(torch.multinomial(chances.to(generator.device), 1, generator=generator))
