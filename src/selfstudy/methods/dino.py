"""DINO: from any view, a student predicts the output of a slow teacher for the large views (Caron et al. 2021).

Paper: Emerging Properties in Self-Supervised Vision Transformers, arXiv:2104.14294. The multi-crop loss of eq. 1 and 3
is :func:`selfstudy.ops.distillation.dino_loss`, the centring of eq. 4 :class:`selfstudy.nn.centre.Centre`.

Differences from the authors' code:

- The centre moves once per optimizer step, by the mean over its micro-batches and processes; theirs moves per forward.
- Momentum, output dimension and head follow the length of the run and the number of images. The paper's are for a
  million images and 100,000 steps; in a few hundred steps they end in one output for all images (docs/log.md).
- Small views are six of half the size (112 of 224); theirs are eight of 96 px. Crops are (0.25, 1) and (0.05, 0.25), as
  in the authors' longest runs; the defaults of main_dino.py are (0.4, 1) and (0.05, 0.4).
- The teacher's temperature is constant, as in main_dino.py by default; the paper's rises from 0.04 to 0.07.
- Rising weight decay, clipping of single gradients and stochastic depth are settings; ``recipes/published`` has theirs.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, Setting, StepOutput
from selfstudy.nn.centre import Centre
from selfstudy.nn.heads import PrototypeHead
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.distillation import dino_loss, entropy, output_count
from selfstudy.ops.schedules import Cosine, Progress
from selfstudy.views.spec import View, is_small

_GLOBAL = 2


class DINO(Method):
    """DINO around any encoder."""

    family = "distillation"

    class Config(MethodConfig):
        """Settings of DINO."""

        output_dim: int = Field(65536, gt=1, description="K, the number of outputs")
        student_temperature: float = Field(0.1, gt=0)
        teacher_temperature: float = Field(0.04, gt=0, description="lower sharpens; above 0.07 is unstable")
        momentum: float = Field(0.996, ge=0, lt=1, description="the teacher's momentum at the start; 1 at the end")
        hidden_dim: int = Field(2048, gt=0, description="width of the head")
        bottleneck_dim: int = Field(256, gt=0, description="width of the normalised layer before the outputs")
        head_norm: bool = Field(False, description="BatchNorm in the head; keeps short runs from collapsing")
        freeze_fraction: float = Field(0.01, ge=0, le=1, description="fraction of training with a fixed last layer")

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
        self.teacher = Teacher(encoder=self.encoder, head=self.head)
        self.centre = Centre(c.output_dim)

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """Two large views and six at half the size; small images, whose halves show little, have the two alone."""
        small = is_small(size)
        half = (size[0] // 2, size[1] // 2)
        jitter = (0.4, 0.4, 0.2, 0.1)
        large = View(size, scale=(0.25, 1.0), jitter=jitter, grayscale=0.2, blur=0.0 if small else 1.0)
        views = [large, large._replace(blur=0.0 if small else 0.1, solarize=0.2)]
        return views if small else [*views, large._replace(size=half, count=6, scale=(0.05, 0.25), blur=0.5)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Outputs and momentum from the length of the run; a small head with BatchNorm for short runs."""
        seen = facts.total_steps * facts.batch_size
        outputs = output_count(facts.inputs, seen)
        method = {
            "output_dim": Setting(outputs, f"for {facts.inputs:,} images, {seen:,} of them seen"),
            "momentum": facts.momentum(8, at_most=0.996),
            **facts.if_short(head_norm=True, hidden_dim=512, bottleneck_dim=128, teacher_temperature=0.025),
        }
        rate = facts.square_root_rate(2e-3) if facts.short else facts.linear_rate(5e-4)
        return Recipe.of("adamw", rate, method, weight_decay=0.04, warmup=0.1, clip=3.0)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every output is equally likely."""
        return math.log(self.config.output_dim), "ln K"

    def uniform_entropy(self) -> float:
        """The entropy of targets in which every output is equally likely."""
        return math.log(self.config.output_dim)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The student sees all views, those of one size together; the teacher sees the large ones."""
        teacher_logits = self.teacher(torch.cat(views[:_GLOBAL]))  # (G B, K)
        targets = self.centre.targets(teacher_logits, self.config.teacher_temperature)
        embeddings = [self.encoder(torch.cat(views[:_GLOBAL]))]  # (G B, D)
        if len(views) > _GLOBAL:
            embeddings.append(self.encoder(torch.cat(views[_GLOBAL:])))
        outputs = targets.shape[1]
        student = self.head(torch.cat(embeddings)).view(len(views), -1, outputs)  # (V, B, K)
        loss = dino_loss(student, targets.view(_GLOBAL, -1, outputs), self.config.student_temperature)
        return StepOutput(loss, {"teacher_entropy": entropy(targets)}, embeddings[0][: len(views[0])].detach())

    def before_step(self, progress: Progress) -> None:
        """Keep the last layer fixed at the start of training, while the teacher's output means nothing yet."""
        if progress.fraction < self.config.freeze_fraction:
            self.head.prototypes.grad = None

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, with a momentum that rises to 1, and the centre, toward the teacher's mean output."""
        self.teacher.follow(Cosine(self.config.momentum, 1.0)(progress))
        self.centre.move()

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, which is better than the student throughout training (section 5.2)."""
        return "teacher", self.teacher.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """The teacher's centred outputs (B, K) for its embeddings (B, D)."""
        return self.centre.centred(self.teacher.head(embedding))
