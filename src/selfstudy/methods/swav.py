"""SwAV: the prototypes that one view is assigned to are predicted from the other views (Caron et al. 2020).

Paper: Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, arXiv:2006.09882. The loss is eq. 1
and 2 over all pairs of views: :func:`selfstudy.ops.distillation.dino_loss` with assignments ("codes") as targets. The
codes use all prototypes equally (eq. 3 to 5, :func:`selfstudy.ops.sinkhorn.sinkhorn`).

Differences from the authors' code:

- The queue holds global batches, and each process brings its share to Sinkhorn; theirs is a queue per process. It is
  pushed from the first step on, so that it is full when it is first used.
- Small views have half the size (112 of 224); theirs have 96 px. Small images, whose halves show too little, have none.
- The number of prototypes follows the images and the length of the run: 3,000 are for a million images.
- The default optimizer is AdamW; theirs is SGD with LARC, which is made for large batches, as in ``recipes/published``.
"""

import math
from itertools import groupby

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.nn.queue import Queue
from selfstudy.ops.distillation import dino_loss, entropy
from selfstudy.ops.distributed import gather, rank, world_size
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Progress
from selfstudy.ops.sinkhorn import sinkhorn
from selfstudy.views.spec import View, is_small

_LARGE = 2  # the number of views that get codes


@full_precision
def similarities(projections: Tensor, prototypes: Tensor) -> Tensor:
    """Products (..., K) of normalised projections (..., P) and prototypes (K, P)."""
    return F.normalize(projections, dim=-1) @ prototypes.T


class SwAV(Method):
    """SwAV around any encoder."""

    family = "clustering"
    reads = Images(largest_batch=128)  # a short run gains more from twice the steps

    class Config(MethodConfig):
        """Settings of SwAV."""

        prototypes: int = Field(3000, gt=1, description="K; several times the number of classes")
        temperature: float = Field(0.1, gt=0)
        epsilon: float = Field(0.05, gt=0, description="epsilon of Sinkhorn; smaller gives harder codes")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector")
        projection_dim: int = Field(128, gt=0, description="size of projections and prototypes")
        queue_size: int = Field(0, ge=0, description="3,840 helps batches smaller than K; 0 for none")
        queue_from: float = Field(0.075, ge=0, le=1, description="fraction of training before the queue")
        freeze_fraction: float = Field(0.01, ge=0, le=1, description="fraction of training with fixed prototypes")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        c = self.config
        self.projector = mlp([self.embed_dim, c.hidden_dim, c.projection_dim])
        self.prototypes = nn.Parameter(F.normalize(torch.randn(c.prototypes, c.projection_dim), dim=1))
        self.queue = Queue(_LARGE * c.projection_dim, c.queue_size)  # a row holds both large views of an image

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """Two large and six small views with SimCLR's colours; small images have two alone, milder, without blur."""
        if is_small(size):
            return [View(size, count=_LARGE, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2)]
        large = View(size, count=_LARGE, scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grayscale=0.2, blur=0.5)
        return [large, large._replace(size=(size[0] // 2, size[1] // 2), count=6, scale=(0.05, 0.14))]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Prototypes from images and views; a queue for long runs with fewer images in a batch than prototypes."""
        batch, seen = facts.batch_size, facts.total_steps * facts.batch_size
        prototypes = max(32, min(3000, facts.inputs // 64, seen // 128))
        queue = min(3840, facts.inputs // 8) // batch * batch if batch < prototypes and not facts.short else 0
        method = {
            "prototypes": Setting(prototypes, f"for {facts.inputs:,} images, {seen:,} of them seen"),
            "queue_size": Setting(queue, f"for batches of {batch} and {prototypes} prototypes"),
            **facts.if_short(hidden_dim=512),
        }
        return Recipe.of("adamw", facts.square_root_rate(2e-3), method)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every prototype is equally likely."""
        return math.log(self.config.prototypes), "ln K"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of predicting each large view's codes from all other views; equal sizes are encoded together."""
        sizes = groupby(views, key=lambda view: view.shape)
        embedding = torch.cat([self.encoder(torch.cat(list(same))) for _, same in sizes])  # (V B, D)
        projections = self.projector(embedding).unflatten(0, (len(views), -1))  # (V, B, P)
        codes = self._codes(projections[:_LARGE].detach(), progress)  # (G, B, K)
        loss = dino_loss(similarities(projections, self.prototypes), codes, self.config.temperature)
        if self.training and self.config.queue_size:
            self.queue.push(gather(projections[:_LARGE].detach().transpose(0, 1).flatten(1)))
        return StepOutput(loss, {"code_entropy": entropy(codes.flatten(0, 1))}, embedding[: len(views[0])].detach())

    def _codes(self, large: Tensor, progress: Progress) -> Tensor:
        """Codes (G, B, K) of the large views (G, B, P), balanced over the batch and, once it is in use, the queue."""
        c, batch = self.config, large.shape[1]
        if progress.fraction >= c.queue_from and progress.step * batch * world_size() >= c.queue_size:
            share = self.queue.items[rank() :: world_size()][: c.queue_size // world_size()]
            large = torch.cat(
                [large, share.view(len(share), _LARGE, large.shape[2]).transpose(0, 1)], dim=1
            )  # (G, B + Q, P)
        scores = similarities(large, self.prototypes)
        return torch.stack([sinkhorn(view, c.epsilon, iterations=3)[:batch] for view in scores])

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """The similarities (B, K) of the prototypes and the projections of embeddings (B, D)."""
        return similarities(self.projector(embedding), self.prototypes)

    def before_step(self, progress: Progress) -> None:
        """Keep the prototypes fixed at the start of training, while the projections mean nothing yet."""
        if progress.fraction < self.config.freeze_fraction:
            self.prototypes.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        """Bring the prototypes back to length 1."""
        self.prototypes.copy_(F.normalize(self.prototypes, dim=1))
