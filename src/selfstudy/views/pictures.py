"""Drawing with Pillow: sheets of images with captions, and heat maps over an image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_GAP = 4
_TEXT = 14  # height of a line in Pillow's default font, in pixels
_COLD, _WARM, _HOT = (0.05, 0.03, 0.35), (0.85, 0.20, 0.30), (1.00, 0.95, 0.45)
_HEAT_OPACITY = 0.65


class Cell(NamedTuple):
    """An image (C, H, W), uint8 or float32 in [0, 1], and its caption."""

    image: Tensor
    caption: str = ""


def sheet(rows: Sequence[Sequence[Cell]], *, side: int) -> Image.Image:
    """One picture of all cells.

    Args:
        rows: the cells, row by row; without any caption no space is left for captions.
        side: longer side of each image in pixels.
    """
    text = _TEXT if any(cell.caption for row in rows for cell in row) else 0
    width, height = side + _GAP, side + text + _GAP
    columns = max(len(row) for row in rows)
    whole = Image.new("RGB", (width * columns + _GAP, height * len(rows) + _GAP), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default()
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            place = (_GAP + c * width, _GAP + r * height)
            whole.paste(_scaled(as_picture(cell.image), side), place)
            pen.text((place[0], place[1] + side), cell.caption, fill="black", font=font)
    return whole


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    """The picture with a longer side of ``side`` pixels: enlarged without smoothing, or area-averaged."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)


def as_picture(image: Tensor) -> Image.Image:
    """A picture of an image: three channels as colour, one as gray, of other numbers the first three or the first.

    Args:
        image: (C, H, W) uint8, or float32 in [0, 1].
    """
    channels = 3 if image.shape[0] >= 3 else 1
    pixels = image[:channels]
    if pixels.dtype != torch.uint8:
        pixels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
    return Image.fromarray(array if channels == 3 else array[..., 0]).convert("RGB")


def denormalised(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """Images in [0, 1] from normalised ones: (B, C, H, W) float32.

    Args:
        images: (B, C, H, W), normalised.
        mean: C means.
        std: C standard deviations.
    """
    shape = (1, -1, 1, 1)
    centre, scale = (torch.tensor(values, device=images.device).view(shape) for values in (mean, std))
    return (images.float() * scale + centre).clamp(0, 1)


def heat(image: Tensor, weights: Tensor) -> Tensor:
    """An image under a heat map, from dark blue (the smallest weight) over red to yellow (the largest).

    Args:
        image: (C, H, W) float32 in [0, 1].
        weights: (h, w) of any range; each weight covers its part of the image.

    Returns:
        (3, H, W) float32 in [0, 1].
    """
    low, high = weights.min(), weights.max()
    level = ((weights - low) / (high - low).clamp(min=1e-12))[None, None]  # (1, 1, h, w)
    level = F.interpolate(level, image.shape[1:], mode="nearest")[0]  # (1, H, W)
    cold, warm, hot = (torch.tensor(color).view(3, 1, 1) for color in (_COLD, _WARM, _HOT))
    colors = torch.where(level < 0.5, torch.lerp(cold, warm, 2 * level), torch.lerp(warm, hot, 2 * level - 1))
    gray = image[:3].mean(dim=0, keepdim=True) if image.shape[0] >= 3 else image[:1]
    return torch.lerp(gray.expand(3, -1, -1), colors, _HEAT_OPACITY)
