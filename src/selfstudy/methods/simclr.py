"""SimCLR: two views of one image attract, all other images of the batch repel (Chen et al. 2020).

Paper: A Simple Framework for Contrastive Learning of Visual Representations, arXiv:2002.05709. The loss is eq. 1, in
:func:`selfstudy.ops.contrastive.nt_xent`. The method has no state beside its two networks.

Differences from the authors' code:

- The projector has two layers, the last one without BatchNorm; theirs three, BatchNorm after each, no bias on the last.
- The default optimizer is AdamW; the authors' LARS is meant for batches of thousands (``optimizer.name=lars`` with a
  rate, or the recipe in ``recipes/published``).
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.ops.contrastive import nt_xent
from selfstudy.ops.distributed import gather
from selfstudy.ops.schedules import Progress
from selfstudy.views.usual import strong_pair


class SimCLR(Method):
    """SimCLR around any encoder."""

    family = "contrastive"
    default_views = staticmethod(strong_pair)  # appendix A; small images keep more of their area and colour

    class Config(MethodConfig):
        """Settings of SimCLR."""

        temperature: float = Field(0.2, gt=0, description="0.1 for long ImageNet runs, 0.2 to 0.5 else")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector")
        projection_dim: int = Field(128, gt=0, description="size of the space the loss lives in")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.projector = mlp([self.embed_dim, self.config.hidden_dim, self.config.projection_dim])

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule."""
        return Recipe.of("adamw", facts.square_root_rate(2e-3))

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """Every other view equally likely."""
        return math.log(2 * batch_size - 1), "ln(2B - 1)"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """Encode and project both views together, gather them over processes, contrast."""
        embedding = self.encoder(torch.cat(views))  # (2B, D)
        first, second = self.projector(embedding).chunk(2)  # (B, P) each
        loss = nt_xent(torch.cat([gather(first), gather(second)]), self.config.temperature)
        return StepOutput(loss, {}, embedding[: len(views[0])].detach())
