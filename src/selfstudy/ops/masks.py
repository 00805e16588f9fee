"""Masks of patches, as functions of random numbers that belong to each image."""

import torch
from torch import Tensor

from selfstudy.ops.random import fold, uniform


def patch_draws(draws: Tensor, patches: int) -> Tensor:
    """One uniform number per patch, made from the few of each image.

    A method does not know the grid of patches when it declares what it needs of each image. So it asks for two numbers,
    48 bits, and the number of a patch is a hash of them and of the patch's position.

    Args:
        draws: (B, K) uniform numbers in [0, 1), 24 bits each; two are enough to tell images apart.
        patches: N, number of patches.

    Returns:
        (B, N) float32 in [0, 1).
    """
    bits = (draws * 2.0**24).to(torch.int64)  # (B, K), exact
    return uniform(fold(*bits.unbind(dim=1)), patches)


def random_order(draws: Tensor) -> Tensor:
    """A random order of the patches of each image.

    Args:
        draws: (B, N) uniform numbers, one per patch.

    Returns:
        (B, N) int64 patch numbers; the first K of a row are K patches drawn without replacement.
    """
    return draws.argsort(dim=1, stable=True)  # stable, so that equal numbers have one order on all devices


def visible_count(total: int, share: float) -> int:
    """The number of patches that stay visible, rounded down; at least one, and fewer than all.

    Args:
        total: number of patches, at least 2.
        share: share to hide, in [0, 1].
    """
    return min(max(int(total * (1 - share)), 1), total - 1)


def square_mask(draws: Tensor, grid: tuple[int, int], *, side: int, share: float) -> Tensor:
    """A mask of each image that hides random squares of patches, the same number in all images.

    If squares of this side do not tile the grid, the next smaller ones that do are used.

    Args:
        draws: (B, K) uniform numbers in [0, 1), K per image.
        grid: (rows, columns) of patches.
        side: side of a square in patches.
        share: share of squares to hide, in (0, 1), rounded up.

    Returns:
        (B, N) bool, True hides the patch.

    Source: the mask of SimMIM, Xie et al. 2022, arXiv:2111.09886, section 3.2.
    """
    side = next(s for s in range(side, 0, -1) if grid[0] % s == 0 and grid[1] % s == 0)
    rows, columns = grid[0] // side, grid[1] // side
    order = random_order(patch_draws(draws, rows * columns))
    hidden = torch.ones_like(order, dtype=torch.bool)
    hidden = hidden.scatter(1, order[:, : visible_count(rows * columns, share)], False)
    squares = hidden.view(-1, rows, columns)
    return squares.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2).flatten(1)  # (B, N)
