"""Which patches of an image are hidden: functions of the image's own draws, so that they belong to the image."""

import torch
from torch import Tensor

from selfstudy.ops.random import fold, uniform


def patch_draws(draws: Tensor, patches: int) -> Tensor:
    """One uniform number for every patch, from the few that every image brings.

    A method does not know the grid of patches when it says what it wants of every image, so it asks for two draws, 48
    bits, and each patch's number is a hash of them and of the patch's place.

    Args:
        draws: (B, K) uniform numbers of every image, 24 bits each; two of them tell any number of images apart.
        patches: N.

    Returns:
        (B, N) float32 in [0, 1).
    """
    bits = (draws * 2.0**24).to(torch.int64)  # (B, K), exact
    return uniform(fold(*bits.unbind(dim=1)), patches)


def random_order(draws: Tensor) -> Tensor:
    """A random order of the patches of every image.

    Args:
        draws: (B, N) uniform numbers, one per patch.

    Returns:
        (B, N) int64, patch numbers; the first K of a row are K patches chosen without replacement.
    """
    return draws.argsort(dim=1, stable=True)  # stable, so that equal numbers fall alike on every device


def visible_count(total: int, share: float) -> int:
    """How many of ``total`` patches stay visible when ``share`` is hidden, rounded down; never none, never all."""
    return min(max(int(total * (1 - share)), 1), total - 1)


def square_mask(draws: Tensor, grid: tuple[int, int], *, side: int, share: float) -> Tensor:
    """Which patches are hidden: ``share`` of every image, in squares of ``side`` x ``side`` patches.

    Every image has the same number of hidden patches. Where such squares do not tile the grid, the next smaller ones
    that do are taken.

    Args:
        draws: (B, K) uniform numbers of every image.
        grid: (rows, columns) of patches.
        side: of a square, in patches.
        share: of the squares that is hidden, in (0, 1), rounded up.

    Returns:
        (B, N) bool, True where a patch is hidden.

    Source: the mask of SimMIM, Xie et al. 2022, arXiv:2111.09886, section 3.2.
    """
    side = next(s for s in range(side, 0, -1) if grid[0] % s == 0 and grid[1] % s == 0)
    rows, columns = grid[0] // side, grid[1] // side
    order = random_order(patch_draws(draws, rows * columns))
    hidden = torch.ones_like(order, dtype=torch.bool)
    hidden = hidden.scatter(1, order[:, : visible_count(rows * columns, share)], False)
    squares = hidden.view(-1, rows, columns)
    return squares.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2).flatten(1)  # (B, N)
