"""LeJEPA: views of an image meet in one point, and the points of all are Gaussian (Balestriero & LeCun 2025).

Paper: LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics, arXiv:2511.08544. The loss is
``(1 - lambda) x`` :func:`invariance` ``+ lambda x`` :func:`selfstudy.ops.sigreg.sigreg` of every view, averaged over
views (section 5, algorithm 2). There is no teacher, stop-gradient or queue: the second term alone keeps images apart.

Differences from the authors' code:

- SIGReg is integrated as in their library and MINIMAL.md: 17 points on [0, 3], doubled; algorithm 1 prints [-5, 5].
- The squared distance is averaged over dimensions, as in their code; the paper's formula sums them.
- Their slices come from a step counter that the module keeps. Here they are a function of the step, the same on all
  processes, so they need no state.
- Small views have half the size (112 of 224; theirs 98). Small images have two large views alone: their halves show too
  little, and short runs gain more from more images than from more views of each.
- Short runs have the learning rate of MINIMAL.md, long ones that of the README.
"""

from itertools import groupby

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.ops.precision import full_precision
from selfstudy.ops.random import generator
from selfstudy.ops.schedules import Progress
from selfstudy.ops.sigreg import sigreg, unit_slices
from selfstudy.views.spec import View, is_small

_STREAM = 2511_08544  # separates the slices from other random numbers that are keyed by the step


@full_precision
def invariance(projections: Tensor, large: int) -> Tensor:
    """Mean squared distance of every view from the mean of its image's large views.

    Args:
        projections: the projections (V, B, D) of all views, the large ones first.
        large: the number of large views.

    Returns:
        () float32 (float64 for float64 input), averaged over views, images and dimensions.

    Source: Balestriero & LeCun 2025, arXiv:2511.08544, section 5 and algorithm 2.
    """
    return (projections - projections[:large].mean(dim=0)).square().mean()


class LeJEPA(Method):
    """LeJEPA around any encoder."""

    family = "redundancy reduction"
    reads = Images(any_count=True)

    class Config(MethodConfig):
        """Settings of LeJEPA."""

        sigreg_weight: float = Field(0.05, gt=0, lt=1, description="lambda, the one setting to tune: 0.01 to 0.1")
        slices: int = Field(1024, gt=0, description="number of random directions per step; 256 to 1,024")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector's hidden layers")
        projection_dim: int = Field(128, gt=0, description="size of the projections, which become Gaussian; 16 to 512")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        hidden = self.config.hidden_dim
        self.projector = mlp([self.embed_dim, hidden, hidden, self.config.projection_dim])

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """Two large and six small views with the same colours; small images have two large ones alone, without blur."""
        colours = View(size, jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2, solarize=0.2)
        if is_small(size):
            return [colours._replace(count=2, scale=(0.2, 1.0))]
        half = (size[0] // 2, size[1] // 2)
        large = colours._replace(count=2, scale=(0.3, 1.0), blur=0.5)
        return [large, large._replace(size=half, count=6, scale=(0.05, 0.3))]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW; another learning rate, fewer slices and narrower heads for short runs."""
        rate = facts.square_root_rate(2e-3 if facts.short else 5e-4)
        small = facts.if_short(slices=256, hidden_dim=1024, projection_dim=64)
        return Recipe.of("adamw", rate, small, weight_decay=5e-4)  # as theirs for ResNets; 0.05 for vision transformers

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of all views. Views of one size are encoded together; the first size is the large one."""
        sizes = [list(same) for _, same in groupby(views, key=lambda view: view.shape)]
        embedding = torch.cat([self.encoder(torch.cat(same)) for same in sizes])  # (V B, D)
        projections = self.projector(embedding).unflatten(0, (len(views), -1))  # (V, B, P)
        drawn = unit_slices(projections.shape[2], self.config.slices, generator(_STREAM, progress.step))
        agreement = invariance(projections, len(sizes[0]))
        gaussian = sigreg(projections, drawn.to(projections.device))
        weight = self.config.sigreg_weight
        loss = (1 - weight) * agreement + weight * gaussian
        metrics = {"invariance": agreement.detach(), "sigreg": gaussian.detach()}
        return StepOutput(loss, metrics, embedding[: len(views[0])].detach())
