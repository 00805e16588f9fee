"""SimCLR: two views of one image attract, all other images of the batch repel (Chen et al. 2020).

Paper: A Simple Framework for Contrastive Learning of Visual Representations, arXiv:2002.05709. The loss is eq. 1, in
:func:`selfstudy.ops.contrastive.nt_xent`. The method has no state except its two networks.

Differences from the authors' code:

- The projector has two layers, the last one without BatchNorm. Theirs has three, with BatchNorm after each and no bias
  in the last one.
- The default optimizer is AdamW. The authors' LARS is made for batches of thousands; ``recipes/published`` has it.
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

        temperature: float = Field(0.2, gt=0, description="0.1 for long runs on ImageNet, else 0.2 to 0.5")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector")
        projection_dim: int = Field(128, gt=0, description="size of the projections")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.projector = mlp([self.embed_dim, self.config.hidden_dim, self.config.projection_dim])

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW, with a learning rate that follows the square root of the batch size."""
        return Recipe.of("adamw", facts.square_root_rate(2e-3))

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every other view is equally likely."""
        return math.log(2 * batch_size - 1), "ln(2B - 1)"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The contrastive loss of both views, which are encoded together, over the batches of all processes."""
        embedding = self.encoder(torch.cat(views))  # (2B, D)
        first, second = self.projector(embedding).chunk(2)  # (B, P) each
        loss = nt_xent(torch.cat([gather(first), gather(second)]), self.config.temperature)
        return StepOutput(loss, {}, embedding[: len(views[0])].detach())
