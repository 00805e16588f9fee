"""DCL: SimCLR without the positive pair in the denominator, so that small batches suffice (Yeh et al. 2022).

Paper: Decoupled Contrastive Learning, arXiv:2110.06848. The loss is eq. 6 and, with ``sigma``, eq. 7 (DCLW), in
:func:`selfstudy.ops.contrastive.decoupled_contrastive`. Everything except the loss is SimCLR's.

Differences from the paper:

- The weights of DCLW carry no gradient. With one, they would reward pairs that agree less than the others.
- The default optimizer is AdamW; the paper's is SGD (``optimizer.name=sgd`` with a learning rate).
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.ops.contrastive import decoupled_contrastive
from selfstudy.ops.distributed import gather
from selfstudy.ops.schedules import Progress
from selfstudy.views.usual import strong_pair


class DCL(Method):
    """DCL around any encoder."""

    family = "contrastive"
    default_views = staticmethod(strong_pair)  # those of SimCLR

    class Config(MethodConfig):
        """Settings of DCL."""

        temperature: float = Field(0.1, gt=0, description="0.1 in the paper; higher for short runs")
        sigma: float | None = Field(None, gt=0, description="0.5 makes it DCLW; null gives all pairs one weight")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector's hidden layer")
        projection_dim: int = Field(128, gt=0, description="size of the projections")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        sizes = [self.embed_dim, self.config.hidden_dim, self.config.projection_dim]
        self.projector = mlp(sizes)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule; a higher temperature for short runs."""
        return Recipe.of("adamw", facts.square_root_rate(2e-3), facts.if_short(temperature=0.2))

    def chance_loss(self, batch_size: int) -> tuple[float, str] | None:
        """The loss when all views of other images are as close as the positive; None for one image."""
        return (math.log(2 * batch_size - 2), "ln(2B - 2)") if batch_size > 1 else None

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The decoupled loss of both views, which are encoded together, over the batches of all processes."""
        count = len(views[0])
        embedding = self.encoder(torch.cat(views))  # (2B, D)
        projections = self.projector(embedding).split(count)  # (B, P) each
        everyones = torch.cat([gather(view) for view in projections])
        loss = decoupled_contrastive(everyones, self.config.temperature, self.config.sigma or math.inf)
        return StepOutput(loss, {}, embedding[:count].detach())
