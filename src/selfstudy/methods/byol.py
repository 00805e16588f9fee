"""BYOL: from one view, a network predicts what its own moving average outputs for the other (Grill et al. 2020).

Paper: Bootstrap Your Own Latent, arXiv:2006.07733. The loss is eq. 2 in both directions, added, here
:func:`selfstudy.ops.alignment.normalized_mse`; the moving average is eq. 1, its momentum section 3.2. Nothing in the
loss keeps images apart: the predictor, the slow teacher and BatchNorm do.

As in the authors' code the views are encoded one after the other, so that BatchNorm sees each on its own. The teacher
normalises with the statistics of its own batches.

Differences from the authors' code:

- The teacher begins as a copy of the student. Theirs begins from weights of its own; they saw no difference.
- Momentum and the width of the heads follow the length of the run. With the paper's 0.996 the teacher of a run of 300
  steps would stay the untrained network.
- The default optimizer is AdamW. The paper's LARS is made for batches of thousands; ``recipes/published`` has it.
- BatchNorm is synchronised over several GPUs, by our training loop only. In another loop, or on processors, it is not.
"""

from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.methods.reads import Images
from selfstudy.nn.heads import mlp
from selfstudy.nn.teacher import Teacher
from selfstudy.ops.alignment import normalized_mse
from selfstudy.ops.schedules import Cosine, Progress
from selfstudy.views.usual import asymmetric_pair


class BYOL(Method):
    """BYOL around any encoder."""

    family = "positives only"
    reads = Images(largest_batch=128)  # a short run gains more from twice the steps
    default_views = staticmethod(asymmetric_pair)  # appendix B; small images without blur

    class Config(MethodConfig):
        """Settings of BYOL."""

        momentum: float = Field(0.996, ge=0, lt=1, description="the teacher's momentum at the start; 1 at the end")
        hidden_dim: int = Field(4096, gt=0, description="width of projector and predictor")
        projection_dim: int = Field(256, gt=0, description="size of the projections, which are predicted")

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        hidden, out = self.config.hidden_dim, self.config.projection_dim
        self.projector = mlp([self.embed_dim, hidden, out], output_bias=False)
        self.predictor = mlp([out, hidden, out], output_bias=False)
        self.teacher = Teacher(encoder=self.encoder, head=self.projector)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """Momentum from the number of steps; smaller heads for short runs."""
        method = {"momentum": facts.momentum(24, at_most=0.996), **facts.if_short(hidden_dim=1024)}
        return Recipe.of("adamw", facts.square_root_rate(2e-3), method)

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The error of predicting the teacher's projection of each view from the other view."""
        first, second = views
        embedding = self.encoder(first)  # (B, D)
        loss = normalized_mse(self.predictor(self.projector(embedding)), self.teacher(second))
        loss = loss + normalized_mse(self.predictor(self.projector(self.encoder(second))), self.teacher(first))
        return StepOutput(loss, {}, embedding.detach())

    def after_step(self, progress: Progress) -> None:
        """Move the teacher (eq. 1), with a momentum that rises to 1."""
        self.teacher.follow(Cosine(self.config.momentum, 1.0)(progress))
