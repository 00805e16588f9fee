"""Jigsaw: which of P known orders do nine shuffled tiles have? (Noroozi & Favaro 2016).

Paper: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, arXiv:1603.09246: the context-free
network of figure 3, the set of permutations of algorithm 1.

As in the paper a tile is cut at random out of its cell of a 3 x 3 grid, 64 pixels of 75, so that edges do not meet.
Each tile is brought to zero mean and unit spread on its own, so that brightness does not continue across tiles. Three
views in ten are gray, which together with colour jitter hides the colour shift of lenses. Tiles have at least 32
pixels, which every encoder takes. The view of a smaller image is enlarged until they do (114 pixels, so that a step
costs as much as 4.5 pairs of views of 32 pixels).

Differences from the authors' code:

- Colour channels are not shifted against each other by up to 2 pixels; the colour jitter of the views replaces that.
- The permutations are chosen without chance. Among equally distant ones, the one most distant from its nearest wins.
- The encoder and heads with BatchNorm replace AlexNet's layers from fc6 on; AdamW replaces SGD.
"""

import math

from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.ops.classification import accuracy, cross_entropy
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.ops.tiles import choose, cut_tiles, distant_permutations
from selfstudy.views.spec import Draws, Spec, View

_TILES = 9
_TILE, _CELL = 64, 75
_SMALLEST = 114  # the side, in pixels, whose tiles have 32
_EPS = 1e-5


class Jigsaw(Method):
    """Jigsaw puzzles around any encoder."""

    family = "classic pretext"
    reads = Images(largest_batch=64)  # the encoder sees nine tiles of each image

    class Config(MethodConfig):
        """Settings of jigsaw puzzles."""

        permutations: int = Field(1000, gt=1, le=10_000, description="P, the number of orders; more is harder")
        tile_dim: int = Field(512, gt=0, description="size of the features of a tile, the paper's fc6")
        hidden_dim: int = Field(4096, gt=0, description="width of the layer over all tiles, the paper's fc7")

    config: Config
    orders: Tensor

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        c = self.config
        self.tile_head = nn.Sequential(nn.Linear(self.embed_dim, c.tile_dim), nn.ReLU())
        self.head = mlp([_TILES * c.tile_dim, c.hidden_dim, c.permutations])
        self.register_buffer("orders", distant_permutations(_TILES, c.permutations).clone())  # (P, 9)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """One large part of the image; random numbers for the order and for two jitters of every tile."""
        height, width = (max(side, _SMALLEST) for side in size)
        jitter = (0.4, 0.4, 0.4, 0.1)
        return [View((height, width), scale=(0.5, 1.0), jitter=jitter, grayscale=0.3), Draws(1 + 2 * _TILES)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule; few permutations and narrow heads for short runs."""
        small = facts.if_short(permutations=24, tile_dim=128, hidden_dim=512)
        return Recipe.of("adamw", facts.square_root_rate(2e-3), small)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every order is equally likely."""
        return math.log(self.config.permutations), "ln P"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The cross entropy of the order of the tiles, each of which is encoded on its own."""
        image, draws = views
        answers = choose(draws[:, 0], len(self.orders))  # (B,)
        cells = self.orders[answers]  # (B, 9), the cell of every tile
        (height, down), (width, right) = (grid(side) for side in image.shape[2:])
        top = cells // 3 * down + choose(draws[:, 1 : 1 + _TILES], down - height + 1)  # (B, 9)
        left = cells % 3 * right + choose(draws[:, 1 + _TILES :], right - width + 1)
        tiles = standardised(cut_tiles(image, top, left, (height, width)))  # (B, 9, C, h, w)
        embedding = self.encoder(tiles.flatten(0, 1)).unflatten(0, (len(image), _TILES))  # (B, 9, D)
        logits = self.head(self.tile_head(embedding).flatten(1))  # (B, P)
        metrics = {"accuracy": accuracy(logits, answers)}
        return StepOutput(cross_entropy(logits, answers), metrics, embedding.detach().mean(dim=1).float())


def grid(side: int) -> tuple[int, int]:
    """The lengths of a tile and of its cell, in pixels.

    >>> grid(225)
    (64, 75)
    """
    cell = side // 3
    return cell * _TILE // _CELL, cell


@full_precision
def standardised(tiles: Tensor) -> Tensor:
    """Tiles (..., C, h, w), each with zero mean and unit standard deviation over all channels together."""
    mean = tiles.mean(dim=(-3, -2, -1), keepdim=True)
    return (tiles - mean) / (tiles.var(dim=(-3, -2, -1), keepdim=True, correction=0) + _EPS).sqrt()
