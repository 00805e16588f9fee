"""Tiles of an image, their places and their order, as functions of random numbers that belong to the image."""

from functools import cache

import torch
from torch import Tensor


def choose(draws: Tensor, count: int | Tensor) -> Tensor:
    """Uniform numbers in [0, 1) as uniform integers in 0 .. count - 1: int64 in the same shape."""
    return (draws * count).long().clamp(max=count - 1)  # a float32 product may round up to count


def cut_tiles(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """T tiles of one size from each image, each at its own place.

    Args:
        images: (B, C, H, W).
        top: (B, T) int64, first row of each tile.
        left: (B, T) int64, first column of each tile.
        size: (h, w) of a tile in pixels.

    Returns:
        (B, T, C, h, w).
    """
    rows = top[:, :, None] + torch.arange(size[0], device=images.device)  # (B, T, h)
    columns = left[:, :, None] + torch.arange(size[1], device=images.device)  # (B, T, w)
    which = torch.arange(len(images), device=images.device)[:, None, None, None]
    return images.permute(0, 2, 3, 1)[which, rows[:, :, :, None], columns[:, :, None, :]].permute(0, 1, 4, 2, 3)


def all_permutations(n: int) -> Tensor:
    """All permutations of ``range(n)`` in lexicographic order: (n!, n) uint8."""
    if n == 1:
        return torch.zeros(1, 1, dtype=torch.uint8)
    rest = all_permutations(n - 1)  # the numbers after the first, counted without it
    first = torch.arange(n, dtype=torch.uint8).repeat_interleave(len(rest))[:, None]  # (n!, 1)
    rest = rest.repeat(n, 1)
    return torch.cat([first, rest + (rest >= first)], dim=1)


@cache
def distant_permutations(n: int, count: int) -> Tensor:
    """Permutations that differ from one another in many places: (count, n) int64, always the same ones.

    The choice is greedy. It starts from the identity and adds the permutation with the largest sum of Hamming distances
    to those chosen; among equals the one with the largest minimum distance, then the lexicographically first.

    Args:
        n: number of things to order, at most 9.
        count: number of permutations, at most n!.

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
