"""Masked language modelling: the positions to hide, and the tokens that replace them."""

from collections.abc import Iterable

import torch
from torch import Tensor


def special_tokens(size: int, special: Iterable[int | None]) -> Tensor:
    """A table of the special ids of a vocabulary: (V,) bool.

    Args:
        size: V, entries of the vocabulary.
        special: ids of the special tokens; None is ignored.
    """
    found = torch.zeros(size, dtype=torch.bool)
    found[[number for number in special if number is not None]] = True
    return found


def hidden_positions(draws: Tensor, never: Tensor, count: int, begins: Tensor | None = None) -> Tensor:
    """The positions to hide in each row: (B, count) int64.

    Args:
        draws: (B, T) uniform numbers in [0, 1); the positions with the smallest are chosen.
        never: (B, T) bool, tokens to keep visible; they are hidden only in a row with too few others.
        count: positions per row, the same for all, so that all hidden tokens make one dense batch.
        begins: (B, T) bool, True where a word begins: whole words are hidden then, the last one perhaps in part.
    """
    if begins is not None:
        index = torch.arange(draws.shape[1], device=draws.device).expand_as(begins)
        word = torch.where(begins, index, 0).cummax(dim=1).values  # (B, T), the first token of each one's word
        draws = draws.gather(1, word)
    return torch.argsort(draws + 2.0 * never, dim=1, stable=True)[:, :count]


def noised(
    ids: Tensor, fate: Tensor, other: Tensor, *, mask: int, ordinary: Tensor, keep: float, random: float
) -> Tensor:
    """The replacements of hidden tokens, (B, M) int64: the mask, for some a random token, for some the token itself.

    Args:
        ids: (B, M) int64, the hidden tokens.
        fate: (B, M) uniform numbers in [0, 1) that choose the kind of replacement.
        other: (B, M) uniform numbers in [0, 1) that choose the random token.
        mask: id of the mask token.
        ordinary: (N,) int64, ids to draw random tokens from.
        keep: share of tokens that stay.
        random: share of tokens that are replaced by a random one.
    """
    drawn = ordinary[(other * len(ordinary)).long().clamp(max=len(ordinary) - 1)]
    return torch.where(fate < keep, ids, torch.where(fate < keep + random, drawn, mask))


@torch.no_grad()
def drawn_tokens(logits: Tensor, draws: Tensor) -> Tensor:
    """Tokens sampled from the softmax of logits: (B, M) int64.

    Args:
        logits: (B, M, V).
        draws: (B, M) uniform numbers in [0, 1).
    """
    sums = logits.float().softmax(dim=2).cumsum(dim=2)
    drawn = torch.searchsorted(sums, draws[..., None].float(), right=True)[..., 0]
    return drawn.clamp(max=logits.shape[2] - 1)
