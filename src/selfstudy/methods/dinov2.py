"""DINOv2: DINO on images, iBOT on their hidden patches, and embeddings that keep apart (Oquab et al. 2023).

Paper: DINOv2, Learning Robust Visual Features without Supervision, arXiv:2304.07193, section 4. The losses are
:func:`selfstudy.ops.distillation.dino_loss`, :func:`selfstudy.ops.distillation.ibot_loss` and 0.1 times
:func:`selfstudy.ops.distillation.koleo` of the student's embeddings of each large view, before the head.

Differences from the authors' code:

- KoLeo's neighbours are sought in the global batch, theirs in that of one process; so any number of processes agree.
- Exactly one of the two large views of an image is masked, with a share drawn for each, where theirs masks half of a
  batch's views with evenly spread shares; rectangles as in iBOT.
- The teacher is in train mode, which only matters to BatchNorm in the heads of short runs. Centres move once per
  optimizer step, and the prototypes have unit length, which theirs may change.
- One learning rate for all layers, constant weight decay; outputs, momentum and heads follow the run as in DINO.
- No stochastic depth and no layer scale; theirs have 0.3 and 1e-5.
"""

import math
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
from selfstudy.ops.distillation import dino_loss, entropy, ibot_loss, koleo, output_count
from selfstudy.ops.schedules import Cosine, Linear, Progress
from selfstudy.views.spec import Draws, Spec, View, is_small

_MASKED = 0.5  # of the large views


class DINOv2(Method):
    """DINOv2 around a vision transformer."""

    family = "distillation"
    reads = Images(tokens=True)

    class Config(MethodConfig):
        """Settings of DINOv2; the defaults are those of the authors' 100 epochs on ImageNet-1k."""

        centring: Literal["centre", "sinkhorn"] = Field("centre", description="sinkhorn in long runs")
        separate_head: bool = Field(False, description="another head for patches; in long runs")
        koleo_weight: float = Field(0.1, ge=0, description="of what keeps embeddings apart")
        patch_weight: float = Field(1.0, gt=0, description="of the loss on patches")
        mask_share: Shares = Field((0.1, 0.5), description="of a masked view's patches, hidden")
        momentum: float = Field(0.992, ge=0, lt=1, description="of the teacher; rises to 1")
        student_temperature: float = Field(0.1, gt=0)
        teacher_temperature: Positives = Field((0.04, 0.07), description="from, to")
        warm_fraction: float = Field(0.3, ge=0, le=1, description="of training, from one to the other")
        freeze_fraction: float = Field(0.01, ge=0, le=1, description="of training, prototypes fixed")
        output_dim: int = Field(65536, gt=1, description="K, of either head")
        bottleneck_dim: int = Field(256, gt=0, description="of either head; 384 in long runs")
        hidden_dim: int = Field(2048, gt=0, description="of either head")
        head_norm: bool = Field(False, description="BatchNorm in either head, for short runs")

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        c = self.config
        sizes = {"hidden_dim": c.hidden_dim, "bottleneck_dim": c.bottleneck_dim, "output_dim": c.output_dim}
        heads = (PrototypeHead(self.embed_dim, **sizes, norm=c.head_norm) for _ in range(1 + c.separate_head))
        self.heads = nn.ModuleList(heads)  # that of images first, that of patches last
        self.mask_token = nn.Parameter(torch.zeros(self.embed_dim))
        self.teacher = Teacher(encoder=self.encoder, head=self.heads)
        self.centre, self.patch_centre = (centring(c.centring, c.output_dim) for _ in range(2))

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Two large views and, of images that are not small, eight at half the size; then the draws of the masks."""
        large = View(size, scale=(0.32, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2)
        if is_small(size):
            return [large, large._replace(solarize=0.2), Draws(2)]
        half = large._replace(size=(size[0] // 2, size[1] // 2), count=8, scale=(0.05, 0.32), blur=0.5)
        return [large._replace(blur=1.0), large._replace(blur=0.1, solarize=0.2), half, Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Rate from the batch, outputs and momentum from the run; short runs get small heads with BatchNorm."""
        seen = facts.total_steps * facts.batch_size
        outputs = output_count(facts.num_images, seen)
        small = facts.if_short(head_norm=True, hidden_dim=512, bottleneck_dim=128)
        small |= facts.if_short(centring="sinkhorn", teacher_temperature=[0.025, 0.025])
        method = {
            "momentum": facts.momentum(8, at_most=0.992),
            "output_dim": Setting(outputs, f"{facts.num_images:,} images, of which {seen:,} are seen"),
        }
        rate = facts.square_root_rate(4e-3, at=256 if facts.short else 1024)
        return Recipe.of("adamw", rate, method | small, weight_decay=0.04, warmup=0.1, clip=3.0)

    def uniform_entropy(self) -> float:
        """Of targets that call every output equally likely."""
        return math.log(self.config.output_dim)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """As in iBOT, with KoLeo on the student's embeddings of each large view."""
        c, batch = self.config, len(views[-1])
        large, small = torch.cat(views[:2]), views[2:-1]
        mask = view_masks(views[-1], self.encoder.grid, views=2, share=c.mask_share, probability=_MASKED)
        whole, targets, patch_targets = self._teach(large, mask, progress)
        embedding, tokens = self.encoder.embed_and_tokens(large, mask=mask, mask_token=self.mask_token)
        everything = torch.cat([embedding, self.encoder(torch.cat(small))]) if small else embedding  # (V B, D)
        student, hidden = self.heads[0](everything), self.heads[-1](tokens[mask])  # (V B, K), (M, K)
        terms = {
            "image_loss": dino_loss(student.view(-1, batch, c.output_dim), targets, c.student_temperature),
            "patch_loss": ibot_loss(hidden, patch_targets, mask, c.student_temperature),
            "koleo": koleo(embedding[:batch]) + koleo(embedding[batch:]),
        }
        loss = terms["image_loss"] + c.patch_weight * terms["patch_loss"] + c.koleo_weight * terms["koleo"]
        metrics = {name: term.detach() for name, term in terms.items()}
        return StepOutput(loss, metrics | {"teacher_entropy": entropy(targets.flatten(0, 1))}, whole[:batch])

    @torch.no_grad()
    def _teach(self, large: Tensor, mask: Tensor, progress: Progress) -> tuple[Tensor, Tensor, Tensor]:
        """What the teacher makes of whole views: embeddings (2B, D), targets (2, B, K), patch targets (M, K)."""
        heads = self.teacher.head
        embedding, tokens = self.teacher.encoder.embed_and_tokens(large)
        temperature = Linear(*self.config.teacher_temperature, until=self.config.warm_fraction)(progress)
        targets = self.centre.targets(heads[0](embedding), temperature).view(2, len(large) // 2, -1)
        return embedding, targets, self.patch_centre.targets(heads[-1](tokens[mask]), temperature)

    def before_step(self, progress: Progress) -> None:
        """Keep the prototypes as they are at the very beginning."""
        if progress.fraction < self.config.freeze_fraction:
            for head in self.heads:
                head.get_parameter("prototypes").grad = None

    def after_step(self, progress: Progress) -> None:
        """Teacher and centres follow; the teacher ever more slowly."""
        self.teacher.follow(Cosine(self.config.momentum, 1.0)(progress))
        self.centre.move()
        self.patch_centre.move()

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher: its weights are what the authors publish."""
        return "teacher", self.teacher.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """What the teacher's head for images says of its embeddings (B, D): its outputs, centred as its targets are."""
        return self.centre.centred(self.teacher.head[0](embedding))
