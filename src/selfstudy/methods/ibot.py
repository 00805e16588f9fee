"""iBOT: DINO on images, and the teacher's output for every hidden patch as a second target (Zhou et al. 2022).

Paper: Image BERT Pre-Training with Online Tokenizer, arXiv:2111.07832. The loss is DINO's on the class token plus L_MIM
on the hidden patches (:mod:`selfstudy.ops.distillation`). One head serves both (section 3.2); each has its own centre.

Differences from the authors' code:

- Exactly one of the two large views of an image is masked, so no batch is without a mask; theirs masks each view with
  probability 0.5. Rectangles are tried 32 times per view; theirs stops after ten failures in a row.
- The head sees only the hidden patches, and the centre of the patches is their mean, as in DINOv2. Without BatchNorm
  the loss is the same, and a head on all patches would cost more than a small encoder.
- Centres move once per optimizer step. Prototypes have unit length. Small views have half the size; theirs have 96 px.
- Outputs, momentum and head follow the length of the run, as in DINO. Short runs need BatchNorm and sharper targets.
- Rising weight decay, clipping of single gradients and stochastic depth are settings; ``recipes/published`` has theirs.
"""

import math
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.config import Positives, Shares
from selfstudy.encoders.base import TokenEncoder
from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.centre import centring
from selfstudy.nn.heads import PrototypeHead
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.block_masks import view_masks
from selfstudy.ops.distillation import dino_loss, entropy, ibot_loss, output_count
from selfstudy.ops.schedules import Cosine, Linear, Progress
from selfstudy.views.spec import Draws, Spec, View, is_small


class IBOT(Method):
    """iBOT around a vision transformer."""

    family = "distillation"
    reads = Images(tokens=True)

    class Config(MethodConfig):
        """Settings of iBOT."""

        output_dim: int = Field(8192, gt=1, description="K, the number of outputs for images and patches")
        patch_weight: float = Field(1.0, gt=0, description="weight of the loss on patches")
        mask_share: Shares = Field((0.1, 0.5), description="range of the hidden share of a view")
        mask_probability: float = Field(0.5, ge=0.5, le=1, description="probability that a large view is masked")
        centring: Literal["centre", "sinkhorn"] = Field("centre", description="sinkhorn, as in DINOv2, for short runs")
        student_temperature: float = Field(0.1, gt=0)
        teacher_temperature: Positives = Field((0.04, 0.07), description="at first, and once it is warm")
        warm_fraction: float = Field(0.0375, ge=0, le=1, description="fraction of training until it is warm")
        momentum: float = Field(0.996, ge=0, lt=1, description="the teacher's momentum at the start; 1 at the end")
        hidden_dim: int = Field(2048, gt=0, description="width of the head")
        bottleneck_dim: int = Field(256, gt=0, description="width before the outputs")
        head_norm: bool = Field(False, description="BatchNorm in the head, for short runs")
        freeze_fraction: float = Field(0.01, ge=0, le=1, description="fraction of training with a fixed last layer")

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        head = partial(PrototypeHead, self.embed_dim, norm=self.config.head_norm, output_dim=self.config.output_dim)
        self.head = head(hidden_dim=self.config.hidden_dim, bottleneck_dim=self.config.bottleneck_dim)
        self.mask_token = nn.Parameter(torch.zeros(self.embed_dim))
        self.teacher = Teacher(encoder=self.encoder, head=self.head)
        self.centre, self.patch_centre = (centring(self.config.centring, self.config.output_dim) for _ in range(2))

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Two large views, ten at half the size unless images are small, and the random numbers of the masks."""
        blur = 0.0 if is_small(size) else 1.0
        view = View(size, scale=(0.25, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2, blur=blur)
        local = view._replace(size=(size[0] // 2, size[1] // 2), count=10, scale=(0.05, 0.25), blur=0.5)
        return [view, view._replace(blur=blur / 10, solarize=0.2), *([local] if blur else []), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Outputs and momentum from the length of the run; a small head with BatchNorm for short runs."""
        seen = facts.total_steps * facts.batch_size
        outputs = min(8192, output_count(facts.inputs, seen))
        method = {
            "output_dim": Setting(outputs, f"for {facts.inputs:,} images, {seen:,} of them seen"),
            "momentum": facts.momentum(8, at_most=0.996),
            **facts.if_short(head_norm=True, hidden_dim=512, bottleneck_dim=128),
            **facts.if_short(centring="sinkhorn", teacher_temperature=[0.025, 0.025]),
        }
        rate = facts.square_root_rate(4e-3) if facts.short else facts.linear_rate(5e-4)
        return Recipe.of("adamw", rate, method, weight_decay=0.04, warmup=0.1, clip=3.0)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every output is equally likely, for images and for the views with a mask."""
        patches = self.config.patch_weight * self.config.mask_probability
        return (1 + patches) * math.log(self.config.output_dim), f"{1 + patches:g} ln K"

    def uniform_entropy(self) -> float:
        """The entropy of targets in which every output is equally likely."""
        return math.log(self.config.output_dim)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The student, which sees masked large views and small ones, predicts the teacher's targets for whole views."""
        c = self.config
        *images, draws = views
        large = torch.cat(images[:2])  # (2B, C, H, W)
        mask = view_masks(draws, self.encoder.grid, views=2, share=c.mask_share, probability=c.mask_probability)
        whole, targets, patch_targets = self._teach(large, mask, progress)
        embedding, tokens = self.encoder.embed_and_tokens(large, mask=mask, mask_token=self.mask_token)
        small = [self.encoder(torch.cat(images[2:]))] if images[2:] else []
        student = self.head(torch.cat([embedding, *small])).view(len(images), -1, c.output_dim)  # (V, B, K)
        loss = dino_loss(student, targets.view(2, -1, c.output_dim), c.student_temperature)
        patch_loss = ibot_loss(self.head(tokens[mask]), patch_targets, mask, c.student_temperature)
        metrics = {"image_loss": loss.detach(), "patch_loss": patch_loss.detach()}
        metrics |= {"teacher_entropy": entropy(targets), "patch_entropy": entropy(patch_targets)}
        return StepOutput(loss + c.patch_weight * patch_loss, metrics, whole[: len(draws)])

    @torch.no_grad()
    def _teach(self, images: Tensor, mask: Tensor, progress: Progress) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's embeddings (2B, D) of whole images, its targets (2B, K) for them and (M, K) for patches."""
        teacher = self.teacher
        temperature = Linear(*self.config.teacher_temperature, until=self.config.warm_fraction)(progress)
        embedding, tokens = teacher.encoder.embed_and_tokens(images)
        targets = self.centre.targets(teacher.head(embedding), temperature)
        return embedding, targets, self.patch_centre.targets(teacher.head(tokens[mask]), temperature)

    def before_step(self, progress: Progress) -> None:
        """Keep the last layer fixed at the start of training."""
        if progress.fraction < self.config.freeze_fraction:
            self.head.prototypes.grad = None

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, with a momentum that rises to 1, and the centres."""
        self.teacher.follow(Cosine(self.config.momentum, 1.0)(progress))
        self.centre.move()
        self.patch_centre.move()

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, which the authors evaluate."""
        return "teacher", self.teacher.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """The teacher's outputs (B, K) for its embeddings (B, D), centred as its targets are."""
        return self.centre.centred(self.teacher.head(embedding))
