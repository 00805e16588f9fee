"""Images as rows of patches and back, and position embeddings of patches."""

import torch
from torch import Tensor


def patchify(images: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """The pixels of each patch: (B, N, P), with P = patch height x patch width x C.

    Patches are numbered row by row. Within a patch, pixels run row by row, and the channels of a pixel are adjacent.

    Args:
        images: (B, C, H, W); H and W are multiples of the patch size.
        patch_size: (height, width) of a patch in pixels.
    """
    (b, c, height, width), (p, q) = images.shape, patch_size
    cells = images.reshape(b, c, height // p, p, width // q, q).permute(0, 2, 4, 3, 5, 1)  # (B, rows, columns, p, q, C)
    return cells.reshape(b, -1, p * q * c)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """The images (B, C, H, W) of patches, the inverse of :func:`patchify`.

    Args:
        patches: (B, N, P), with P = patch height x patch width x C.
        grid: (rows, columns) of patches.
        patch_size: (height, width) of a patch in pixels.
    """
    (rows, columns), (p, q) = grid, patch_size
    cells = patches.reshape(len(patches), rows, columns, p, q, -1).permute(0, 5, 1, 3, 2, 4)
    return cells.reshape(len(patches), -1, rows * p, columns * q)  # of (B, C, rows, p, columns, q)


def take(rows: Tensor, which: Tensor) -> Tensor:
    """The rows (B, K, P) of ``rows`` (B, N, P) at the positions ``which`` (B, K) int64."""
    return rows.gather(1, which[:, :, None].expand(-1, -1, rows.shape[2]))


def put(rows: Tensor, which: Tensor, values: Tensor) -> Tensor:
    """``rows`` (B, N, P) with ``values`` (B, K, P) at the positions ``which`` (B, K) int64."""
    return rows.scatter(1, which[:, :, None].expand(-1, -1, rows.shape[2]), values.to(rows.dtype))


def sincos_positions(grid: tuple[int, int], dim: int, device: torch.device | str = "cpu") -> Tensor:
    """Fixed position embeddings of a grid: sines and cosines of the row in one half, of the column in the other.

    Args:
        grid: (rows, columns) of patches.
        dim: D, a multiple of 4.
        device: device of the result.

    Returns:
        (N, D) float32, row by row.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5, in two dimensions as He et al. 2022, arXiv:2111.06377.
    """
    rows = torch.arange(grid[0], device=device).repeat_interleave(grid[1])  # (N,)
    columns = torch.arange(grid[1], device=device).repeat(grid[0])
    frequencies = 10_000.0 ** (-torch.arange(dim // 4, device=device) / (dim // 4))  # (D / 4,)
    angles = [place[:, None] * frequencies for place in (rows, columns)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
