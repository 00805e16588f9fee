"""NNCLR: the positive of a view is the nearest neighbour of the other view among earlier images (Dwibedi et al. 2021).

Paper: With a Little Help from My Friends, arXiv:2104.14548. The loss is eq. 3 with the nearest neighbours of eq. 4, a
predictor, and both directions (section 3.2), here :func:`nearest` and
:func:`selfstudy.ops.contrastive.info_nce_in_batch`.

Differences from the paper:

- The queue holds about 24 batches, as in the paper, and at most an eighth of the images. With all images in it, an
  image's nearest neighbour would mostly be itself.
- The default optimizer is AdamW; LARS is made for batches of thousands (``optimizer.name=lars`` with a learning rate).
- BatchNorm at the end of the projector has no scale and shift, which the predictor's first layer could undo.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.nn.queue import Queue
from selfstudy.ops.contrastive import info_nce_in_batch
from selfstudy.ops.distributed import gather
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.views.usual import strong_pair


@full_precision
@torch.no_grad()
def nearest(projections: Tensor, support: Tensor) -> Tensor:
    """The item of the support set that is nearest to each projection.

    Args:
        projections: vectors (B, D), normalised here.
        support: vectors (K, D) of unit length.

    Returns:
        (B, D) rows of ``support``, without gradient.

    Source: Dwibedi et al. 2021, arXiv:2104.14548, eq. 4.
    """
    similarity = F.normalize(projections, dim=1) @ support.T  # (B, K)
    return support[similarity.argmax(dim=1)]


class NNCLR(Method):
    """NNCLR around any encoder."""

    family = "contrastive"
    default_views = staticmethod(strong_pair)  # those of SimCLR, as in the paper

    class Config(MethodConfig):
        """Settings of NNCLR."""

        temperature: float = Field(0.1, gt=0)
        queue_size: int = Field(98304, ge=1, description="number of earlier projections to search for neighbours")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector's two hidden layers")
        predictor_dim: int = Field(4096, gt=0, description="width of the predictor's hidden layer")
        projection_dim: int = Field(256, gt=0, description="size of projections and predictions")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        hidden, out = self.config.hidden_dim, self.config.projection_dim
        self.projector = mlp([self.embed_dim, hidden, hidden, out], output_norm=True)
        self.predictor = mlp([out, self.config.predictor_dim, out])
        self.queue = Queue(out, self.config.queue_size)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The queue from the batch and the number of images; narrow heads for short runs."""
        batch = facts.batch_size
        queue = max(batch, min(98304, 24 * batch, facts.inputs // 8 // batch * batch))
        why = f"24 batches of {batch}, at most an eighth of {facts.inputs:,} images"
        method = {"queue_size": Setting(queue, why), **facts.if_short(hidden_dim=1024, predictor_dim=1024)}
        return Recipe.of("adamw", facts.square_root_rate(2e-3), method)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every image of the batch is equally likely."""
        return math.log(batch_size), "ln B"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of each view's neighbours against predictions of the other; then the first view joins the queue."""
        embedding = self.encoder(views[0])  # (B, D)
        z = [self.projector(embedding), self.projector(self.encoder(views[1]))]  # (B, P) each
        neighbours = [nearest(each, self.queue.items) for each in z]
        one, other = (
            info_nce_in_batch(gather(neighbour), gather(self.predictor(each)), self.config.temperature)
            for neighbour, each in zip(neighbours, reversed(z), strict=True)
        )
        similarity = F.cosine_similarity(z[0].detach(), neighbours[0], dim=1).mean()
        if self.training:
            self.queue.push(F.normalize(gather(z[0].detach()).to(self.queue.items.dtype), dim=1))
        return StepOutput((one + other) / 2, {"neighbour_similarity": similarity}, embedding.detach())
