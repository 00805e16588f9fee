"""MSN: a view with missing patches is assigned to the same prototypes as another, whole view (Assran et al. 2022).

Paper: Masked Siamese Networks for Label-Efficient Learning, arXiv:2204.07141, section 3: predictions
:func:`log_predictions`, objective :func:`msn_loss`. A slow teacher gives the targets; anchors move the prototypes.

Differences from the authors' code:

- Every image drops patches of its own; theirs drops the same patches of all images in a batch.
- The teacher's momentum ends at 1; theirs is cut off after four fifths of that way, as are its other schedules.
- BatchNorm in the projector sees masked and small anchors in one batch; theirs sees one batch per crop size.
- Six small anchors have half the size; theirs are ten of 96 px. Small images get a second masked anchor instead.
- Weight decay is constant by default (``optimizer.final_weight_decay``), and prototypes decay (``decay_prototypes``).
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
from selfstudy.optim.groups import ParameterGroup, set_apart
from selfstudy.views.spec import Draws, Spec, View, is_small


@full_precision
def log_predictions(projections: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Logarithms (..., K) of the probabilities of prototypes (K, P), by their cosines with projections (..., P).

    Sharpening by T is the same as T times the temperature. Source: Assran et al. 2022, arXiv:2204.07141, section 3.
    """
    cosines = F.normalize(projections, dim=-1) @ F.normalize(prototypes, dim=-1).T
    return F.log_softmax(cosines / temperature, dim=-1)


@full_precision
def msn_loss(log_predicted: Tensor, targets: Tensor, entropy_weight: float) -> Tensor:
    """``mean H(target, anchor) + lambda (ln K - H(mean anchor))``; the second term spreads anchors over prototypes.

    Args:
        log_predicted: logarithms (A, B, K) of the predictions of A anchors; uniform ones cost ln K for any lambda.
        targets: probabilities (B, K).
        entropy_weight: lambda.

    Source: Assran et al. 2022, arXiv:2204.07141, section 3; ln K, which keeps the second term positive, is in the code.
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
        temperature: float = Field(0.1, gt=0, description="temperature of the anchors")
        sharpening: float = Field(0.25, gt=0, lt=1, description="temperature of the targets, as a share of it")
        entropy_weight: float = Field(1.0, ge=0, description="lambda of the mean entropy; 0 lets it collapse")
        momentum: float = Field(0.996, ge=0, lt=1, description="the teacher's momentum at the start; 1 at the end")
        decay_prototypes: bool = Field(True, description="apply weight decay to the prototypes")
        hidden_dim: int = Field(2048, gt=0, description="width of the projector's hidden layers")
        projection_dim: int = Field(256, gt=0, description="size of projections and prototypes")

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
        """Anchors to mask, the target, small anchors, and two random numbers for each mask."""
        large = View(size, count=3, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2)
        if is_small(size):
            return [large, Draws(4)]
        large = large._replace(count=2, scale=(0.3, 1.0), blur=0.5)
        return [large, large._replace(size=(size[0] // 2, size[1] // 2), count=6, scale=(0.05, 0.3)), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Prototypes from the images seen, momentum from the number of steps."""
        seen = facts.total_steps * facts.batch_size
        count = max(32, min(1024, facts.inputs // 64, seen // 128))
        prototypes = Setting(count, f"for {facts.inputs:,} images, {seen:,} of them seen")
        method = {"prototypes": prototypes, "momentum": facts.momentum(12, at_most=0.996)}
        method |= facts.if_short(hidden_dim=512, projection_dim=128)
        rate = facts.square_root_rate(3e-3 if facts.short else 1e-3)
        return Recipe.of("adamw", rate, method, weight_decay=0.04, warmup=0.1, clip=3.0)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The default groups, with the prototypes set apart if they do not decay."""
        groups = super().parameter_groups()
        return groups if self.config.decay_prototypes else set_apart(groups, [self.prototypes], decays=False)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """Every prototype equally likely."""
        return math.log(self.config.prototypes), "ln K"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of masked and small anchors against the target view."""
        (*images, draws), masked, t = views, views[-1].shape[1] // 2, self.config.temperature
        seen = self._masked(images[:masked], draws)  # (M B, D)
        small = [self.encoder(torch.cat(images[masked + 1 :]))] if images[masked + 1 :] else []
        anchors = self.projector(torch.cat([seen, *small])).unflatten(0, (-1, len(draws)))  # (A, B, P)
        predicted = log_predictions(anchors, self.prototypes, t)  # (A, B, K)
        sharp = log_predictions(self.teacher(images[masked]), self.prototypes, t * self.config.sharpening)
        targets = sinkhorn(sharp, 1.0, iterations=3)  # (B, K), balanced over the prototypes
        loss = msn_loss(predicted, targets, self.config.entropy_weight)
        return StepOutput(loss, {"target_entropy": entropy(targets)}, seen[: len(draws)].detach())

    def _masked(self, views: list[Tensor], draws: Tensor) -> Tensor:
        """The embeddings (M B, D) of M views, without the patches that each image's two numbers drop."""
        patches = self.encoder.num_tokens
        order = random_order(patch_draws(torch.cat(draws.chunk(len(views), dim=1)), patches))  # (M B, N)
        keep = order[:, : visible_count(patches, self.config.mask_ratio)]
        return self.encoder.embed_and_tokens(torch.cat(views), keep=keep)[0]

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, with a momentum that rises to 1."""
        self.teacher.follow(Linear(self.config.momentum, 1.0)(progress))

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, which the authors evaluate."""
        return "teacher", self.teacher.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """The logarithms (B, K) of the teacher's predictions for its embeddings (B, D), not sharpened."""
        return log_predictions(self.teacher.head(embedding), self.prototypes, self.config.temperature)
