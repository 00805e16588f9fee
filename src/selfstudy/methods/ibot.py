"""iBOT: DINO, and the same teacher's word on every patch that the student cannot see (Zhou et al. 2022).

Paper: Image BERT Pre-Training with Online Tokenizer, arXiv:2111.07832. Its loss is DINO's on the class token plus L_MIM
on the hidden patches (:mod:`selfstudy.ops.distillation`), both through one head (section 3.2), centred apart.

Differences from the authors' code:

- Exactly one of the two large views of an image is masked where theirs masks each with probability 0.5, so no batch is
  without a mask. Rectangles are tried 32 times per view, where theirs gives up after ten failures in a row.
- The head sees the hidden patches alone, in student and teacher, and the patches' centre is their mean (as in DINOv2):
  without BatchNorm the loss is the same, and a head on all patches would cost more than a small encoder.
- The centres move once per optimizer step; the prototypes have unit length; weight decay is constant.
- Outputs, momentum and head follow the length of the run as in DINO; short runs need BatchNorm and sharper targets.
"""

import math
from functools import partial
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.nn.centre import Centre
from selfstudy.nn.ema import EMA
from selfstudy.nn.heads import PrototypeHead
from selfstudy.ops.block_masks import view_masks
from selfstudy.ops.distillation import dino_loss, entropy, ibot_loss, output_count
from selfstudy.ops.schedules import Cosine, Linear, Progress
from selfstudy.views.spec import Draws, Spec, View

Range = tuple[float, float]


class IBOT(Method):
    """iBOT around a vision transformer."""

    family = "distillation"
    needs_tokens = True

    class Config(MethodConfig):
        """Settings of iBOT."""

        output_dim: Annotated[int, Field(gt=1, description="K, outputs for images and patches alike")] = 8192
        patch_weight: Annotated[float, Field(gt=0, description="of the loss on patches")] = 1.0
        mask_share: Annotated[Range, Field(description="range of the hidden share of a view")] = (
            0.1,
            0.5,
        )
        mask_probability: Annotated[float, Field(ge=0.5, le=1, description="that a large view is masked")] = 0.5
        student_temperature: Annotated[float, Field(gt=0)] = 0.1
        teacher_temperature: Annotated[Range, Field(description="at first, once warm")] = (0.04, 0.07)
        warm_fraction: Annotated[float, Field(ge=0, le=1, description="of training until it is warm")] = 0.0375
        momentum: Annotated[float, Field(ge=0, lt=1, description="of the teacher at first; 1 at the end")] = 0.996
        hidden_dim: Annotated[int, Field(gt=0, description="width of the head")] = 2048
        bottleneck_dim: Annotated[int, Field(gt=0, description="before the outputs")] = 256
        head_norm: Annotated[bool, Field(description="BatchNorm in the head, for short runs")] = False
        freeze_fraction: Annotated[float, Field(ge=0, le=1, description="of training, last layer still")] = 0.01

    config: Config
    encoder: Any  # a module and a TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        head = partial(PrototypeHead, self.embed_dim, norm=self.config.head_norm, output_dim=self.config.output_dim)
        self.head = head(hidden_dim=self.config.hidden_dim, bottleneck_dim=self.config.bottleneck_dim)
        self.mask_token = nn.Parameter(torch.zeros(self.embed_dim))
        self.teacher = EMA(nn.Sequential(self.encoder, self.head), train_mode=True)
        self.centre, self.patch_centre = Centre(self.config.output_dim), Centre(self.config.output_dim)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Two large views and ten at half the size, which small images do without, and the draws of their masks."""
        blur = 0.0 if max(size) <= 64 else 1.0
        view = View(size, scale=(0.25, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2, blur=blur)
        local = view._replace(size=(size[0] // 2, size[1] // 2), count=10, scale=(0.05, 0.25), blur=0.5)
        return [view, view._replace(blur=blur / 10, solarize=0.2), *([local] if blur else []), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Outputs from images and views, momentum from steps; short runs get a small head with BatchNorm."""
        steps, batch, short = facts.total_steps, facts.batch_size, facts.total_steps < 10_000
        head: dict[str, Any] = {"head_norm": True, "hidden_dim": 512, "bottleneck_dim": 128} if short else {}
        head |= {"teacher_temperature": [0.025, 0.025]} if short else {}
        outputs = min(8192, output_count(facts.num_images, steps * batch))
        reasons = {
            "method.output_dim": f"for {facts.num_images:,} images, {steps * batch:,} of them seen",
            "method.momentum": f"at first the teacher turns over about 8 times in {steps:,} steps",
            "optimizer.lr": f"0.002 x sqrt(batch size {batch} / 256)" if short else f"0.0005 x {batch} / 256",
        }
        lr = 2e-3 * (batch / 256) ** 0.5 if short else 5e-4 * batch / 256
        return Recipe(
            {"name": "adamw", "lr": lr, "weight_decay": 0.04, "warmup": 0.1, "clip": 3.0},
            {"output_dim": outputs, "momentum": round(min(0.996, max(0.9, 1 - 8 / steps)), 5)} | head,
            reasons | {f"method.{name}": f"against collapse within {steps:,} steps" for name in head},
        )

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """Every output equally likely, for images and for the share of views with a mask."""
        patches = self.config.patch_weight * self.config.mask_probability
        return (1 + patches) * math.log(self.config.output_dim), f"{1 + patches:g} ln K"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The teacher sees both large views whole; the student sees them masked, and the small ones."""
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
        bound = entropy(targets) + c.patch_weight * c.mask_probability * entropy(patch_targets)
        metrics = {"image_loss": loss.detach(), "patch_loss": patch_loss.detach(), "teacher_entropy": bound}
        return StepOutput(loss + c.patch_weight * patch_loss, metrics, whole[: len(draws)])

    @torch.no_grad()
    def _teach(self, images: Tensor, mask: Tensor, progress: Progress) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's embeddings (2B, D) of whole images, its targets (2B, K) for them and (M, K) for patches."""
        parts: Any = self.teacher.module
        temperature = Linear(*self.config.teacher_temperature, until=self.config.warm_fraction)(progress)
        embedding, tokens = parts[0].embed_and_tokens(images)
        targets = F.softmax(self.centre(parts[1](embedding)) / temperature, dim=1)
        return embedding, targets, F.softmax(self.patch_centre(parts[1](tokens[mask])) / temperature, dim=1)

    def before_step(self, progress: Progress) -> None:
        """Hold the last layer still at the very beginning."""
        if progress.fraction < self.config.freeze_fraction:
            self.head.prototypes.grad = None

    def after_step(self, progress: Progress) -> None:
        """The teacher follows, with a momentum that rises to 1; the centres follow its outputs."""
        self.teacher.move_toward(nn.Sequential(self.encoder, self.head), Cosine(self.config.momentum, 1.0)(progress))
        self.centre.move()
        self.patch_centre.move()

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, which the authors evaluate."""
        return "teacher", self.teacher.get_submodule("module.0")
