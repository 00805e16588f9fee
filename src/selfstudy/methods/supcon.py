"""SupCon: all images of one class attract, all others repel; the one method that needs labels (Khosla et al. 2020).

Paper: Supervised Contrastive Learning, arXiv:2004.11362. The loss is eq. 2 (L_out), in
:func:`selfstudy.ops.contrastive.supervised_contrastive`. The projector is that of section 3.1.

Differences from the authors' code:

- The loss is not multiplied by T / 0.07, so it stays a cross entropy. The learning rate is chosen for that.
- The views are those of their PyTorch code. The paper's best results come from AutoAugment.
- The default optimizer is AdamW; theirs is SGD (``optimizer.name=sgd`` with a learning rate), or LARS.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.ops.contrastive import supervised_contrastive
from selfstudy.ops.distributed import gather
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import Labels, Spec, View


class SupCon(Method):
    """SupCon around any encoder. An image that is alone in its class has its other view as positive."""

    family = "contrastive"
    reads = Images(labels=True, any_count=True)

    class Config(MethodConfig):
        """Settings of SupCon."""

        temperature: float = Field(0.1, gt=0, description="0.1 throughout the paper")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector, which has no BatchNorm")
        projection_dim: int = Field(128, gt=0, description="size of the projections")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.projector = mlp([self.embed_dim, self.config.hidden_dim, self.config.projection_dim], norm=False)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Two crops of at least a fifth of the area with mild colours, as in the authors' code, and the label."""
        return [View(size, count=2, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2), Labels()]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """AdamW with a square-root rule, and the paper's other settings."""
        return Recipe.of("adamw", facts.square_root_rate(2e-3))

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every other view is equally likely, for any classes."""
        return math.log(2 * batch_size - 1), "ln(2B - 1)"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of all views, which are encoded together, by class over the global batch."""
        *images, labels = views  # labels (B,) int64
        embedding = self.encoder(torch.cat(images))  # (2B, D)
        projections = torch.cat([gather(part) for part in self.projector(embedding).chunk(len(images))])
        loss = supervised_contrastive(projections, gather(labels), self.config.temperature)
        return StepOutput(loss, {}, embedding[: len(labels)].detach())
