"""DINO: a student predicts, from any view, what a slowly moving teacher says of the large views (Caron et al. 2021).

Paper: Emerging Properties in Self-Supervised Vision Transformers, arXiv:2104.14294; loss eq. 1 and 2 with multi-crop in
:func:`selfstudy.ops.distillation.dino_loss`, centring (eq. 4) in :class:`selfstudy.nn.centre.Centre`.

Differences from the authors' code:

- The centre moves once per optimizer step, by the mean over its micro-batches and processes; theirs moves per forward.
- Momentum, output dimension and head follow the length of the run and the number of images: the paper's are for a
  million images and 100,000 steps. In a few hundred steps they end in one output for all images (docs/log.md).
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.nn.centre import Centre
from selfstudy.nn.ema import EMA
from selfstudy.nn.heads import PrototypeHead
from selfstudy.ops.distillation import dino_loss, entropy, output_count
from selfstudy.ops.schedules import Cosine, Progress
from selfstudy.views.spec import View

_GLOBAL = 2


class DINO(Method):
    """DINO around any encoder."""

    family = "distillation"

    class Config(MethodConfig):
        """Settings of DINO."""

        output_dim: Annotated[int, Field(gt=1, description="K, the number of outputs")] = 65536
        student_temperature: Annotated[float, Field(gt=0)] = 0.1
        teacher_temperature: Annotated[float, Field(gt=0, description="lower sharpens; above 0.07 is unstable")] = 0.04
        momentum: Annotated[float, Field(ge=0, lt=1, description="of the teacher at the start; 1 at the end")] = 0.996
        hidden_dim: Annotated[int, Field(gt=0, description="width of the head")] = 2048
        bottleneck_dim: Annotated[int, Field(gt=0, description="before the outputs, normalised")] = 256
        head_norm: Annotated[bool, Field(description="BatchNorm in the head; keeps short runs from collapsing")] = False
        freeze_fraction: Annotated[float, Field(ge=0, le=1, description="of training with the last layer fixed")] = 0.01

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        c = self.config
        self.head = PrototypeHead(
            self.embed_dim,
            hidden_dim=c.hidden_dim,
            bottleneck_dim=c.bottleneck_dim,
            output_dim=c.output_dim,
            norm=c.head_norm,
        )
        self.teacher = EMA(nn.Sequential(self.encoder, self.head), train_mode=True)
        self.centre = Centre(c.output_dim)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """Two large views and six at half the size; of images up to 64 px, whose halves show little, the two alone."""
        small = max(size) <= 64
        half = (size[0] // 2, size[1] // 2)
        jitter = (0.4, 0.4, 0.2, 0.1)
        large = View(size, scale=(0.25, 1.0), jitter=jitter, grayscale=0.2, blur=0.0 if small else 1.0)
        views = [large, large._replace(blur=0.0 if small else 0.1, solarize=0.2)]
        return views if small else [*views, large._replace(size=half, count=6, scale=(0.05, 0.25), blur=0.5)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Outputs from images and views, momentum from steps; short runs get a small head with BatchNorm."""
        steps, batch, short = facts.total_steps, facts.batch_size, facts.total_steps < 10_000
        outputs = output_count(facts.num_images, steps * batch)
        momentum = min(0.996, max(0.9, 1 - 8 / steps))
        lr = 2e-3 * (batch / 256) ** 0.5 if short else 5e-4 * batch / 256
        head = {"head_norm": True, "hidden_dim": 512, "bottleneck_dim": 128, "teacher_temperature": 0.025}
        why = f"keeps the {steps:,} steps from collapsing"
        return Recipe(
            optimizer={"name": "adamw", "lr": lr, "weight_decay": 0.04, "warmup": 0.1, "clip": 3.0},
            method={"output_dim": outputs, "momentum": round(momentum, 5), **(head if short else {})},
            reasons={
                "method.output_dim": f"for {facts.num_images:,} images, {steps * batch:,} of them seen",
                "method.momentum": f"at first the teacher turns over about 8 times in {steps:,} steps",
                "optimizer.lr": f"0.002 x sqrt(batch size {batch} / 256)" if short else f"0.0005 x {batch} / 256",
                **({f"method.{name}": why for name in head} if short else {}),
            },
        )

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """Every output equally likely."""
        return math.log(self.config.output_dim), "ln K"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The student sees all views, those of one size together; the teacher sees the large ones."""
        teacher_logits = self.teacher(torch.cat(views[:_GLOBAL]))  # (G B, K)
        targets = F.softmax(self.centre(teacher_logits) / self.config.teacher_temperature, dim=1)
        embeddings = [self.encoder(torch.cat(views[:_GLOBAL]))]  # (G B, D)
        if len(views) > _GLOBAL:
            embeddings.append(self.encoder(torch.cat(views[_GLOBAL:])))
        outputs = targets.shape[1]
        student = self.head(torch.cat(embeddings)).view(len(views), -1, outputs)  # (V, B, K)
        loss = dino_loss(student, targets.view(_GLOBAL, -1, outputs), self.config.student_temperature)
        return StepOutput(loss, {"teacher_entropy": entropy(targets)}, embeddings[0][: len(views[0])].detach())

    def before_step(self, progress: Progress) -> None:
        """Hold the last layer still at the very beginning, while the teacher says nothing yet."""
        if progress.fraction < self.config.freeze_fraction:
            self.head.prototypes.grad = None

    def after_step(self, progress: Progress) -> None:
        """The teacher follows, with a momentum that rises to 1; the centre follows the teacher's mean output."""
        momentum = Cosine(self.config.momentum, 1.0)(progress)
        self.teacher.move_toward(nn.Sequential(self.encoder, self.head), momentum)
        self.centre.move()

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, which is the better of the two throughout training (section 5.2)."""
        return "teacher", self.teacher.get_submodule("module.0")

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """What the teacher says of its embeddings (B, D): its centred outputs (B, K)."""
        scores: Tensor = self.teacher.get_submodule("module.1")(embedding) - self.centre.value
        return scores
