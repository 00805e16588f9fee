"""DINOv2: DINO on images, iBOT on hidden patches, and a term that spreads embeddings (Oquab et al. 2023).

Paper: DINOv2, Learning Robust Visual Features without Supervision, arXiv:2304.07193, section 4. The losses are
``dino_loss``, ``ibot_loss`` and 0.1 times ``koleo``, of the embeddings, of :mod:`selfstudy.ops.distillation`.

Differences from the authors' code:

- KoLeo looks for neighbours in the global batch; theirs looks in the batch of one process.
- Exactly one of the two large views of an image is masked, with a share of its own; theirs masks half of the views of a
  batch, with evenly spread shares. Rectangles are as in iBOT.
- The teacher is in train mode, which matters only to BatchNorm in the heads of short runs.
- Centres move once per optimizer step. Prototypes have unit length; theirs may change it.
- By default one learning rate serves all layers and weight decay is constant; ``recipes/published`` has theirs.
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
from selfstudy.optim.groups import ParameterGroup, set_apart
from selfstudy.views.spec import Draws, Spec, View, is_small


class DINOv2(Method):
    """DINOv2 around a vision transformer."""

    family = "distillation"
    reads = Images(tokens=True)

    class Config(MethodConfig):
        """Settings of DINOv2. The defaults are those of the authors' short run on ImageNet-1k."""

        centring: Literal["centre", "sinkhorn"] = Field("centre", description="sinkhorn for long runs")
        separate_head: bool = Field(False, description="give patches a head of their own; for long runs")
        koleo_weight: float = Field(0.1, ge=0, description="weight of the KoLeo term")
        patch_weight: float = Field(1.0, gt=0, description="weight of the loss on patches")
        mask_share: Shares = Field((0.1, 0.5), description="range of the hidden share of a masked view")
        momentum: float = Field(0.992, ge=0, lt=1, description="the teacher's momentum at the start; 1 at the end")
        student_temperature: float = Field(0.1, gt=0)
        teacher_temperature: Positives = Field((0.04, 0.07), description="at first, and once it is warm")
        warm_fraction: float = Field(0.3, ge=0, le=1, description="fraction of training until it is warm")
        freeze_fraction: float = Field(0.01, ge=0, le=1, description="fraction of training with fixed prototypes")
        patch_rate: float = Field(1.0, gt=0, description="factor of the patch embedding's learning rate")
        output_dim: int = Field(65536, gt=1, description="K, the number of outputs of each head")
        bottleneck_dim: int = Field(256, gt=0, description="width before the outputs; 384 in long runs")
        hidden_dim: int = Field(2048, gt=0, description="width of each head")
        head_norm: bool = Field(False, description="BatchNorm in each head, for short runs")

    config: Config
    encoder: TokenEncoder

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        c = self.config
        sizes = {"hidden_dim": c.hidden_dim, "bottleneck_dim": c.bottleneck_dim, "output_dim": c.output_dim}
        heads = (PrototypeHead(self.embed_dim, **sizes, norm=c.head_norm) for _ in range(1 + c.separate_head))
        self.heads = nn.ModuleList(heads)  # the head of images first, that of patches last
        self.mask_token = nn.Parameter(torch.zeros(self.embed_dim))
        self.teacher = Teacher(encoder=self.encoder, head=self.heads)
        self.centre, self.patch_centre = (centring(c.centring, c.output_dim) for _ in range(2))

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[Spec]:
        """Two large views, eight at half the size unless images are small, and the random numbers of the masks."""
        blur = 0.0 if is_small(size) else 1.0
        large = View(size, scale=(0.32, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2, blur=blur)
        half = large._replace(size=(size[0] // 2, size[1] // 2), count=8, scale=(0.05, 0.32), blur=0.5)
        return [large, large._replace(blur=blur / 10, solarize=0.2), *([half] if blur else []), Draws(2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Outputs and momentum from the length of the run; small heads with BatchNorm for short runs."""
        seen = facts.total_steps * facts.batch_size
        small = facts.if_short(head_norm=True, hidden_dim=512, bottleneck_dim=128)
        small |= facts.if_short(centring="sinkhorn", teacher_temperature=[0.025, 0.025])
        method = {
            "momentum": facts.momentum(8, at_most=0.992),
            "output_dim": Setting(output_count(facts.inputs, seen), f"{facts.inputs:,} images, {seen:,} seen"),
        }
        rate = facts.square_root_rate(4e-3, at=256 if facts.short else 1024)
        return Recipe.of("adamw", rate, method | small, weight_decay=0.04, warmup=0.1, clip=3.0)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The default groups, with the patch embedding set apart if its learning rate differs."""
        groups, rate = super().parameter_groups(), self.config.patch_rate
        patches = [value for name, value in self.encoder.named_parameters() if "patch_embed" in name]
        return groups if rate == 1 else set_apart(groups, patches, rate=rate)

    def uniform_entropy(self) -> float:
        """The entropy of targets in which every output is equally likely."""
        return math.log(self.config.output_dim)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The losses of iBOT, and KoLeo of the student's embeddings of each large view."""
        c, batch = self.config, len(views[-1])
        large, small = torch.cat(views[:2]), views[2:-1]
        mask = view_masks(views[-1], self.encoder.grid, views=2, share=c.mask_share, probability=0.5)
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
        """The teacher's embeddings (2B, D) of whole views, targets (2, B, K) and targets of patches (M, K)."""
        embedding, tokens = self.teacher.encoder.embed_and_tokens(large)
        temperature = Linear(*self.config.teacher_temperature, until=self.config.warm_fraction)(progress)
        targets = self.centre.targets(self.teacher.head[0](embedding), temperature).view(2, len(large) // 2, -1)
        return embedding, targets, self.patch_centre.targets(self.teacher.head[-1](tokens[mask]), temperature)

    def before_step(self, progress: Progress) -> None:
        """Keep the prototypes fixed at the start of training."""
        if progress.fraction < self.config.freeze_fraction:
            for head in self.heads:
                head.get_parameter("prototypes").grad = None

    def after_step(self, progress: Progress) -> None:
        """Move the teacher, with a momentum that rises to 1, and the centres."""
        self.teacher.follow(Cosine(self.config.momentum, 1.0)(progress))
        self.centre.move()
        self.patch_centre.move()

    def representation(self) -> tuple[str, nn.Module]:
        """The teacher, whose weights the authors publish."""
        return "teacher", self.teacher.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor:
        """The outputs (B, K) of the teacher's head of images for its embeddings (B, D), centred as its targets are."""
        return self.centre.centred(self.teacher.head[0](embedding))
