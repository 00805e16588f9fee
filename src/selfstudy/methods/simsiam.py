"""SimSiam: each view predicts the other, and no gradient flows into what is predicted (Chen & He 2021).

Paper: Exploring Simple Siamese Representation Learning, arXiv:2011.10566; loss eq. 1 and 2 with the stop-gradient of
eq. 3 and 4. No teacher, no negatives: without the stop-gradient all images end in one output (section 4.1).

As in the authors' code each view is encoded on its own, so BatchNorm sees them apart, and BatchNorm without scale and
shift ends the projector.

Differences from the authors' code:

- The predictor's learning rate falls with all others; theirs stays constant (``--fix-pred-lr``), which gains
  them less than a point (table 1), but the house optimizer has one learning rate.
- The projector's hidden layers are 2,048 wide for every encoder; theirs are as wide as the embedding, which for the
  paper's ResNet-50 is the same.
- Short runs take AdamW, and heads of half the width.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from selfstudy.methods.base import DataFacts, Method, MethodConfig, Recipe, StepOutput
from selfstudy.nn.heads import simsiam_heads
from selfstudy.ops.alignment import negative_cosine
from selfstudy.ops.schedules import Progress
from selfstudy.views.spec import View
from selfstudy.views.usual import alike


class SimSiam(Method):
    """SimSiam around any encoder."""

    family = "positives only"

    class Config(MethodConfig):
        """Settings of SimSiam."""

        hidden_dim: Annotated[int, Field(gt=0, description="width of the projector")] = 2048
        projection_dim: Annotated[int, Field(gt=0, description="size of what is predicted")] = 2048
        bottleneck_dim: Annotated[int, Field(gt=0, description="width of the predictor; a quarter works best")] = 512

    config: Config

    def __init__(self, encoder: nn.Module, config: Config | None = None) -> None:
        super().__init__(encoder, config)
        self.projector, self.predictor = simsiam_heads(self.embed_dim, **self.config.model_dump())

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> list[View]:
        """MoCo v2's augmentation, as the paper's; without blur for small images."""
        return [alike(size, count=2)]

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The paper's SGD for long runs; AdamW and smaller heads for short ones."""
        batch = facts.batch_size
        if facts.total_steps >= 10_000:
            sgd = {"name": "sgd", "lr": 0.05 * batch / 256, "weight_decay": 1e-4, "warmup": 0.0}
            return Recipe(sgd, {}, {"optimizer.lr": f"0.05 x batch size {batch} / 256 (linear rule)"})
        why = f"for {facts.total_steps:,} steps"
        return Recipe(
            optimizer={"name": "adamw", "lr": 2e-3 * (batch / 256) ** 0.5, "weight_decay": 1e-4, "warmup": 0.05},
            method={"hidden_dim": 1024, "projection_dim": 1024, "bottleneck_dim": 256},
            reasons={"optimizer.lr": f"0.002 x sqrt(batch size {batch} / 256)", "method.hidden_dim": why},
        )

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """Project each view, predict it from the other."""
        embedding = self.encoder(views[0])  # (B, D)
        z1, z2 = self.projector(embedding), self.projector(self.encoder(views[1]))  # (B, P)
        one, other = (negative_cosine(self.predictor(a), b.detach()) for a, b in ((z1, z2), (z2, z1)))
        return StepOutput((one + other) / 2, {}, embedding.detach())
