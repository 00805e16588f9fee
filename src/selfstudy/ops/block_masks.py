"""Rectangles of patches that are hidden or predicted, as functions of every image's own draws."""

import math

import torch
from torch import Tensor

from selfstudy.ops.masks import patch_draws, random_order

_ATTEMPTS = 32  # at laying a rectangle on an image
_ASPECT = 0.3  # a rectangle is between 0.3 and 1 / 0.3 times as high as it is wide
_PLACEMENTS = 8  # of an image's blocks; the first that leaves enough context is taken


def view_masks(
    draws: Tensor, grid: tuple[int, int], *, views: int, share: tuple[float, float], probability: float
) -> Tensor:
    """Masks of blocks for some of the views of every image.

    As even a number of views of every image is masked as can be: with probability 0.5 one of two, chosen at random.

    Args:
        draws: (B, 2) uniform numbers of every image.
        grid: (rows, columns) of patches.
        views: G, of every image.
        share: range of the share of its patches that a masked view hides, drawn for each; one patch if it is less.
        probability: that a view is masked.

    Returns:
        (G B, N) bool, the first view of all images first; True where a patch is hidden.

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
    """Patches hidden by rectangles laid one over the other, up to a number that every image has for itself.

    Args:
        draws: (B, 4 A) uniform numbers: area, aspect ratio, top and left of A rectangles. One that would hide too
            much, nothing new or a whole side is left out.
        grid: (rows, columns) of patches.
        wanted: (B,) how many patches to hide.

    Returns:
        (B, N) bool, at most ``wanted`` True in each row.

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
    """Rectangles of patches anywhere on the grid.

    Args:
        places: (..., 2) uniform numbers, of the top and of the left side.
        grid: (rows, columns) of patches.
        height: in patches; one for all or (...).
        width: as ``height``.

    Returns:
        (..., N) bool, True inside.
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
    """Height and width in patches of a rectangle, at least one patch and no larger than the grid.

    Args:
        numbers: two in [0, 1), of the area and of the aspect ratio.
        grid: (rows, columns) of patches.
        share: range of its area, as a share of all patches.
        aspect: range of height by width.

    Source: Assran et al. 2023, arXiv:2301.08243, section 3.
    """
    area = int(grid[0] * grid[1] * (share[0] + (share[1] - share[0]) * numbers[0]))
    ratio = aspect[0] + (aspect[1] - aspect[0]) * numbers[1]
    sides = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(max(sides[0], 1), grid[0]), min(max(sides[1], 1), grid[1])


def context_and_targets(
    draws: Tensor, grid: tuple[int, int], *, context: tuple[int, int], target: tuple[int, int], count: int, keep: int
) -> tuple[Tensor, Tensor]:
    """Patches of one context block, less those of the target blocks, and the patches of each target block.

    The blocks are laid anew, up to eight times, until ``keep`` patches of the context are in no target; of more, some
    are chosen at random. Should all eight fail, the lacking ones come from anywhere.

    Args:
        draws: (B, 2) uniform numbers of every image.
        grid: (rows, columns) of patches.
        context: height and width of the context block.
        target: height and width of every target block.
        count: T, target blocks of an image.
        keep: K, context patches of an image.

    Returns:
        (B, K) and (B, T, P) int64, patch numbers; P is the number of patches in a target block.

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
