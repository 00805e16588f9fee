"""DCL: SimCLR whose positive pair is left out of the denominator, so that small batches suffice (Yeh et al. 2022).

Paper: Decoupled Contrastive Learning, arXiv:2110.06848; the loss is eq. 6 and, with ``sigma`` set, eq. 7 (DCLW), in
:func:`selfstudy.ops.contrastive.decoupled_contrastive`. Everything but the loss is SimCLR's.

Differences from the paper:

- The weights of DCLW carry no gradient: with one, they would reward pairs for agreeing less than the others.
- The default optimizer is AdamW (``optimizer.name=sgd`` for the paper's).
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.ops.contrastive import decoupled_contrastive
from selfstudy.ops.distributed import gather
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import View
from selfstudy.views.usual import strong_pair


class DCL(Method):
    """DCL around any encoder."""

    family = "contrastive"

    class Config(MethodConfig):
        """Settings of DCL."""

        temperature: Annotated[float, Field(gt=0, description="0.1 in the paper; higher for short runs")] = 0.1
        sigma: Annotated[float | None, Field(gt=0, description="0.5 makes it DCLW; none weighs pairs alike")] = None
        hidden_dim: Annotated[int, Field(gt=0, description="width of the projector's hidden layer")] = 2048
        projection_dim: Annotated[int, Field(gt=0, description="size of the space of the loss")] = 128

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        sizes = [self.embed_dim, self.config.hidden_dim, self.config.projection_dim]
        self.projector = mlp(sizes)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """SimCLR's augmentation; for small images without blur, with half the colour and larger crops."""
        return [strong_pair(size)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule; a milder temperature while there are few steps."""
        short = facts.total_steps < 10_000
        lr = 2e-3 * (facts.batch_size / 256) ** 0.5
        return Recipe(
            optimizer={"name": "adamw", "lr": lr, "weight_decay": 1e-4, "warmup": 0.05},
            method={"temperature": 0.2} if short else {},
            reasons={
                "optimizer.lr": f"0.002 x sqrt(batch size {facts.batch_size} / 256)",
                **({"method.temperature": f"for {facts.total_steps:,} steps"} if short else {}),
            },
        )

    def chance_loss(self, batch_size: int) -> tuple[float, str] | None:
        """Every view of another image as close as the positive; one image has no other."""
        return (math.log(2 * batch_size - 2), "ln(2B - 2)") if batch_size > 1 else None

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """Encode both views in one call, as SimCLR does, and contrast the projections of all processes."""
        count = len(views[0])
        embedding = self.encoder(torch.cat(views))  # (2B, D)
        projections = self.projector(embedding).split(count)  # (B, P) each
        everyones = torch.cat([gather(view) for view in projections])
        loss = decoupled_contrastive(everyones, self.config.temperature, self.config.sigma or math.inf)
        return StepOutput(loss, {}, embedding[:count].detach())
