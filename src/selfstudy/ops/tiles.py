"""Tiles of an image, where they lie and in which order: functions of the image's own draws."""

from functools import cache

import torch
from torch import Tensor


def choose(draws: Tensor, count: int | Tensor) -> Tensor:
    """Uniform numbers in [0, 1) as uniform whole ones in 0 .. count - 1, int64 of the same shape."""
    return (draws * count).long().clamp(max=count - 1)  # a float32 product may round up to count


def cut_tiles(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Tiles of one size out of every image, each at its own place.

    Args:
        images: (B, C, H, W).
        top: (B, T) int64, first rows.
        left: (B, T) int64, first columns.
        size: (h, w) of a tile.

    Returns:
        (B, T, C, h, w).
    """
    rows = top[:, :, None] + torch.arange(size[0], device=images.device)  # (B, T, h)
    columns = left[:, :, None] + torch.arange(size[1], device=images.device)  # (B, T, w)
    which = torch.arange(len(images), device=images.device)[:, None, None, None]
    return images.permute(0, 2, 3, 1)[which, rows[:, :, :, None], columns[:, :, None, :]].permute(0, 1, 4, 2, 3)


def all_permutations(n: int) -> Tensor:
    """Every order of ``range(n)``, lexicographically: (n!, n) uint8."""
    if n == 1:
        return torch.zeros(1, 1, dtype=torch.uint8)
    rest = all_permutations(n - 1)  # what follows the first, numbered without it
    first = torch.arange(n, dtype=torch.uint8).repeat_interleave(len(rest))[:, None]  # (n!, 1)
    rest = rest.repeat(n, 1)
    return torch.cat([first, rest + (rest >= first)], dim=1)


@cache
def distant_permutations(n: int, count: int) -> Tensor:
    """Permutations that differ from each other in as many places as can be: (count, n) int64, always the same ones.

    Greedy: after the identity, always the one whose Hamming distances to those chosen have the largest sum; of several
    the one with the largest smallest distance, and of those the lexicographically first.

    Args:
        n: how many things are ordered, at most 9.
        count: at most n!.

    Source: Noroozi & Favaro 2016, arXiv:1603.09246, algorithm 1 (which begins at random and leaves ties open).
    """
    everything = all_permutations(n).T.contiguous()  # (n, n!): sums over its rows are fast
    total = torch.zeros(everything.shape[1], dtype=torch.int32)
    nearest = torch.full_like(total, n)
    chosen = [0]
    while len(chosen) < count:
        distance = (everything != everything[:, chosen[-1:]]).sum(dim=0, dtype=torch.int32)  # (n!,)
        total += distance
        nearest = torch.minimum(nearest, distance)  # 0 for those chosen
        chosen.append(int(((total * (n + 1) + nearest) * (nearest > 0)).argmax()))
    return everything[:, chosen].T.long()
