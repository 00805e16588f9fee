"""Rectangles of patches to hide or to predict, as functions of random numbers that belong to each image."""

import math

import torch
from torch import Tensor

from selfstudy.ops.masks import patch_draws, random_order

_ATTEMPTS = 32  # rectangles tried per image
_ASPECT = 0.3  # height / width of a rectangle lies in [0.3, 1 / 0.3]
_PLACEMENTS = 8  # placements of all blocks tried per image; the first that leaves enough context counts


def view_masks(
    draws: Tensor, grid: tuple[int, int], *, views: int, share: tuple[float, float], probability: float
) -> Tensor:
    """Block masks for a random part of the views of each image.

    The number of masked views differs as little as possible between images: with probability 0.5 it is one of two.

    Args:
        draws: (B, 2) uniform numbers in [0, 1), two per image.
        grid: (rows, columns) of patches.
        views: G, number of views per image.
        share: range of the share of patches that a masked view hides, drawn per view; at least one patch is hidden.
        probability: probability that a view is masked.

    Returns:
        (G B, N) bool, the first view of all images first; True hides the patch.

    Source: Zhou et al. 2022, arXiv:2111.07832, section 3.1 and appendix; Oquab et al. 2023, arXiv:2304.07193.
    """
    patches = grid[0] * grid[1]
    numbers = patch_draws(draws, 1 + views * (1 + 4 * _ATTEMPTS))
    turn = (numbers[:, :1] + torch.arange(views, device=draws.device) / views) % 1  # (B, G), evenly spread
    own = numbers[:, 1:].reshape(len(draws), views, -1)  # (B, G, 1 + 4 A)
    wanted = ((share[0] + (share[1] - share[0]) * own[:, :, 0]) * patches).clamp(min=1) * (turn < probability)
    masks = block_masks(own[:, :, 1:].flatten(0, 1), grid, wanted.flatten())  # (B G, N)
    return masks.view(-1, views, patches).transpose(0, 1).flatten(0, 1)


def block_masks(draws: Tensor, grid: tuple[int, int], wanted: Tensor) -> Tensor:
    """Masks made of overlapping rectangles, with a limit on the hidden patches of each image.

    Args:
        draws: (B, 4 A) uniform numbers in [0, 1): area, aspect ratio, top and left of A rectangles. A rectangle is
            skipped if it hides too much, nothing new, or a whole row or column.
        grid: (rows, columns) of patches.
        wanted: (B,) number of patches to hide.

    Returns:
        (B, N) bool, True hides the patch; at most ``wanted`` are True in each row.

    Source: Bao et al. 2022, arXiv:2106.08254, algorithm 1, with the areas of Zhou et al. 2022, arXiv:2111.07832.
    """
    smallest = (min(grid) // 3) ** 2
    hidden = torch.zeros(len(draws), grid[0] * grid[1], dtype=torch.bool, device=draws.device)
    for area, aspect, *place in draws.reshape(len(draws), -1, 4).permute(1, 2, 0):  # (4, B) of each rectangle
        room = wanted - hidden.sum(dim=1)  # (B,)
        area, aspect = smallest + (room - smallest) * area, torch.exp(math.log(_ASPECT) * (1 - 2 * aspect))
        height, width = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        block = rectangles(torch.stack(place, dim=1), grid, height, width)  # (B, N)
        new = (block & ~hidden).sum(dim=1)
        fits = (height < grid[0]) & (width < grid[1]) & (new > 0) & (new <= room)
        hidden |= block & fits[:, None]
    return hidden


def rectangles(places: Tensor, grid: tuple[int, int], height: Tensor | int, width: Tensor | int) -> Tensor:
    """Masks of rectangles at random places on the grid.

    Args:
        places: (..., 2) uniform numbers in [0, 1) that place the top and the left side.
        grid: (rows, columns) of patches.
        height: height in patches, one for all or (...).
        width: width in patches, one for all or (...).

    Returns:
        (..., N) bool, True inside the rectangle.
    """
    inside = []
    for axis, (side, length) in enumerate(zip(grid, (height, width), strict=True)):
        start = (places[..., axis] * (side - length + 1)).floor()  # (...)
        along = torch.arange(side, device=places.device) - start[..., None]  # (..., side)
        length = length[..., None] if isinstance(length, Tensor) else length
        inside.append((along >= 0) & (along < length))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(-2)


def block_size(
    numbers: tuple[float, float], grid: tuple[int, int], *, share: tuple[float, float], aspect: tuple[float, float]
) -> tuple[int, int]:
    """The (height, width) of a random rectangle in patches, at least one patch and at most the grid.

    Args:
        numbers: two uniform numbers in [0, 1) that choose the area and the aspect ratio.
        grid: (rows, columns) of patches.
        share: range of the area as a share of all patches.
        aspect: range of height / width.

    Source: Assran et al. 2023, arXiv:2301.08243, section 3.
    """
    area = int(grid[0] * grid[1] * (share[0] + (share[1] - share[0]) * numbers[0]))
    ratio = aspect[0] + (aspect[1] - aspect[0]) * numbers[1]
    sides = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(max(sides[0], 1), grid[0]), min(max(sides[1], 1), grid[1])


def context_and_targets(
    draws: Tensor, grid: tuple[int, int], *, context: tuple[int, int], target: tuple[int, int], count: int, keep: int
) -> tuple[Tensor, Tensor]:
    """The patches of a context block without those of the target blocks, and the patches of each target block.

    All blocks of an image are placed up to eight times, until at least ``keep`` patches of the context lie in no
    target; ``keep`` of them are chosen at random. If all eight placements fail, the missing patches come from anywhere.

    Args:
        draws: (B, 2) uniform numbers in [0, 1), two per image.
        grid: (rows, columns) of patches.
        context: (height, width) of the context block in patches.
        target: (height, width) of each target block in patches.
        count: T, number of target blocks per image.
        keep: K, number of context patches per image.

    Returns:
        (B, K) and (B, T, P) int64 patch numbers; P is the number of patches in a target block.

    Source: Assran et al. 2023, arXiv:2301.08243, section 3.
    """
    patches = grid[0] * grid[1]
    numbers = patch_draws(draws, patches + _PLACEMENTS * 2 * (count + 1))
    places = numbers[:, patches:].view(-1, _PLACEMENTS, count + 1, 2)
    targets = rectangles(places[:, :, 1:], grid, *target)  # (B, placements, T, N)
    clean = rectangles(places[:, :, 0], grid, *context) & ~targets.any(dim=2)  # (B, placements, N)
    best = clean.sum(dim=2).clamp(max=keep).argmax(dim=1)  # (B,), the first of those with enough
    row = torch.arange(len(draws), device=draws.device)
    kept = random_order(numbers[:, :patches] + ~clean[row, best])[:, :keep]
    outside = (~targets[row, best]).to(torch.uint8)  # (B, T, N)
    return kept, outside.argsort(dim=2, stable=True)[:, :, : target[0] * target[1]]
