"""A picture of what a method sees: one row per image, the image itself and then its random views."""

from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from selfstudy.ops.pixels import as_float
from selfstudy.ops.random import fold
from selfstudy.views.augment import distort
from selfstudy.views.geometry import crop_boxes, flips, resample_one
from selfstudy.views.pictures import Cell, sheet
from selfstudy.views.spec import Spec, View, one_each

_CELL = 96  # smallest side shown, in pixels


def contact_sheet(images: Mapping[int, Tensor], specs: Sequence[Spec], *, seed: int) -> Image.Image:
    """The views of epoch 0 under ``seed``, exactly as training draws them.

    Args:
        images: positions in the data and images (C, H, W), uint8 or float32 in [0, 1], of any sizes.
        specs: the method's specs; only views are shown.
        seed: seed of the run.
    """
    flat = {number: spec for number, spec in enumerate(one_each(specs)) if isinstance(spec, View)}
    rows = [
        [Cell(image), *(Cell(_render(image, view, seed, position, v)) for v, view in flat.items())]
        for position, image in images.items()
    ]
    return sheet(rows, side=max(_CELL, max(max(view.size) for view in flat.values())))


def _render(image: Tensor, view: View, seed: int, sample: int, number: int) -> Tensor:
    """View ``number`` of a sample in epoch 0: (C, h, w) float32."""
    keys = fold(seed, 0, torch.tensor([sample]), number)
    box = crop_boxes(view, keys, image.shape[-2], image.shape[-1])[0]
    cut = resample_one(image, box, view.size, flips(view, keys)[0].tolist())
    return distort(as_float(cut)[None].clone(), view, keys)[
        0
    ]  # distort overwrites, and a crop of everything is the image itself
