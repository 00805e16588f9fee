"""Which tokens of a row are hidden, and what stands in their place."""

from collections.abc import Iterable

import torch
from torch import Tensor


def special_tokens(size: int, special: Iterable[int | None]) -> Tensor:
    """Which ids of a vocabulary of ``size`` are ``special``: (V,) bool."""
    found = torch.zeros(size, dtype=torch.bool)
    found[[number for number in special if number is not None]] = True
    return found


def hidden_positions(draws: Tensor, never: Tensor, count: int, begins: Tensor | None = None) -> Tensor:
    """The ``count`` positions of every row that are hidden: (B, count) int64.

    Args:
        draws: (B, T) uniform numbers, the smallest of which choose.
        never: (B, T) bool, tokens that are not to be hidden; only a row with too few others has them hidden too.
        count: the same for every row, so that all hidden tokens make one dense batch.
        begins: (B, T) bool, where words begin: then whole words are chosen, the last of them perhaps in part.
    """
    if begins is not None:
        index = torch.arange(draws.shape[1], device=draws.device).expand_as(begins)
        word = torch.where(begins, index, 0).cummax(dim=1).values  # (B, T), the first token of each one's word
        draws = draws.gather(1, word)
    return torch.argsort(draws + 2.0 * never, dim=1, stable=True)[:, :count]


def noised(
    ids: Tensor, fate: Tensor, other: Tensor, *, mask: int, ordinary: Tensor, keep: float, random: float
) -> Tensor:
    """What stands in place of hidden ``ids`` (B, M): the mask, for some another token, for some the token itself.

    Args:
        ids: (B, M) int64.
        fate: (B, M) uniform numbers that decide which.
        other: (B, M) uniform numbers that choose the other token.
        mask: id of the mask token.
        ordinary: (N,) int64 ids that another token is drawn from.
        keep: share that stays.
        random: share that becomes another token.
    """
    drawn = ordinary[(other * len(ordinary)).long().clamp(max=len(ordinary) - 1)]
    return torch.where(fate < keep, ids, torch.where(fate < keep + random, drawn, mask))


@torch.no_grad()
def drawn_tokens(logits: Tensor, draws: Tensor) -> Tensor:
    """Tokens (B, M) drawn from the probabilities of ``logits`` (B, M, V) by uniform numbers ``draws`` (B, M)."""
    sums = logits.float().softmax(dim=2).cumsum(dim=2)
    drawn = torch.searchsorted(sums, draws[..., None].float(), right=True)[..., 0]
    return drawn.clamp(max=logits.shape[2] - 1)
