"""Relative location: where does a patch belong, seen from the central one? (Doersch et al. 2015).

Paper: Unsupervised Visual Representation Learning by Context Prediction, arXiv:1505.05192, section 3 and figure 3.

The view is a 3 x 3 grid of patches in the paper's proportions: gaps of half a patch, so that no line continues from one
to the next, and a jitter of 7 / 96 of a side for every patch. Three patches, two gaps and the jitter fill a side of the
view: a patch measures ``side * 96 / 398`` pixels, 54 of 224. Patches have at least 32 pixels, which every encoder
takes. The view of a smaller image is enlarged until they do (133 pixels).

A lens shifts the colours of a photograph outward, which tells a network where a patch was cut without any meaning
(section 3.1). Therefore every patch loses all channels except one at random with probability ``color_drop``.

Differences from the authors' code:

- Lost channels are filled with the data's mean. Theirs also have noise, of a hundredth of the kept channel's spread.
- Patches are not reduced to 100 pixels and enlarged at random; crops of 0.5 to 1 of the area give them several scales.
- The encoder and a head with BatchNorm replace AlexNet's layers from pool5 on; AdamW replaces SGD.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.ops.classification import accuracy, cross_entropy
from selfstudy.ops.schedules import Progress
from selfstudy.ops.tiles import choose, cut_tiles
from selfstudy.views.spec import Draws, Spec, View, is_small

_NEIGHBOURS, _CENTRE = 8, 4
_PATCH, _SIDE = 96, 398  # pixels of the paper's patch and grid: 3 x 96 + 2 x 48 + 2 x 7
_SMALLEST = 133  # the side, in pixels, whose patches have 32


class RelativeLocation(Method):
    """Context prediction around any encoder."""

    family = "classic pretext"
    reads = Images(largest_batch=64)  # the encoder sees two patches of each image

    class Config(MethodConfig):
        """Settings of context prediction."""

        hidden_dim: int = Field(4096, gt=0, description="width of the two layers over both patches")
        color_drop: float = Field(1.0, ge=0, le=1, description="probability that a patch keeps one channel only")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        width = self.config.hidden_dim
        self.head = mlp([2 * self.embed_dim, width, width, _NEIGHBOURS])

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """One large part of the image; random numbers for the neighbour, and for jitters and colours of two patches."""
        height, width = (max(side, _SMALLEST) for side in size)
        return [View((height, width), scale=(0.5, 1.0)), Draws(7)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW; no loss of colours in images too small to show a lens; a narrow head for short runs."""
        small = is_small(facts.size)
        why = f"{'too few' if small else 'enough'} pixels for a lens to give positions away"
        method = {"color_drop": Setting(0.0 if small else 1.0, why), **facts.if_short(hidden_dim=512)}
        return Recipe.of("adamw", facts.square_root_rate(2e-3), method)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every direction is equally likely."""
        return math.log(_NEIGHBOURS), "ln 8"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The cross entropy of the second patch's place; both patches are cut out and encoded in the same way."""
        image, draws = views
        neighbour = choose(draws[:, 0], _NEIGHBOURS)  # (B,), numbered row by row without the centre
        cells = torch.stack([torch.full_like(neighbour, _CENTRE), neighbour + (neighbour >= _CENTRE)], dim=1)  # (B, 2)
        height, down, shake = grid(image.shape[2])
        top = cells // 3 * down + choose(draws[:, 1:3], shake)  # (B, 2)
        width, right, shake = grid(image.shape[3])
        left = cells % 3 * right + choose(draws[:, 3:5], shake)
        patches = cut_tiles(image, top, left, (height, width))  # (B, 2, C, h, w)
        patches = drop_colors(patches, draws[:, 5:7], self.config.color_drop)
        embedding = self.encoder(patches.transpose(0, 1).flatten(0, 1))  # (2B, D)
        logits = self.head(torch.cat(embedding.chunk(2), dim=1))  # (B, 8)
        metrics = {"accuracy": accuracy(logits, neighbour)}
        return StepOutput(cross_entropy(logits, neighbour), metrics, embedding[: len(image)].detach())


def grid(side: int) -> tuple[int, int, int]:
    """The length of a patch, the distance from one to the next, and the number of places of its jitter, in pixels.

    >>> grid(398)
    (96, 144, 15)
    """
    patch = side * _PATCH // _SIDE
    step = patch + patch // 2
    return patch, step, (side - patch - 2 * step) // 2 * 2 + 1


def drop_colors(patches: Tensor, draws: Tensor, probability: float) -> Tensor:
    """Patches (B, T, C, h, w); some keep one channel, with zeros in the others, as their numbers (B, T) decide."""
    channels = patches.shape[2]
    if probability == 0 or channels == 1:
        return patches
    kept = F.one_hot(choose(draws / probability, channels), channels).bool()  # (B, T, C)
    return patches * (kept | (draws >= probability)[:, :, None])[:, :, :, None, None]
