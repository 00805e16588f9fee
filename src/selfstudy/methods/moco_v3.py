"""MoCo v3: every query finds its key, from a slowly moving encoder, among the keys of the batch (Chen et al. 2021).

Paper: An Empirical Study of Training Self-Supervised Vision Transformers, arXiv:2104.02057. The loss is eq. 1 in both
directions, as in algorithm 1, here :func:`selfstudy.ops.contrastive.info_nce_in_batch` times 2 T.

Differences from the authors' code:

- The key encoder moves after the optimizer step, theirs before the next forward pass. Only the first step differs.
- Every encoder has the heads of their vision transformers: three layers, then two, with BatchNorm after each. Their
  ResNets have a projector of two layers, and no BatchNorm at the end of the predictor.
- A vision transformer learns its positions; theirs has fixed sines and cosines.
- The frozen patch embedding keeps the initial weights of timm; theirs has weights by a rule of its own.
- Momentum and width follow the length of the run. With 0.99 the keys of 300 steps would stay near their random start.
- By default only weights decay; theirs lets all parameters decay, as ``recipes/published`` does.
"""

import math

from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.nn.heads import mlp
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.contrastive import info_nce_in_batch
from selfstudy.ops.distributed import gather
from selfstudy.ops.schedules import Cosine, Progress
from selfstudy.views.usual import asymmetric_pair


class MoCoV3(Method):
    """MoCo v3 around any encoder."""

    family = "contrastive"
    default_views = staticmethod(asymmetric_pair)  # those of BYOL

    class Config(MethodConfig):
        """Settings of MoCo v3."""

        temperature: float = Field(0.2, gt=0, description="0.2 for vision transformers, 1 for their ResNets")
        momentum: float = Field(0.99, ge=0, lt=1, description="the key encoder's momentum at the start; 1 at the end")
        hidden_dim: int = Field(4096, gt=0, description="width of projector and predictor")
        projection_dim: int = Field(256, gt=0, description="size of queries and keys")
        freeze_patches: bool = Field(True, description="freeze a ViT's patch embedding, which is more stable")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        hidden, out = self.config.hidden_dim, self.config.projection_dim
        if self.config.freeze_patches:
            _freeze_patch_embedding(self.encoder)
        self.projector = mlp([self.embed_dim, hidden, hidden, out], output_norm=True)
        self.predictor = mlp([out, hidden, out], output_norm=True)
        self.teacher = Teacher(encoder=self.encoder, head=self.projector)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The paper's AdamW for long runs; a higher rate, a faster key encoder and narrow heads for short ones."""
        if not facts.short:
            return Recipe.of("adamw", facts.linear_rate(1.5e-4), weight_decay=0.1, warmup=0.13)
        method = {"momentum": facts.momentum(12, at_most=0.99), **facts.if_short(hidden_dim=1024)}
        return Recipe.of("adamw", facts.square_root_rate(2e-3), method)

    def chance_loss(self, batch_size: int) -> tuple[float, str]:
        """The loss when every key is equally likely, in both directions."""
        return 4 * self.config.temperature * math.log(batch_size), "4 T ln B"

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of each view's queries against the keys of the other; views are encoded one after the other."""
        first, second = views
        embedding = self.encoder(first)  # (B, D)
        queries = (gather(self.predictor(self.projector(h))) for h in (embedding, self.encoder(second)))
        keys = (gather(self.teacher(view)) for view in (second, first))
        t = self.config.temperature
        one, other = (info_nce_in_batch(q, k, t) for q, k in zip(queries, keys, strict=True))
        return StepOutput(2 * t * (one + other), {}, embedding.detach())

    def after_step(self, progress: Progress) -> None:
        """Move the key encoder, with a momentum that rises to 1."""
        self.teacher.follow(Cosine(self.config.momentum, 1.0)(progress))


def _freeze_patch_embedding(encoder: nn.Module) -> None:
    """Freeze the parameters that turn pixels into patches (section 4.2); ResNets have none."""
    for name, parameter in encoder.named_parameters():
        if "patch_embed" in name:
            parameter.requires_grad_(False)
