"""MSN: a view with patches missing falls to the same prototypes as another view that is whole (Assran et al. 2022).

Paper: Masked Siamese Networks for Label-Efficient Learning, arXiv:2204.07141, section 3, whose predictions are
:func:`log_predictions` and objective :func:`msn_loss`. A slow teacher gives the targets; anchors move the prototypes.

Differences from the authors' code:

- Every image drops patches of its own; theirs drops the same ones of all images in a batch.
- Momentum ends at 1, theirs four fifths of the way there. Weight decay is constant; prototypes decay, theirs do not.
- The projector's BatchNorm sees masked and small anchors in one batch, theirs one batch per crop size.
- Six small anchors of half the size instead of ten of 96 px, to save time; where that is too small a second masked one.
- Prototypes and momentum follow images and length of the run: 1,024 are for a million images.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoders.base import TokenEncoder
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.distillation import entropy
from selfstudy.ops.distributed import gather
from selfstudy.ops.masks import patch_draws, random_order, visible_count
from selfstudy.ops.precision import full_precision
from selfstudy.ops.schedules import Linear, Progress
from selfstudy.ops.sinkhorn import sinkhorn
from selfstudy.views.spec import Draws, Spec, View, is_small


@full_precision
def log_predictions(projections: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Logarithms (..., K) of each prototype's share in projections (..., P), by cosines with the prototypes (K, P).

    Source: Assran et al. 2022, arXiv:2204.07141, section 3. Sharpening by T is to take T times the temperature.
    """
    cosines = F.normalize(projections, dim=-1) @ F.normalize(prototypes, dim=-1).T
    return F.log_softmax(cosines / temperature, dim=-1)


@full_precision
def msn_loss(log_predicted: Tensor, targets: Tensor, entropy_weight: float) -> Tensor:
    """``mean H(target, anchor) + lambda (ln K - H(mean anchor))``: the mean anchor is to use every prototype.

    Args:
        log_predicted: (A, B, K) logarithms of the anchors' predictions; uniform ones cost ln K, whatever lambda is.
        targets: (B, K) probabilities.
        entropy_weight: lambda.

    Source: Assran et al. 2022, arXiv:2204.07141, section 3; ln K, which keeps the second part positive, is the code's.
    """
    cross_entropy = -(targets * log_predicted).sum(dim=2).mean()
    mean = gather(log_predicted.exp().mean(dim=(0, 1))[None]).mean(dim=0)  # (K,)
    return cross_entropy + entropy_weight * (math.log(len(mean)) + torch.xlogy(mean, mean).sum())


class MSN(Method):
    """MSN around a vision transformer."""

    family = "clustering"
    reads = Images(tokens=True)

    class Config(MethodConfig):
        """Settings of MSN."""

        mask_ratio: float = Field(0.15, gt=0, lt=1, description="0.15 for small, 0.3 base, 0.7 large")
        prototypes: int = Field(1024, gt=1, description="K; several times the number of classes")
        temperature: float = Field(0.1, gt=0, description="of the anchors")
        sharpening: float = Field(0.25, gt=0, lt=1, description="T: targets' share of the temperature")
        entropy_weight: float = Field(1.0, ge=0, description="lambda of the mean entropy; 0 collapses")
        momentum: float = Field(0.996, ge=0, lt=1, description="of the teacher at the start; 1 at the end")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector's hidden layers")
        projection_dim: int = Field(256, gt=0, description="size of the space the prototypes live in")

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        c = self.config
        self.projector = mlp([self.embed_dim, c.hidden_dim, c.hidden_dim, c.projection_dim], activation=nn.GELU)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(c.prototypes, c.projection_dim), dim=1))
        self.teacher = Teacher(encoder=self.encoder, head=self.projector)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Anchors to mask, the target, small anchors; two draws for each mask."""
        large = View(size, count=3, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2)
        if is_small(size):
            return [large, Draws(4)]
        large = large._replace(count=2, scale=(0.3, 1.0), blur=0.5)
        return [large, large._replace(size=(size[0] // 2, size[1] // 2), count=6, scale=(0.05, 0.3)), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Prototypes from images and views, momentum from steps; a rate for batches of hundreds."""
        seen = facts.total_steps * facts.batch_size
        prototypes = max(32, min(1024, facts.num_images // 64, seen // 128))
        method = {
            "prototypes": Setting(prototypes, f"for {facts.num_images:,} images, {seen:,} of them seen"),
            "momentum": facts.momentum(12, at_most=0.996),
            **facts.if_short(hidden_dim=512, projection_dim=128),
        }
        rate = facts.square_root_rate(3e-3 if facts.short else 1e-3)
        return Recipe.of("adamw", rate, method, weight_decay=0.04, warmup=0.1, clip=3.0)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """Every prototype equally likely."""
        return math.log(self.config.prototypes), "ln K"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """Anchors to mask, the target and small anchors come in this order; a mask takes two draws."""
        (*images, draws), masked = views, views[-1].shape[1] // 2
        seen = self._masked(images[:masked], draws)  # (M B, D)
        small = [self.encoder(torch.cat(images[masked + 1 :]))] if images[masked + 1 :] else []
        anchors = self.projector(torch.cat([seen, *small])).unflatten(0, (-1, len(draws)))  # (A, B, P)
        targets = self._targets(images[masked])  # (B, K)
        predicted = log_predictions(anchors, self.prototypes, self.config.temperature)  # (A, B, K)
        loss = msn_loss(predicted, targets, self.config.entropy_weight)
        return StepOutput(loss, {"target_entropy": entropy(targets)}, seen[: len(draws)].detach())

    def _masked(self, views: list[Tensor], draws: Tensor) -> Tensor:
        """Embeddings (M B, D) of M views without the patches that their two draws of every image drop."""
        patches = self.encoder.num_tokens
        order = random_order(patch_draws(torch.cat(draws.chunk(len(views), dim=1)), patches))  # (M B, N)
        keep = order[:, : visible_count(patches, self.config.mask_ratio)]
        return self.encoder.embed_and_tokens(torch.cat(views), keep=keep)[0]

    def _targets(self, view: Tensor) -> Tensor:
        """The teacher's sharpened predictions (B, K) of the whole view, shared out among the prototypes."""
        temperature = self.config.temperature * self.config.sharpening
        return sinkhorn(log_predictions(self.teacher(view), self.prototypes, temperature), 1.0, iterations=3)

    def after_step(self, progress: Progress) -> None:
        """The teacher follows, with a momentum that rises to 1."""
        self.teacher.follow(Linear(self.config.momentum, 1.0)(progress))

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, which the authors evaluate."""
        return "teacher", self.teacher.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """The teacher's predictions (B, K) for its embeddings (B, D), as logarithms and not sharpened."""
        projection = self.teacher.head(embedding)
        return log_predictions(projection, self.prototypes, self.config.temperature)
